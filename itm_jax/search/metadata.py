"""Columns of metadata for filters, from a CSV file."""

import collections
import csv
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from itm_jax.errors import InputError
from itm_jax.search.table import OURS

Metadata = Mapping[str, Mapping[str, Any]]  # {id: {column: value}}


def read_metadata(path: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Reads a CSV file with the column `id`, and others for filters; numbers become numbers.

    Raises:
        InputError: the file cannot be read, has no `id`, or a column has a name of ours.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise InputError(f"{path}: cannot be read as CSV ({e})") from None
    names = [name for name in reader.fieldnames or () if name != "id"]
    if "id" not in (reader.fieldnames or ()):
        raise InputError(f"{path}: has no column id; its first line has the names of the columns")
    if taken := [name for name in names if name in OURS or not name.isidentifier()]:
        raise InputError(
            f"{path}: a column cannot have the name {taken[0]!r}; take letters, digits and _, and not {OURS}"
        )
    for line, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise InputError(f"{path}: line {line}: has another number of values than the first line")
    kinds = {name: _kind([row[name] for row in rows]) for name in names}
    out = {row["id"]: {name: kinds[name](row[name]) for name in names} for row in rows}
    if len(out) < len(rows):
        twice = collections.Counter(row["id"] for row in rows).most_common(1)[0][0]
        raise InputError(f"{path}: the id {twice} has two lines; keep one of them")
    return out


def _kind(values: Sequence[str]) -> Any:
    """Returns the narrowest of int (of 64 bits), float and str that all values of a column have."""
    for kind in (int, float):
        try:
            numbers = [kind(value) for value in values]
        except ValueError:
            continue
        if kind is float or all(-(2**63) <= number < 2**63 for number in numbers):
            return kind
    return str


def types_of(metadata: Metadata) -> dict[str, str]:
    """Returns {column: its type in Arrow}."""
    names = {int: "int64", float: "double", str: "string"}
    first = next(iter(metadata.values()), {})
    return {name: names[type(value)] for name, value in first.items()}


def columns_text(types: Mapping[str, str]) -> str:
    """Returns the columns and their types as a text."""
    return ", ".join(f"{name} ({kind})" for name, kind in types.items()) or "none"
