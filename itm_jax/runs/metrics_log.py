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

        `kept` has the objects of the lines that stay, `last_step` the last step before lines were removed.
        """
        self._path = workdir / METRICS
        self.kept: list[dict[str, Any]] = []
        self.last_step = resumed_at
        if self._path.exists():
            lines = read_metrics(workdir)
            self.last_step = max([resumed_at, *(x["step"] for x in lines)])
            self.kept = [x for x in lines if x["step"] <= resumed_at]
            write_whole(self._path, "".join(json.dumps(x) + "\n" for x in self.kept))
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
    """The objects of metrics.jsonl, without a half-written last line; empty where the file is missing."""
    path = workdir / METRICS
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    return [x for line in lines if (x := _parse(line))]


def _parse(line: str) -> dict[str, Any] | None:
    """The object of a line; None for a half-written last line, and for a line that no run writes."""
    try:
        value = parse_json(line)
        known = type(value["step"]) is int and isinstance(value["split"], str)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    needed = {"train": ("loss",), "dev": ("rsum",)}.get(value["split"], ()) if known else ()
    numbers = [name for name in value if name in NUMBERS]
    fits = {*needed} <= {*numbers} and all(value[n] is None or type(value[n]) in (int, float) for n in numbers)
    return value if known and fits else None
