"""What the fields of a config decide of one another, and which of them a model reads."""

from typing import Any

import ml_collections

from itm_jax.config.fields import flatten, set_field

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
