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
    """Scalars in a TensorBoard file, written at once: tensorboardX's own writer is a thread that a full disk ends silently."""

    def __init__(self, folder: pathlib.Path, first: int):
        """A new file, whose events from step `first` on replace those of earlier files."""
        self._file = EventsWriter(str(folder / "events"))
        self._add(Event(step=first, session_log=SessionLog(status=SessionLog.START)))

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        self._file.write_event(event)

    def scalar(self, name: str, value: float, step: int) -> None:
        """One value of a curve."""
        self._add(Event(step=step, summary=scalar(name, value)))

    def flush(self) -> None:
        """Brings the events so far to the file."""
        self._file.flush()

    def close(self) -> None:
        """Ends the file."""
        self._file.close()


class MetricsWriter:
    """Appends objects to metrics.jsonl and scalars to TensorBoard; drops what lies after the step resumed from."""

    def __init__(self, workdir: pathlib.Path, resumed_at: int):
        """Opens the files of `workdir`; lines of steps after `resumed_at` will be written again and are removed.

        `kept` are the objects of the lines that stay, `last_step` is that of the last line there was.
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
        """One line `{"step", "split", values}`, null for NaN and Inf; numbers also go to TensorBoard as `split/name`."""
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
        self._file.write(json.dumps({"step": step, "split": split} | finite) + "\n")
        self._file.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self._events.scalar(f"{split}/{name}", value, step)

    def sync(self) -> None:
        """Brings the lines so far to the disk, before a checkpoint that they precede."""
        os.fsync(self._file.fileno())
        self._events.flush()

    def close(self) -> None:
        """Closes both files."""
        self._file.close()
        self._events.close()


def read_metrics(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """The objects of metrics.jsonl, without a half-written last line; none where there is no such file."""
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
