"""What a run writes while it trains: metrics.jsonl and TensorBoard events."""

import json
import math
import os
import pathlib
import time
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from itm_jax.files import write_whole

METRICS = "metrics.jsonl"


class Events:
    """Writes scalars to a TensorBoard file at once.

    tensorboardX's own writer is a thread, and a full disk ends that thread silently.
    """

    def __init__(self, folder: pathlib.Path, first: int):
        """Opens a new file. Its events from step `first` on replace those of earlier files."""
        self._file = EventsWriter(str(folder / "events"))
        self._add(Event(step=first, session_log=SessionLog(status=SessionLog.START)))

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        self._file.write_event(event)

    def scalar(self, name: str, value: float, step: int) -> None:
        """Writes one value of a curve."""
        self._add(Event(step=step, summary=scalar(name, value)))

    def flush(self) -> None:
        """Writes the events so far to the file."""
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class MetricsWriter:
    """Appends objects to metrics.jsonl and scalars to TensorBoard."""

    def __init__(self, workdir: pathlib.Path, resumed_at: int):
        """Opens the files of `workdir`. Removes the lines after step `resumed_at`: the run writes them again.

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
        self._events = Events(workdir, resumed_at + 1)

    def write(self, step: int, split: str, values: dict[str, Any]) -> None:
        """Writes a line `{"step", "split", values}`, with null for NaN and Inf.

        Numbers also go to TensorBoard as `split/name`.
        """
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
        self._file.write(json.dumps({"step": step, "split": split} | finite) + "\n")
        self._file.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self._events.scalar(f"{split}/{name}", value, step)

    def sync(self) -> None:
        """Forces the lines so far to the disk, before the checkpoint that follows them is saved."""
        os.fsync(self._file.fileno())
        self._events.flush()

    def close(self) -> None:
        """Closes both files."""
        self._file.close()
        self._events.close()


def read_metrics(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """The objects of metrics.jsonl, without a half-written last line; empty where the file is missing."""
    path = workdir / METRICS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [x for line in lines if (x := _parse(line))]


def _parse(line: str) -> dict[str, Any] | None:
    """The object of a line; None for a half-written last line."""
    try:
        value = json.loads(line)
        return value if isinstance(value["step"], int) else None
    except (ValueError, KeyError, TypeError):
        return None
