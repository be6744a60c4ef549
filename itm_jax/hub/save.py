"""Saves a loaded model as an exported folder."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from itm_jax.data.labels import label_bank, uses_bank
from itm_jax.data.text.fingerprints import of_weights
from itm_jax.data.text.text_input import TextInput, with_weights
from itm_jax.errors import InputError
from itm_jax.hub.card import model_card
from itm_jax.hub.folder import rounded
from itm_jax.hub.inputs import blank_split
from itm_jax.hub.matcher import Matcher, fingerprint_of
from itm_jax.hub.pixels import reads_pixels
from itm_jax.hub.write import DTYPES, shareable, without_images, write_folder
from itm_jax.models.variables import count_params
from itm_jax.terminal import say


def save(model: Matcher, folder: pathlib.Path, *, dtype: str, license_name: str | None, name: str | None) -> None:
    """Writes a model to a folder. `Matcher.save` says what the arguments are."""
    if dtype not in DTYPES:
        raise InputError(f"dtype={dtype!r}: must be {' or '.join(DTYPES)}")
    config, text = shareable(model.config), with_all_labels(model)
    rounding = "bfloat16" if "bfloat16" in (dtype, model.about.get("rounded")) else dtype
    about = {
        "origin": model.about.get("origin", ""),
        "license": license_name or model.about.get("license"),
        "rounded": rounding,
        "alone": bool(model.about.get("alone") or model.alone),
    }
    extractor = without_images(model.extractor) if model.extractor else None
    if not config.model.text.trainable:
        params = rounded(rounded(with_weights(model.config, text).params, dtype), "float32")
        text = dataclasses.replace(
            text, params=params, fingerprints={**text.fingerprints, "weights": of_weights(params)}
        )
    stored = rounded(rounded(dict(model.variables), dtype), "float32")
    card = model_card(
        name=name or folder.resolve().name,
        config=config,
        shape=model.shape,
        params=count_params(stored["params"]),
        extractor=extractor,
        pixels=model.extractor is not None and reads_pixels(model.extractor),
        results=model.results,
        dtype=dtype,
        about=about,
    )
    write_folder(
        folder,
        config=config,
        text=text,
        variables=stored,
        shape=model.shape,
        fingerprint=fingerprint_of(config, text, stored),
        extractor=extractor,
        results=model.results,
        card=card,
        dtype=dtype,
        about=about,
    )


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
