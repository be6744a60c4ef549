"""What the fields of a config decide of one another, and which of them a model reads."""

from typing import Any

import ml_collections

from itm_jax.config import flatten, set_field
from itm_jax.plugins import is_own

SINGLE_VECTOR = ("afa", "vsepp", "vseinf")  # models whose items are one vector each, so that negatives can be mixed
MODELS = (*SINGLE_VECTOR, "cpfean", "scan", "late")
# What `model.variant` decides where a field is not set.
VARIANTS = {
    "paper": {
        "model.enhancement.text": "mlp",
        "model.enhancement.statistics": "valid",
        "model.aggregation.variant": "paper",
        "loss.soft_negatives": "mixup",
        "loss.same_image": "mask",
    },
    "official": {
        "model.enhancement.text": "linear",
        "model.enhancement.statistics": "all",
        "model.aggregation.variant": "official",
        "loss.soft_negatives": "hinge",
        "loss.same_image": "keep",
    },
}
SELECTION = {"vsepp": "mean", "vseinf": "gpo"}  # how rows are pooled where not set; max elsewhere
# The sections and fields that only some models read.
READ_BY = {
    "model.variant": ("afa",),
    "model.enhancement": ("afa",),
    "model.aggregation": ("afa",),
    "model.selection": ("afa", "vsepp"),
    "model.regions": ("cpfean",),
    "model.graph": ("cpfean",),
    "model.words": ("cpfean",),
    "model.fusion": ("cpfean",),
    "model.alignment": ("cpfean",),
    "model.attention": ("cpfean", "scan"),
    "loss.tau": SINGLE_VECTOR,  # as the next two, of mixed negatives
    "loss.fold": SINGLE_VECTOR,
    "loss.stop_gradient": SINGLE_VECTOR,
}


def _defaults(model: Any) -> dict[str, Any]:
    """Values of the fields that `model.name` and `model.variant` decide, by their dotted names."""
    values = dict(VARIANTS[model.variant]) | {"model.selection": SELECTION.get(model.name, "max")}
    if model.name != "afa":
        values["loss.soft_negatives"] = "none"
    values["model.attention.temperature"] = {"t2i": 9.0, "i2t": 4.0}.get(model.attention.direction)
    return values


def decided(model: Any) -> dict[str, Any]:
    """The fields of a `model` section that others decide, by their names there; where set, as they are set."""
    flat = flatten(model)
    names = {k.removeprefix("model."): v for k, v in _defaults(model).items() if k.startswith("model.")}
    return {k: v if flat[k] is None else flat[k] for k, v in names.items()}


def depends_on_batch(model: Any) -> bool:
    """Whether an embedding depends on the other items of its batch: the official variant of AFA's aggregation."""
    return model.name == "afa" and model.aggregation.enabled and decided(model)["aggregation.variant"] == "official"


def resolve(config: ml_collections.ConfigDict) -> None:
    """Fills in, in place, the fields that others decide and that are not set."""
    flat = flatten(config)
    for name, value in _defaults(config.model).items():
        if flat[name] is None:
            set_field(config, name, value)
    if config.optim.text_lr_factor is None:
        text = config.model.text
        config.optim.text_lr_factor = 0.1 if text.encoder == "bert" and text.pretrained else 1.0


def split_problem(config: Any) -> str | None:
    """What is wrong where train, dev and test are not three splits."""
    used = (config.data.train_split, config.data.dev_split, config.data.test_split)
    if len(set(used)) == 3:
        return None
    return (
        f"config.data: train_split={used[0]}, dev_split={used[1]}, test_split={used[2]}: must be three different splits; "
        "dev selects, test reports"
    )


def uses_edges(model: Any) -> bool:
    """Whether the model reads dependency edges."""
    return (model.name == "cpfean" or is_own(model.name)) and model.words.layers > 0 and model.words.graph == "sparse"
