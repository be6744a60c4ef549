"""What the command line changes in the rows of a table: said in its captions, notes, JSON and file names."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from itm_jax.tables.cell import Cell

NAMED = ("data.name", "data.test_split")  # the name of the data set, in captions and file names, has them already
# If one of these is smaller, a run is shorter, or sees fewer data, than the file of the table asks for.
LENGTHS = ("train.epochs", "data.train_share", "data.scenes.train")
LONGEST = 60  # characters that the changes may take in a file name

# By the dotted name of a field: the values that the rows have in the table's file, and the one of the command line.
Changes = Mapping[str, tuple[list[Any], Any]]


def changes_of(cells: Sequence[Cell]) -> Changes:
    """Returns the fields in which the rows differ from what the table's file says."""
    out: dict[str, tuple[list[Any], Any]] = {}
    for cell in cells:
        for name, (usual, given) in cell.changed.items():
            values, _ = out.setdefault(name, ([], given))
            if name not in NAMED and usual not in values:
                values.append(usual)
    return {name: out[name] for name in sorted(out) if name not in NAMED}


def label(dataset: str, changes: Changes) -> str:
    """Returns the name of the data set with the changes behind it, for captions."""
    fields = ", ".join(f"{name}={_text(given)}" for name, (_, given) in changes.items())
    return f"{dataset}, with {fields}" if fields else dataset


def note(changes: Changes) -> str:
    """Returns a sentence about the changes; empty where there are none."""
    if not changes:
        return ""
    fields = "; ".join(
        f"{name} is {_text(given)}, not {' or '.join(map(_text, usual))}" for name, (usual, given) in changes.items()
    )
    short = [name for name in LENGTHS if name in changes and changes[name][1] < max(changes[name][0])]
    warning = f" The runs are shorter, or see fewer data, than the file asks for ({', '.join(short)})." if short else ""
    return f"This table differs from its file: {fields}.{warning}"


def suffix(changes: Changes) -> str:
    """Returns what the changes add to the names of the table's files."""
    parts = (f"{name.partition('.')[2] or name}{_text(given)}" for name, (_, given) in changes.items())
    text = "-".join(re.sub(r"[^\w.+-]+", "_", part) for part in parts)
    if len(text) > LONGEST:
        text = hashlib.sha256(repr(sorted(changes.items())).encode()).hexdigest()[:8]
    return f"-{text}" if text else ""


def as_json(changes: Changes) -> dict[str, Any]:
    """Returns the changes for the JSON file of the table."""
    return {name: {"usual": usual, "given": given} for name, (usual, given) in changes.items()}


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
