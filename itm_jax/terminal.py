"""What a command shows while it works: lines of text, and on a terminal a live bar. All of it goes to stderr."""

import sys
import time
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

PLAIN_EVERY = 10.0  # seconds between lines where the output is not a terminal
WIDE = 160  # characters of a line of a table where the output is not a terminal
PLAIN_FROM = 3.0  # seconds that work takes before the first of these lines, so that short work prints none


def say(message: str) -> None:
    """Prints a line."""
    print(message, file=sys.stderr, flush=True)


class Bar:
    """Shows progress with the time left: a live bar on a terminal, elsewhere a line now and then.

    Attributes:
        live: whether the output is a terminal.
    """

    def __init__(
        self, name: str, total: int, *, start: int = 0, remaining: bool = True, short: bool = False, live: bool = True
    ):
        """Counts from `start` to `total`. The bar appears with the first call of a method; it ends when all is done.

        Args:
            name: says what is counted.
            total: the number at the end.
            start: the number at the beginning.
            remaining: whether to show the time left. It is estimated from the first update on: what comes before, such
                as compilation, does not count.
            short: whether nothing is printed where the output is not a terminal and all is done within PLAIN_FROM.
            live: whether a terminal gets a live bar.
        """
        console = Console(stderr=True, highlight=False)
        self.live = live and console.is_terminal
        self._name, self._total, self._remaining = name, total, remaining
        self._first: tuple[float, int] | None = None  # time and number of the first update
        self._last = time.monotonic() - PLAIN_EVERY + PLAIN_FROM if short else 0.0
        self._quiet = short
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
        began, start = self._first = self._first or (now, done)
        ended = done == self._total and not self._quiet
        if not self.live and (now - self._last > PLAIN_EVERY or ended):
            self._last, self._quiet = now, False
            time_left = ""
            if self._remaining and done > start:
                time_left = f"  left {(now - began) / (done - start) * (self._total - done):.0f} s"
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


def print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table to stdout. Numbers are aligned at the right; nothing is cut, long values are folded.

    Args:
        title: a line above it.
        headings: of the columns.
        rows: of text.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDE
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for k, heading in enumerate(headings):
        numbers = all(_is_number(row[k]) for row in rows)
        table.add_column(Text(heading), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(Text(title))
    console.print(table)


def _is_number(text: str) -> bool:
    try:
        float(text.rstrip("%").replace(",", "") or 0)
    except ValueError:
        return False
    return True
