"""The base configs of the tables' rows, for each data set. This file is not a table.

On `scenes`, the first data set of every table, the text encoder is a small BERT from scratch, as in the quickstart, so
that a table needs no download. `scenes_minilm` is the same data with frozen MiniLM; the tables of RESULTS.md that are
headed `scenes` were made on it, except AFA's ablation.

`recipes.json` is for what the search of recipes.py finds: the joint width and the learning rate of each model. It is
empty until every model was searched.

`short` is for tables of many rows: three or four epochs. `main` is for the main tables: runs last until dev has
levelled off. On `scenes` it is the quickstart (six epochs). On f8k both are four epochs: in runs of eight, which lower
the rate after the sixth, most trials had their best rSum on dev in the second to fourth epoch, and fell from there
(docs/trials/recipes.csv). On Flickr30K and COCO both are the full recipe.
"""

import json
import pathlib

from itm_jax.config.fields import flatten
from itm_jax.config.load import load_module
from itm_jax.config.presets import cpfean_quickstart, quickstart
from itm_jax.tables import Base

# Epochs of `short`, and the epoch after which the learning rate is lowered.
EPOCHS = {"scenes": (4.0, 3), "scenes_minilm": (3.0, 2), "f8k": (4.0, 3), "f30k": (30.0, 15), "coco": (30.0, 15)}
MINILM = {"data.source": "scenes", "data.name": "scenes_minilm"}
GENERATED = ("scenes", "scenes_minilm")
LITTLE = (*GENERATED, "f8k")
HERE = pathlib.Path(__file__).parent
RECIPES = json.loads((HERE / "recipes.json").read_text(encoding="utf-8"))
# What configs/cpfean_quickstart.py sets, besides the model.
QUICKSTART = flatten(quickstart())
CPFEAN_ON_SCENES = {
    "cpfean": {
        name: value
        for name, value in flatten(cpfean_quickstart()).items()
        if value != QUICKSTART[name] and name != "model.name"
    }
}
# On COCO only AFA has the learning rate of its authors, 5e-6. The other models have that of Flickr30K, 5e-4.
LARGE = {"f30k": Base("../afa_f30k.py"), "coco": Base("../cpfean_coco.py", models={"afa": {"optim.lr": 5e-6}})}


def _of(dataset):
    epochs, decay = EPOCHS[dataset]
    return {"train.epochs": epochs, "optim.decay_epochs": (decay,)}


def short():
    return {
        "scenes": Base("../quickstart.py", _of("scenes"), CPFEAN_ON_SCENES),
        "scenes_minilm": Base("../cpfean_f8k.py", MINILM | _of("scenes_minilm")),
        "f8k": Base("../cpfean_f8k.py", _of("f8k"), RECIPES["f8k"]),
    } | LARGE


def main():
    longer = MINILM | {"train.epochs": 12.0, "optim.decay_epochs": (9,)}
    return {
        "scenes": Base("../quickstart.py", models=CPFEAN_ON_SCENES),
        "scenes_minilm": Base("../cpfean_f8k.py", longer),
        "f8k": Base("../cpfean_f8k.py", _of("f8k"), RECIPES["f8k"]),
    } | LARGE


def rate(dataset, model):
    """Returns the learning rate of a model in the main tables."""
    base = main()[dataset]
    of_all = {"optim.lr": load_module((HERE / base.config).resolve()).get_config().optim.lr} | base.overrides
    return (of_all | base.models.get(model, {}))["optim.lr"]
