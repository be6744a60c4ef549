"""Looks at the data and the text encoders of a table before its first run, so that one error says what is missing."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from itm_jax.data.splits import read_source
from itm_jax.data.text.kept import keeps_text
from itm_jax.errors import InputError
from itm_jax.pretrained.directory import check_available
from itm_jax.tables.cell import Cell

SHOWN = 3  # rows that an error names


def check_inputs(cells: Sequence[Cell]) -> None:
    """Raises InputError where the data or the text encoder of a run that is still to be made cannot be had.

    Each is looked at once. Nothing is downloaded.
    """
    needed: dict[tuple, list[Cell]] = {}
    checks: dict[tuple, Callable[[], Any]] = {}
    for cell in cells:
        for key, check in _inputs(cell) if cell.state != "finished" else ():
            checks.setdefault(key, check)
            needed.setdefault(key, []).append(cell)
    for key, check in checks.items():
        try:
            check()
        except InputError as e:
            names = list(dict.fromkeys(cell.row.name for cell in needed[key]))
            raise InputError(
                f"{e} (needed by {', '.join(map(repr, names[:SHOWN]))}{' ...' * (len(names) > SHOWN)})"
            ) from None


def _inputs(cell: Cell) -> Iterator[tuple[tuple, Callable[[], Any]]]:
    """Yields what a run reads: what tells it apart, and a function that looks at it."""
    config, data, text = cell.config, cell.config.data, cell.config.model.text
    if data.source != "scenes":
        for split in (data.test_split,) if cell.row.of else (data.train_split, data.dev_split, data.test_split):
            place = ("data", data.source, data.dir, data.pairing, split)
            yield place, functools.partial(read_source, config, split)
    has_own_weights = text.trainable and cell.state == "cut off" and keeps_text(cell.workdir)
    if not cell.needs and text.encoder == "bert" and text.pretrained and not has_own_weights:
        yield ("text", text.pretrained), functools.partial(check_available, text.pretrained)
