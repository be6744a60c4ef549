"""Writes an exported model (`hub.folder` says what is in it)."""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from flax.traverse_util import flatten_dict
from safetensors.numpy import save

import itm_jax
from itm_jax.config.fields import PLACES, flatten, set_field, to_json
from itm_jax.data.text.fingerprints import of_weights
from itm_jax.data.text.kept import write_kept
from itm_jax.data.text.text_input import TextInput, source_of
from itm_jax.data.text.vocabulary import VOCAB, to_text
from itm_jax.errors import InputError
from itm_jax.files import check_space, make_directory, write_whole
from itm_jax.hub.card import model_card
from itm_jax.hub.fingerprint import fingerprint_of
from itm_jax.hub.folder import (
    CARD,
    EXTRACTOR,
    FORMAT,
    NAMES,
    OPTIONAL,
    RECORD,
    RESULTS,
    TEXT_ENCODER,
    WEIGHTS,
    checksums_of,
    is_exported,
    rounded,
    without_places,
)
from itm_jax.hub.pixels import reads_pixels
from itm_jax.models.variables import count_params
from itm_jax.pretrained.directory import PACKAGE
from itm_jax.structs import Extractor
from itm_jax.vision.identity import text as identity_text

DTYPES = ("float32", "bfloat16")
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?(@[\w./-]+)?")


@dataclasses.dataclass(frozen=True)
class Contents:
    """What is exported.

    Attributes:
        config: the completed config.
        text: the text side; with the weights of a frozen encoder.
        variables: `{"params", "batch_stats"}`.
        shape: regions of an image and width of a feature.
        extractor: what extracted the training features; None where nothing says that.
        results: the content of results.json; empty for none.
        about: what the model card says besides (`hub.card`).
    """

    config: Any
    text: TextInput
    variables: Mapping[str, Any]
    shape: tuple[int, int]
    extractor: Extractor | None
    results: Mapping[str, Any]
    about: Mapping[str, Any]


def write_folder(folder: pathlib.Path, contents: Contents, *, name: str | None, dtype: str) -> None:
    """Writes an exported model. The folder may hold other files, or an earlier export, which is replaced.

    Args:
        folder: where it is written.
        contents: what is written.
        name: by which the model card loads the model; None: the name of the folder.
        dtype: of the arrays, one of DTYPES.

    Raises:
        InputError: the folder has files of something else, or cannot be written.
    """
    if not is_exported(folder) and (taken := [name for name in (*NAMES, "text") if (folder / name).exists()]):
        raise InputError(f"{folder}: has a {taken[0]} that is not of an export, and would be lost; take another folder")
    make_directory(folder)
    config, text = shareable(contents.config), contents.text
    frozen = None if config.model.text.trainable else rounded(text.params, dtype)
    variables = rounded(dict(contents.variables), dtype)
    arrays = flatten_dict(variables | ({} if frozen is None else {TEXT_ENCODER: frozen}), sep="/")
    check_space(folder, sum(x.nbytes for x in arrays.values()) + (1 << 22))
    if frozen is not None:
        weights = of_weights(rounded(frozen, "float32"))
        text = dataclasses.replace(text, fingerprints={**text.fingerprints, "weights": weights})
    write_whole(folder / RECORD, json.dumps({"format": FORMAT, "unfinished": True}) + "\n")
    for file in OPTIONAL:
        (folder / file).unlink(missing_ok=True)
    write_whole(folder / WEIGHTS, save(arrays, {"format": "flax"}))
    write_whole(folder / "config.json", to_json(config))
    if text.words:
        write_whole(folder / VOCAB, to_text(text.words))
    write_kept(
        folder,
        source=source_of(config.model.text),
        fingerprints=text.fingerprints,
        bert=text.bert,
        tokenizer=text.tokenizer,
        labels=text.labels,
    )
    extractor = without_images(contents.extractor) if contents.extractor else None
    if extractor:
        write_whole(folder / EXTRACTOR, identity_text(extractor))
    if contents.results:
        write_whole(folder / RESULTS, json.dumps(contents.results, indent=2) + "\n")
    card = model_card(
        name=name or folder.resolve().name,
        config=config,
        shape=contents.shape,
        params=count_params(variables["params"]),
        extractor=extractor,
        pixels=contents.extractor is not None and reads_pixels(contents.extractor),
        results=contents.results,
        dtype=dtype,
        about=contents.about,
    )
    write_whole(folder / CARD, card)
    record = {
        "format": FORMAT,
        "fingerprint": fingerprint_of(config, text, rounded(variables, "float32")),
        "regions": contents.shape[0],
        "feature_width": contents.shape[1],
        "itm_jax": itm_jax.__version__,
        "about": dict(contents.about),
        "sha256": checksums_of(folder),
    }
    write_whole(folder / RECORD, json.dumps(record, indent=2) + "\n")


def shareable(config: Any) -> Any:
    """Returns a copy of a config without paths of the machine; of a text encoder's directory the last name stays."""
    out = without_places(config)
    given = flatten(out)
    for name in PLACES:
        if given[name]:
            set_field(out, name, _last_name(given[name]))
    return out


def without_images(extractor: Extractor) -> dict[str, Any]:
    """Returns the record of an extractor without the place of the images, and without paths of its checkpoints."""
    source = {}
    for key, value in extractor.record.get("source", {}).items():
        if not isinstance(value, str) or key.endswith("revision"):
            source[key] = value
            continue
        kind, colon, place = value.partition(":")
        source[key] = f"{kind}:{_last_name(place)}" if colon and "/" not in kind else _last_name(value)
    return {**extractor.record, "images": ".", "source": source}


def _last_name(place: str) -> str:
    """Returns the last part of a path; a hub name and a folder of a Python package stay as they are."""
    if place.startswith(PACKAGE):
        return place
    named = HUB_NAME.fullmatch(place) and not os.path.exists(place)
    return place if named else place.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
