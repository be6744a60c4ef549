"""What a run shows on the terminal."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_EVERY = 10.0  # seconds between lines where the output is no terminal


def say(message: str) -> None:
    """Prints a line on stderr."""
    print(message, file=sys.stderr, flush=True)


class Display:
    """Loss, examples per second, time left and dev rSum: a live bar on a terminal, lines elsewhere, on stderr."""

    def __init__(self, total: int, start: int):
        """A run from step `start` to `total`."""
        console = Console(stderr=True)
        self._live = console.is_terminal
        self._total, self._start, self._began, self._last = total, start, time.monotonic(), 0.0
        self._text = ""
        self._rsum = ""
        columns = [TextColumn("step {task.completed}/{task.total}"), BarColumn(), TextColumn("{task.description}")]
        columns += [TextColumn("left"), TimeRemainingColumn()]
        self._bar = Progress(*columns, console=console, disable=not self._live)
        self._task = self._bar.add_task("compiling", total=total, completed=start)
        self._bar.start()

    def update(self, step: int, loss: float, examples_per_second: float) -> None:
        """Shows a training step."""
        self._text = f"loss {loss:.2f}  {examples_per_second:,.0f} examples/s{self._rsum}"
        self._bar.update(self._task, completed=step, description=self._text)
        now = time.monotonic()
        if not self._live and (now - self._last > PLAIN_EVERY or step == self._total):
            self._last = now
            left = (now - self._began) / max(1, step - self._start) * (self._total - step)
            print(f"step {step}/{self._total}  {self._text}  left {left:.0f} s", file=sys.stderr, flush=True)

    def evaluated(self, step: int, rsum: float, best: bool) -> None:
        """Shows a dev evaluation."""
        self._rsum = f"  dev rSum {rsum:.1f}"
        self.say(f"step {step}: dev rSum {rsum:.1f}{' (best so far)' if best else ''}")

    def say(self, message: str) -> None:
        """Prints a line above the bar."""
        if self._live:
            self._bar.console.print(message, highlight=False, markup=False)
        else:
            print(message, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Ends the bar."""
        self._bar.stop()
