"""Defects of a data set. Training raises the first one; `itm_jax.check` lists them all."""

import dataclasses
from collections.abc import Iterable
from typing import Any, NoReturn

from itm_jax.errors import InputError, for_terminal

SHOWN = 20  # at most this many defects of one kind in one file are listed one by one


@dataclasses.dataclass(frozen=True)
class Defect:
    """One defect.

    Attributes:
        path: the file, directory or config field.
        where: the place in it, such as `row 3`, `line 7`, `lines 6..10` or `entry 2`; empty for all of it.
        kind: a word that stays the same from version to version, such as `not-finite`.
        text: what is wrong, and what to do.
    """

    path: str
    where: str
    kind: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.path, self.where, self.text) if part)


class Defects:
    """Collects the defects that readers report.

    With `strict=True` the first defect is raised as an InputError, which says how many there are of its kind.

    Attributes:
        strict: whether the first defect is raised.
        records: the defects, at most SHOWN of one kind in one file.
        more: the number of further defects, by (path, kind, text).
        notes: what is no defect, but good to know.
    """

    def __init__(self, *, strict: bool):
        self.strict = strict
        self.records: list[Defect] = []
        self.more: dict[tuple[str, str, str], int] = {}
        self.notes: list[str] = []

    @property
    def count(self) -> int:
        """The number of defects."""
        return len(self.records) + sum(self.more.values())

    @property
    def lines(self) -> list[str]:
        """The defects as lines, with one more line for each kind that has further defects."""
        lines = [for_terminal(defect) for defect in self.records]
        return lines + [for_terminal(f"{path}: {count} more: {text}") for (path, _, text), count in self.more.items()]

    def add(self, path: Any, kind: str, text: str, where: str = "") -> None:
        """Reports one defect; see `Defect`."""
        defect = Defect(str(path), where, kind, text)
        if self.strict:
            raise InputError(str(defect))
        self.records.append(defect)

    def add_error(self, error: InputError, kind: str = "input") -> None:
        """Reports an error as a defect."""
        if self.strict:
            raise error
        path, colon, text = str(error).partition(": ")
        self.records.append(Defect(path, "", kind, text) if colon else Defect("", "", kind, path))

    def each(self, path: Any, noun: str, numbers: Iterable[Any], kind: str, text: str) -> None:
        """Reports the same defect for several rows, lines or entries, given by their numbers."""
        numbers = [int(n) for n in numbers]
        if not numbers:
            return
        if self.strict:
            _raise_first(path, noun, numbers, text)
        self.records += [Defect(str(path), f"{noun} {n}", kind, text) for n in numbers[:SHOWN]]
        if len(numbers) > SHOWN:
            key = (str(path), kind, text)
            self.more[key] = self.more.get(key, 0) + len(numbers) - SHOWN


def _raise_first(path: Any, noun: str, numbers: list[int], text: str) -> NoReturn:
    what, semicolon, hint = text.partition("; ")
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    raise InputError(f"{path}: {noun} {numbers[0]}: {what} ({len(numbers)} such {plural}){semicolon}{hint}")


STRICT = Defects(strict=True)
