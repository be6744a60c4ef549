"""What extracted the features of a data set: `extractor.json` beside them.

It holds the identity of the extractor (backbone, checksum of its weights, preprocessing, boxes), a fingerprint of that
identity, where the images are, where backbone and detector come from, and the versions of the libraries.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from itm_jax.errors import InputError
from itm_jax.files import read_json
from itm_jax.structs import Extractor
from itm_jax.vision.plan import Plan

FILE = "extractor.json"
FORMAT = 1


def text(values: Mapping[str, Any]) -> str:
    """Returns the text of a JSON file."""
    return json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Returns a hash of an identity: two extractors with the same one give the same features."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def record(plan: Plan, out: pathlib.Path) -> dict[str, Any]:
    """Returns the content of extractor.json."""
    import jax
    import PIL

    import itm_jax

    return {
        "format": FORMAT,
        "fingerprint": fingerprint(plan.identity),
        "identity": dict(plan.identity),
        "source": dict(plan.source),
        "plan": plan.fingerprint(),
        "images": os.path.relpath(plan.images.resolve(), out.resolve()),
        "versions": {"itm_jax": itm_jax.__version__, "jax": jax.__version__, "pillow": PIL.__version__},
    }


def read(directory: pathlib.Path) -> Extractor | None:
    """Returns what a directory's extractor.json says; None where there is none.

    Raises:
        InputError: it is damaged, or of a later format.
    """
    path = directory / FILE
    return of_record(read_json(path), directory, str(path)) if path.is_file() else None


def of_record(values: Any, directory: pathlib.Path, source: str) -> Extractor:
    """Returns the extractor of a record, whose path of the images is relative to a directory.

    Raises:
        InputError: it is no such record, or of a later format.
    """
    if not isinstance(values, dict) or not isinstance(values.get("identity"), dict):
        raise InputError(f"{source}: not what itm_jax.extract writes; extract the features again")
    if values.get("format") != FORMAT:
        raise InputError(f"{source}: of format {values.get('format')!r}, this version of itm_jax reads {FORMAT}")
    if values.get("fingerprint") != fingerprint(values["identity"]):
        raise InputError(f"{source}: its fingerprint is not that of its identity; the file was edited, or is damaged")
    return Extractor(values["fingerprint"], values, directory / str(values.get("images", ".")))


def moved(extractor: Extractor, directory: pathlib.Path) -> dict[str, Any]:
    """Returns the record of an extractor for another directory, to which the path of the images is then relative."""
    return {**extractor.record, "images": os.path.relpath(extractor.images.resolve(), directory.resolve())}


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Says in which fields two identities differ: `regions 5 and 4, backbone 'vit' and 'resnet'`."""
    names = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
    plain = [f"{n} {one.get(n)!r} and {other.get(n)!r}" for n in names if not isinstance(one.get(n), dict)]
    return ", ".join(plain or names)
