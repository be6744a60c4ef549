"""Shows the runs of a table on the terminal: the plan, the progress and the time left."""

import re
import time
from collections.abc import Iterator, Sequence

from itm_jax.tables.cell import Cell
from itm_jax.tables.plan import estimate
from itm_jax.terminal import Bar

PLAIN_EVERY = 30.0  # seconds between lines about running cells, where the output is not a terminal


class Board:
    """Progress over the runs of a table: a live display on a terminal, lines elsewhere, on stderr."""

    def __init__(self, total: int, seconds: float | None):
        """Starts the display for `total` runs; until one has ended, the time left is the estimate `seconds`."""
        self._bar = Bar("runs", total, remaining=False)
        self._ends = time.monotonic() + seconds if seconds else None  # when all may be done
        self._done, self._total, self.began = 0, total, time.monotonic()
        self._said = self.began

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()

    def say(self, message: str) -> None:
        """Prints a line."""
        self._said = time.monotonic()
        self._bar.say(message)

    def ended(self, cell: Cell, seconds: float, problem: str) -> None:
        """Shows that a cell has ended."""
        self._done += 1
        self._bar.advance(self._done)
        left = (time.monotonic() - self.began) / self._done * (self._total - self._done)
        self._ends = time.monotonic() + left if self._done < self._total else None
        what = problem or cell.headline
        self.say(f"[{self._done}/{self._total}] {cell.name}: {what} ({duration(seconds)}{self._left()})")

    def show(self, running: Sequence[tuple[Cell, str]]) -> None:
        """Shows the running cells, given with the last lines of their logs.

        On a terminal this is the live line; elsewhere it prints a line every PLAIN_EVERY seconds.
        """
        steps = (re.findall(r"step [\d,]+/[\d,]+", line) for _, line in running)
        doing = "; ".join(f"{cell.name} {s[-1] if s else ''}" for (cell, _), s in zip(running, steps, strict=True))
        if self._bar.live:
            self._bar.describe(doing + self._left())
        elif doing and time.monotonic() - self._said > PLAIN_EVERY:
            self.say(doing + self._left())

    def _left(self) -> str:
        """Says how long the rest may take; empty where that is not known."""
        return "" if self._ends is None else f", about {duration(max(0.0, self._ends - time.monotonic()))} left"


def duration(seconds: float) -> str:
    """Returns seconds as text in a readable unit: s, min or h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def time_left(cells: Sequence[Cell], part: Sequence[Cell], minutes: float | int | None, jobs: int) -> float | None:
    """Returns the seconds that the unfinished cells of `part` take with `jobs` parallel runs; None where unknown."""
    known = estimate(cells, minutes)
    estimates = [known[cell.name] for cell in part if cell.state != "finished"]
    seconds = [x for x in estimates if x is not None]
    measured = any(cell.state == "finished" and not cell.needs for cell in cells)  # else `minutes`, for all cores
    return None if len(seconds) < len(estimates) else sum(seconds) / (jobs if measured else 1)


def plan_lines(
    cells: Sequence[Cell], minutes: float | int | None, part: Sequence[Cell] | None = None, jobs: int = 1
) -> Iterator[str]:
    """Yields the plan as lines: each run of `part` (default: all) with its state and estimated time, then the sum."""
    left, part = estimate(cells, minutes), cells if part is None else part
    for cell in part:
        seconds = left.get(cell.name)
        about = "  time not known yet" if seconds is None else f"  about {duration(seconds)}"
        yield f"{cell.state:9}  {cell.name}{'' if cell.state == 'finished' else about}"
    seconds = time_left(cells, part, minutes, jobs)
    total = "time not known until a run is finished" if seconds is None else f"about {duration(seconds)}"
    done = sum(cell.state == "finished" for cell in part)
    yield f"{len(part)} runs: {done} finished, {len(part) - done} to do" + (
        f", {total} on this machine" if done < len(part) else ""
    )
