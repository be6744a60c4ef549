"""Where the rows of the tables begin on each data set. Not a table itself.

`short` is for tables of many rows: on `scenes` the quickstart for four of its six epochs, on f8k frozen text for four
epochs. `main` is for the main tables: until dev has levelled off. Flickr30K and COCO take the full recipe in both.
"""

from itm_jax.tables import Base


def short():
    return {
        "scenes": Base("../quickstart.py", {"train.epochs": 4.0, "optim.decay_epochs": (3,)}),
        "f8k": Base("../cpfean_f8k.py", {"train.epochs": 4.0, "optim.decay_epochs": (3,)}),
        "f30k": Base("../afa_f30k.py"),
        "coco": Base("../afa_coco.py"),
    }


def main():
    longer = {"data.source": "scenes", "data.name": "scenes", "train.epochs": 12.0, "optim.decay_epochs": (9,)}
    return {
        "f8k": Base("../cpfean_f8k.py"),
        "scenes": Base("../cpfean_f8k.py", longer),
        "f30k": Base("../afa_f30k.py"),
        "coco": Base("../afa_coco.py"),
    }
