"""Saves a loaded model as an exported folder."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from itm_jax.data.labels import label_bank, uses_bank
from itm_jax.data.text.text_input import TextInput, with_weights
from itm_jax.errors import InputError
from itm_jax.hub.inputs import blank_split
from itm_jax.hub.matcher import Matcher
from itm_jax.hub.write import DTYPES, Contents, write_folder
from itm_jax.terminal import say


def save(model: Matcher, folder: pathlib.Path, *, dtype: str, license_name: str | None, name: str | None) -> None:
    """Writes a model to a folder. `Matcher.save` says what the arguments are."""
    if dtype not in DTYPES:
        raise InputError(f"dtype={dtype!r}: must be {' or '.join(DTYPES)}")
    about = {
        **model.about,
        "license": license_name or model.about.get("license"),
        "rounded": "bfloat16" if "bfloat16" in (dtype, model.about.get("rounded")) else dtype,
    }
    text = with_all_labels(model)
    if not model.config.model.text.trainable:
        text = with_weights(model.config, text)
    contents = Contents(
        config=model.config,
        text=text,
        variables=model.variables,
        shape=model.shape,
        extractor=model.extractor,
        results=model.results,
        about=about,
    )
    write_folder(folder, contents, name=name, dtype=dtype)


def with_all_labels(model: Matcher) -> TextInput:
    """Returns the text side of a model with encodings of all names that its extractor may give to regions.

    A run knows the names of its training images alone. A name that comes later needs the pretrained text encoder, and
    where the model is shared that may be out of reach.
    """
    config, text = model.config, model.text
    split = blank_split(config, model.shape, model.label_names)
    if model.extractor is None or not uses_bank(config, split):
        return text
    try:
        unseen = tuple(name for name in model.reader.label_names if name not in text.labels)
        if not unseen:
            return text
        bank: Any = label_bank(config, dataclasses.replace(split, label_names=unseen), text)
    except InputError as e:
        say(f"warning: label names that the training did not see are not exported, and will be refused ({e})")
        return text
    return dataclasses.replace(text, labels=dict(text.labels) | dict(zip(unseen, np.asarray(bank), strict=True)))
