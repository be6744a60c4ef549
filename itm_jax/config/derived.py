"""Derived fields of a config: fields that are not set, whose values follow from the other fields."""

from typing import Any

import ml_collections

from itm_jax.config.fields import flatten, mutable_copy, set_field
from itm_jax.config.model_fields import derived


def complete_model(model: Any) -> ml_collections.ConfigDict:
    """Returns a copy of a `model` section in which every derived field has its value."""
    model = mutable_copy(model)
    flat = flatten(model)
    for name, value in derived(model).items():
        section, _, field = name.partition(".")
        if section == "model" and flat[field] is None:
            set_field(model, field, value)
    return model


def complete(config: Any) -> ml_collections.ConfigDict:
    """Returns a copy of a config in which every derived field has its value, except those that the data set decides."""
    config = mutable_copy(config)
    flat, text = flatten(config), config.model.text
    values = derived(config.model)
    values["optim.text_lr_factor"] = 0.1 if text.encoder == "bert" and text.pretrained else 1.0
    for name, value in values.items():
        if flat[name] is None:
            set_field(config, name, value)
    return config
