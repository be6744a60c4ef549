"""Defects of a data set: raised one by one when it is opened for training, listed all together by `itm_jax.check`."""

from collections.abc import Sequence
from typing import Any

from itm_jax.errors import InputError

SHOWN = 20  # lines of one kind of defect in one file


class Defects:
    """Where readers report what is wrong. Strict: the first defect is raised as InputError, with how many more of its kind.

    Attributes:
        lines: one per defect; beyond SHOWN of a kind in a file a line says how many more.
        count: number of defects.
    """

    def __init__(self, *, strict: bool):
        self.strict = strict
        self.lines: list[str] = []
        self.count = 0

    def add(self, what: object) -> None:
        """One defect: `file: where: what is wrong; what to do`."""
        if self.strict:
            raise InputError(str(what))
        self.lines.append(" ".join(str(what).split()))
        self.count += 1

    def each(self, path: Any, noun: str, numbers: Sequence[int], what: str, hint: str = "") -> None:
        """A defect of each of several rows, lines or entries: `path: noun number: what`."""
        numbers = [int(n) for n in numbers]
        if not numbers:
            return
        if self.strict:
            plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
            raise InputError(f"{path}: {noun} {numbers[0]}: {what} ({len(numbers)} such {plural}){hint}")
        self.lines += [f"{path}: {noun} {n}: {what}{hint}" for n in numbers[:SHOWN]]
        if len(numbers) > SHOWN:
            self.lines.append(f"{path}: … {len(numbers) - SHOWN} more: {what}")
        self.count += len(numbers)


STRICT = Defects(strict=True)
