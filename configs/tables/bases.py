"""The base configs of the tables' rows, for each data set. This file is no table.

`quick` is for AFA's ablation: on `scenes` it is the quickstart, which needs no checkpoint, for four of its six epochs.
`short` is for the other tables of many rows: MiniLM is frozen, and runs have three or four epochs. `main` is for the
main tables: runs last until dev has levelled off. On Flickr30K and COCO all of them are the full recipe.
"""

from itm_jax.tables import Base

# Epochs, and the epoch after which the learning rate is lowered.
EPOCHS = {"scenes": (3.0, 2), "f8k": (4.0, 3), "f30k": (30.0, 15), "coco": (30.0, 15)}
SCENES = {"data.source": "scenes", "data.name": "scenes"}
# On COCO only AFA has its authors' learning rate, a hundredth of the one for Flickr30K, which other models keep.
LARGE = {"f30k": Base("../afa_f30k.py"), "coco": Base("../cpfean_coco.py", models={"afa": {"optim.lr": 5e-6}})}


def _of(dataset):
    epochs, decay = EPOCHS[dataset]
    return {"train.epochs": epochs, "optim.decay_epochs": (decay,)}


def short():
    scenes, f8k = Base("../cpfean_f8k.py", SCENES | _of("scenes")), Base("../cpfean_f8k.py", _of("f8k"))
    return {"scenes": scenes, "f8k": f8k} | LARGE


def quick():
    scenes = Base("../quickstart.py", {"train.epochs": 4.0, "optim.decay_epochs": (3,)})
    return short() | {"scenes": scenes}


def main():
    longer = SCENES | {"train.epochs": 12.0, "optim.decay_epochs": (9,)}
    return {"f8k": Base("../cpfean_f8k.py"), "scenes": Base("../cpfean_f8k.py", longer)} | LARGE
