"""Writes an exported model (`hub.folder` says what is in it)."""

import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from safetensors.flax import save_file

import itm_jax
from itm_jax.config.fields import PLACES, flatten, set_field, to_json
from itm_jax.data.text.fingerprints import of_weights
from itm_jax.data.text.kept import write_kept
from itm_jax.data.text.text_input import TextInput, source_of
from itm_jax.data.text.vocabulary import VOCAB, to_text
from itm_jax.errors import InputError
from itm_jax.files import check_space, make_directory, umask, write_whole
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
    restored,
    rounded,
    without_places,
)
from itm_jax.pretrained.directory import PACKAGE
from itm_jax.structs import Extractor
from itm_jax.vision.identity import text as identity_text

DTYPES = ("float32", "bfloat16")
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?(@[\w./-]+)?")


def write_folder(
    folder: pathlib.Path,
    *,
    config: Any,
    text: TextInput,
    variables: Mapping[str, Any],
    shape: tuple[int, int],
    fingerprint: str,
    extractor: Mapping[str, Any] | None,
    results: Mapping[str, Any],
    card: str,
    dtype: str,
    about: Mapping[str, Any],
) -> None:
    """Writes an exported model. The folder may hold other files, or an earlier export, which is replaced.

    Args:
        folder: where it is written.
        config: the completed config (`shareable`).
        text: the text side; with the weights of a frozen encoder.
        variables: `{"params", "batch_stats"}`.
        shape: regions of an image and width of a feature.
        fingerprint: of the model as it is stored.
        extractor: the content of extractor.json (`without_images`).
        results: the content of results.json; empty for none.
        card: the text of README.md.
        dtype: of the arrays, one of DTYPES.
        about: what a later export must know to write a true model card.

    Raises:
        InputError: the folder has files of something else, or cannot be written.
    """
    if not is_exported(folder) and (taken := [name for name in (*NAMES, "text") if (folder / name).exists()]):
        raise InputError(f"{folder}: has a {taken[0]} that is not of an export, and would be lost; take another folder")
    make_directory(folder)
    arrays = flatten_dict(dict(variables), sep="/")
    if not config.model.text.trainable:
        arrays |= flatten_dict({TEXT_ENCODER: dict(text.params)}, sep="/")
    arrays = rounded(arrays, dtype)
    check_space(folder, sum(x.nbytes for x in arrays.values()) + (1 << 22))
    write_whole(folder / RECORD, json.dumps({"format": FORMAT, "unfinished": True}) + "\n")
    for name in OPTIONAL:
        (folder / name).unlink(missing_ok=True)
    _write_arrays(folder / WEIGHTS, arrays)
    write_whole(folder / "config.json", to_json(config))
    if text.words:
        write_whole(folder / VOCAB, to_text(text.words))
    prints = dict(text.fingerprints)
    if not config.model.text.trainable:
        prints["weights"] = of_weights(restored(arrays, TEXT_ENCODER))
    write_kept(
        folder,
        source=source_of(config.model.text),
        fingerprints=prints,
        bert=text.bert,
        tokenizer=text.tokenizer,
        labels=text.labels,
    )
    if extractor:
        write_whole(folder / EXTRACTOR, identity_text(extractor))
    if results:
        write_whole(folder / RESULTS, json.dumps(results, indent=2) + "\n")
    write_whole(folder / CARD, card)
    record = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "regions": shape[0],
        "feature_width": shape[1],
        "itm_jax": itm_jax.__version__,
        "about": dict(about),
        "sha256": checksums_of(folder),
    }
    write_whole(folder / RECORD, json.dumps(record, indent=2) + "\n")


def _write_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        save_file({name: jnp.asarray(x) for name, x in arrays.items()}, temporary, {"format": "flax"})
        temporary.chmod(0o666 & ~umask())  # safetensors writes files that nobody else may read
        temporary.replace(path)
    except OSError as e:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({e})") from None


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
        kind, colon, place = str(value).partition(":")
        source[key] = f"{kind}:{_last_name(place)}" if colon and "/" not in kind else _last_name(str(value))
    return {**extractor.record, "images": ".", "source": source}


def _last_name(place: str) -> str:
    """Returns the last part of a path; a hub name and a folder of a Python package stay as they are."""
    if place.startswith(PACKAGE):
        return place
    named = HUB_NAME.fullmatch(place) and not os.path.exists(place)
    return place if named else place.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
