"""Defects of a data set: raised one by one when it is opened for training, listed all together by `itm_jax.check`."""

import dataclasses
from collections.abc import Iterable
from typing import Any, NoReturn

from itm_jax.errors import InputError

SHOWN = 20  # defects of one kind in one file that are listed one by one


@dataclasses.dataclass(frozen=True)
class Defect:
    """One defect.

    Attributes:
        path: the file, directory or config field.
        where: the place in it: `row 3`, `line 7`, `lines 6..10`, `entry 2`; empty for all of it.
        kind: a word that stays the same from version to version, `not-finite` say.
        text: what is wrong, and what to do.
    """

    path: str
    where: str
    kind: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.path, self.where, self.text) if part)


class Defects:
    """Where readers report what is wrong.

    Strict: the first defect is raised as InputError, with how many more there are of its kind.

    Attributes:
        records: the defects; of one kind in one file at most SHOWN.
        more: how many defects there are beyond those, by (path, kind, text).
    """

    def __init__(self, *, strict: bool):
        self.strict = strict
        self.records: list[Defect] = []
        self.more: dict[tuple[str, str, str], int] = {}

    @property
    def count(self) -> int:
        """Number of defects."""
        return len(self.records) + sum(self.more.values())

    @property
    def lines(self) -> list[str]:
        """The defects as lines; a line more where there are more of a kind."""
        lines = [" ".join(str(defect).split()) for defect in self.records]
        return lines + [f"{path}: {count} more: {text}" for (path, _, text), count in self.more.items()]

    def add(self, path: Any, kind: str, text: str, where: str = "") -> None:
        """Reports one defect; see `Defect`."""
        defect = Defect(str(path), where, kind, text)
        if self.strict:
            raise InputError(str(defect))
        self.records.append(defect)

    def add_error(self, error: InputError, kind: str = "input") -> None:
        """Reports what an error says."""
        if self.strict:
            raise error
        path, colon, text = str(error).partition(": ")
        self.records.append(Defect(path, "", kind, text) if colon else Defect("", "", kind, path))

    def each(self, path: Any, noun: str, numbers: Iterable[Any], kind: str, text: str) -> None:
        """Reports a defect of each of several rows, lines or entries, by their numbers."""
        numbers = [int(n) for n in numbers]
        if not numbers:
            return
        if self.strict:
            _raise_first(path, noun, numbers, text)
        self.records += [Defect(str(path), f"{noun} {n}", kind, text) for n in numbers[:SHOWN]]
        if len(numbers) > SHOWN:
            self.more[str(path), kind, text] = len(numbers) - SHOWN


def _raise_first(path: Any, noun: str, numbers: list[int], text: str) -> NoReturn:
    what, semicolon, hint = text.partition("; ")
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    raise InputError(f"{path}: {noun} {numbers[0]}: {what} ({len(numbers)} such {plural}){semicolon}{hint}")


STRICT = Defects(strict=True)
