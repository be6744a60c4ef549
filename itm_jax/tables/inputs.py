"""Looks at the data and the text encoders of a table before its first run, so that one error says what is missing."""

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from itm_jax.config.plugins import is_own
from itm_jax.data.splits import read_unaltered
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
    """Yields (key, check) for all that a run reads. Equal keys are checked once; a check raises InputError."""
    config, data, text = cell.config, cell.config.data, cell.config.model.text
    if data.source != "scenes":
        trained_on = (data.train_split, data.dev_split)
        for split in (data.test_split,) if cell.row.of else (*trained_on, *([] if cell.trial else [data.test_split])):
            key = (
                "data",
                json.dumps(data.to_dict(), sort_keys=True) if is_own(data.source) else (data.dir, data.pairing),
                split,
            )
            yield key, functools.partial(read_unaltered, config, split)
    has_own_weights = text.trainable and cell.state == "cut off" and keeps_text(cell.workdir)
    if not cell.needs and text.encoder == "bert" and text.pretrained and not has_own_weights:
        yield ("text", text.pretrained), functools.partial(check_available, text.pretrained)
