"""What a command shows while it works: lines of text, and on a terminal a live bar. All of it goes to stderr."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

PLAIN_EVERY = 10.0  # seconds between lines where the output is not a terminal


def say(message: str) -> None:
    """Prints a line."""
    print(message, file=sys.stderr, flush=True)


class Bar:
    """Shows progress with the time left: a live bar on a terminal, elsewhere a line now and then.

    Attributes:
        live: whether the output is a terminal.
    """

    def __init__(self, name: str, total: int, *, start: int = 0, remaining: bool = True, live: bool = True):
        """Counts from `start` to `total`. `name` says what is counted, `remaining` whether to show the time left.

        The bar appears with the first call of a method. It ends with `close`, or when all is done.
        """
        console = Console(stderr=True, highlight=False)
        self.live = live and console.is_terminal
        self._name, self._total, self._start, self._remaining = name, total, start, remaining
        self._began, self._last = time.monotonic(), 0.0
        columns: list[ProgressColumn] = [TextColumn(name), MofNCompleteColumn(), BarColumn()]
        columns += [TextColumn("{task.description}")]
        columns += [TextColumn("left"), TimeRemainingColumn()] if remaining else []
        self._bar = Progress(*columns, console=console, disable=not self.live)
        self._task = self._bar.add_task("", total=total, completed=start)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def update(self, done: int, text: str = "") -> None:
        """Shows that `done` of the total are done.

        Where the output is not a terminal, this prints a line every PLAIN_EVERY seconds.
        """
        self._bar.start()
        self._bar.update(self._task, completed=done, description=text)
        now = time.monotonic()
        if not self.live and (now - self._last > PLAIN_EVERY or done == self._total):
            self._last = now
            left = (now - self._began) / max(1, done - self._start) * (self._total - done)
            time_left = f"  left {left:.0f} s" if self._remaining else ""
            say(f"{self._name} {done:,}/{self._total:,}{'  ' if text else ''}{text}{time_left}")
        if done == self._total:
            self.close()

    def describe(self, text: str) -> None:
        """Shows what is under way, on a terminal only."""
        self._bar.start()
        self._bar.update(self._task, description=text)

    def advance(self, done: int) -> None:
        """Moves the bar without a line."""
        self._bar.start()
        self._bar.update(self._task, completed=done)

    def say(self, message: str) -> None:
        """Prints a line above the bar."""
        if self.live:
            self._bar.console.print(message, markup=False)
        else:
            say(message)

    def close(self) -> None:
        """Ends the bar."""
        self._bar.stop()
