"""Columns of metadata for filters, from a CSV file."""

import collections
import csv
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from itm_jax.errors import InputError
from itm_jax.search.table import OURS

Metadata = Mapping[str, Mapping[str, Any]]  # {id: {column: value}}; None is an empty cell
WORDS = {"int64": "a whole number", "double": "a number", "string": "a text"}
KINDS = {"int64": int, "double": float, "string": str}


def read_metadata(path: pathlib.Path, types: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """Reads a CSV file with the column `id`, and others for filters.

    A column of whole numbers of 64 bits without leading zeros becomes `int64`, one of numbers `double`, others stay
    text. An empty cell has no value.

    Args:
        path: the file.
        types: {column: type} of an index that it is added to; None: as the values are.

    Raises:
        InputError: the file cannot be read or has no lines, an id or a column occurs twice, or a column has a name of
            ours, is missing, or has a value of another type.
    """
    names, lines, rows = _rows(path)
    out: dict[str, dict[str, Any]] = {row["id"]: {} for row in rows}
    if len(out) < len(rows):
        twice = collections.Counter(row["id"] for row in rows).most_common(1)[0][0]
        raise InputError(f"{path}: the id {twice} has two lines; keep one of them")
    if types is not None and set(types) != set(names):
        raise InputError(f"{path}: its columns are {', '.join(names) or 'none'}; the index has {columns_text(types)}")
    for name in names:
        values = [row[name] for row in rows]
        kind = types[name] if types else next(kind for kind in KINDS if _fits([v for v in values if v], kind))
        if any(values) and not _fits([v for v in values if v], kind):  # a column without values has any type
            wrong = next(line for line, v in zip(lines, values, strict=True) if v and not _fits([v], kind))
            raise InputError(f"{path}: line {wrong}: {name} must be {WORDS[kind]}, as in the index; correct it")
        for row, value in zip(rows, values, strict=True):
            out[row["id"]][name] = KINDS[kind](value) if value else None
    return out


def _rows(path: pathlib.Path) -> tuple[list[str], list[int], list[dict[str, str]]]:
    """Returns the names of the columns but `id`, the number of the last line of each row, and the rows."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows, lines = [], []
            for row in reader:
                rows.append(row)
                lines.append(reader.line_num)
            header = list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise InputError(f"{path}: cannot be read as CSV ({e})") from None
    if "id" not in header:
        raise InputError(f"{path}: has no column id; its first line has the names of the columns")
    if len(set(header)) < len(header):
        raise InputError(f"{path}: two columns have the name {collections.Counter(header).most_common(1)[0][0]!r}")
    names = [name for name in header if name != "id"]
    if taken := [name for name in names if name in OURS or name.startswith("_") or not name.isidentifier()]:
        raise InputError(
            f"{path}: a column cannot have the name {taken[0]!r}; take letters, digits and _, a letter first, and none "
            f"of {', '.join(OURS)}"
        )
    if not rows:
        raise InputError(f"{path}: has no lines below the names of the columns")
    for line, row in zip(lines, rows, strict=True):
        if None in row or None in row.values():
            raise InputError(f"{path}: line {line}: has another number of values than the first line")
    return names, lines, rows


def _fits(values: Sequence[str], kind: str) -> bool:
    """Returns whether all values of a column can be of a type."""
    if kind == "string":
        return True
    try:
        numbers = [KINDS[kind](value) for value in values]
    except ValueError:
        return False
    if kind == "double":
        return bool(values) and all(map(math.isfinite, numbers)) and not any(_has_zeros(value) for value in values)
    return bool(values) and all(
        -(2**63) <= n < 2**63 and str(n) == v.strip() for n, v in zip(numbers, values, strict=True)
    )


def _has_zeros(value: str) -> bool:
    """Returns whether a number is rather a code: `0150`, `1_000`."""
    digits = value.strip().lstrip("+-")
    return "_" in digits or (len(digits) > 1 and digits[0] == "0" and digits[1].isdigit())


def types_of(metadata: Metadata) -> dict[str, str]:
    """Returns {column: its type in Arrow} of values in Python."""
    columns: dict[str, set[type]] = {}
    for values in metadata.values():
        for name, value in values.items():
            columns.setdefault(name, set()).update(() if value is None else (type(value),))
    return {name: _type_of(kinds) for name, kinds in columns.items()}


def _type_of(kinds: set[type]) -> str:
    if kinds == {int}:
        return "int64"
    return "double" if kinds and kinds <= {int, float} else "string"


def columns_text(types: Mapping[str, str]) -> str:
    """Returns the columns and their types as a text."""
    return ", ".join(f"{name} ({kind})" for name, kind in types.items()) or "none"
