"""metrics.jsonl: what a run writes while it trains. Its numbers go to the run's logger too (`runs.loggers`)."""

import json
import math
import os
import pathlib
from typing import Any

from itm_jax.files import parse_json, write_whole
from itm_jax.runs.loggers import Logger

METRICS = "metrics.jsonl"
NUMBERS = ("loss", "plateau", "rsum", "epoch", "lr")  # values that others compute with; null where not finite


class MetricsWriter:
    """Appends objects to metrics.jsonl, and hands numbers to a logger."""

    def __init__(self, workdir: pathlib.Path, resumed_at: int, logger: Logger):
        """Opens the file of `workdir`. Removes the lines after step `resumed_at`: the run writes them again.

        Lines that no run writes, such as notes of the user, stay where they are. `kept` has the objects of the run's
        lines that stay, `last_step` the last step before lines were removed.
        """
        self._path = workdir / METRICS
        lines = [(line, _parse(line)) for line in _lines(self._path)]
        self.last_step = max([resumed_at, *(x["step"] for _, x in lines if x)])
        lines = [(line, x) for line, x in lines if x is None or x["step"] <= resumed_at]
        self.kept: list[dict[str, Any]] = [x for _, x in lines if x]
        if self._path.exists():
            write_whole(self._path, b"".join(line + b"\n" for line, _ in lines))
        self._file = self._path.open("a", encoding="utf-8")
        self._logger = logger

    def write(self, step: int, split: str, values: dict[str, Any]) -> None:
        """Writes a line `{"step", "split", values}`, with null for NaN and Inf.

        Numbers also go to the logger, as `split/name`.
        """
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
        self._file.write(json.dumps({"step": step, "split": split} | finite) + "\n")
        self._file.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self._logger.scalar(f"{split}/{name}", value, step)

    def sync(self) -> None:
        """Forces the lines so far to the disk, before the checkpoint that follows them is saved."""
        os.fsync(self._file.fileno())
        self._logger.flush()

    def close(self) -> None:
        """Closes the file and the logger."""
        self._file.close()
        self._logger.close()


def read_metrics(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """The objects of the lines that a run wrote to metrics.jsonl; empty where the file is missing."""
    return [x for line in _lines(workdir / METRICS) if (x := _parse(line))]


def _lines(path: pathlib.Path) -> list[bytes]:
    """The lines of a file, without a last one that a run did not finish; empty where the file is missing."""
    *lines, last = path.read_bytes().split(b"\n") if path.exists() else [b""]
    cut = not last or (last[:1] in b"{\0" and not _is_json(last))  # after a crash, NULs may stand for bytes
    return lines if cut else [*lines, last]


def _is_json(line: bytes) -> bool:
    try:
        parse_json(line)
    except ValueError:
        return False
    return True


def _parse(line: bytes) -> dict[str, Any] | None:
    """The object of a line; None for a line that no run writes."""
    try:
        value = parse_json(line)
        known = type(value["step"]) is int and isinstance(value["split"], str)
    except (ValueError, KeyError, TypeError):
        return None
    needed = {"train": ("loss",), "dev": ("rsum",)}.get(value["split"], ()) if known else ()
    numbers = [name for name in value if name in NUMBERS]
    fits = {*needed} <= {*numbers} and all(value[n] is None or type(value[n]) in (int, float) for n in numbers)
    return value if known and fits else None
