"""What a table is: named rows, each a set of overrides of a base config, times seeds, on a data set."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from itm_jax.config import load_module
from itm_jax.errors import InputError

KINDS = ("recalls", "objects", "cost")


@dataclasses.dataclass(frozen=True)
class Base:
    """Where the rows of a table begin on a data set: a config file, relative to the table's, and what all rows change.

    `models` has what the rows of a model change, by `model.name`.
    """

    config: str
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    models: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        name: as printed; unique among the table's rows on a data set.
        overrides: values of config fields by their dotted names.
        group: heading above it; where the table has an axis, the curve that it is a point of.
        x: its place on that axis.
        of: name of a trained row that this one evaluates on other data; its overrides are then data fields.
        ensemble: names of rows whose scores are averaged.
        published: its method in published.csv.
        seeds: of this row where it is trained with other ones than the table's.
        datasets: data sets on which it has a meaning; all where empty.
    """

    name: str
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    group: str = ""
    x: float | None = None
    of: str = ""
    ensemble: tuple[str, ...] = ()
    published: str = ""
    seeds: tuple[int, ...] = ()
    datasets: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Table:
    """A table file returns one from `get_table()`.

    Attributes:
        title: as printed.
        question: what it is to answer, a sentence.
        bases: by data set.
        rows: in their order.
        seeds: of every trained row.
        reference: the row that others are compared with.
        axis: what `Row.x` is, where the picture has curves and not bars.
        field: methods of published.csv printed above the rows, where their data set is the table's.
        kind: recalls; objects (recalls by the number of objects of an image); cost (size and speed of each model).
        minutes: by data set, for the whole table with one seed on 2 CPU cores, as measured.
        note: printed below, a sentence.
        file: that it came from.
    """

    title: str
    question: str
    bases: Mapping[str, Base]
    rows: tuple[Row, ...]
    seeds: tuple[int, ...] = (0,)
    reference: str = ""
    axis: str = ""
    field: tuple[str, ...] = ()
    kind: str = "recalls"
    minutes: Mapping[str, float] = dataclasses.field(default_factory=dict)
    note: str = ""
    file: pathlib.Path = pathlib.Path()

    @property
    def name(self) -> str:
        """The name of its file."""
        return self.file.stem

    def rows_on(self, dataset: str) -> list[Row]:
        """The rows that have a meaning on a data set."""
        return [row for row in self.rows if not row.datasets or dataset in row.datasets]


def load_table(path: pathlib.Path) -> Table:
    """The table of a file.

    Raises:
        InputError: there is none, it is broken, or its rows do not fit together.
    """
    if not path.exists():
        near = sorted(p.stem for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise InputError(f"{path}: no such table" + (f"; there are {', '.join(near)}" if near else ""))
    try:
        module = load_module(path)
    except Exception as e:  # the file is Python code
        raise InputError(f"{path}: {type(e).__name__}: {e}") from None
    if not hasattr(module, "get_table"):
        raise InputError(f"{path}: no function get_table(); a table file returns an itm_jax.tables.Table from it")
    table = dataclasses.replace(module.get_table(), file=path.resolve())
    _check(table)
    return table


def _check(table: Table) -> None:
    names = [row.name for row in table.rows]
    for dataset in table.bases:
        of_dataset = [row.name for row in table.rows_on(dataset)]
        for name in of_dataset:
            if of_dataset.count(name) > 1:
                raise InputError(f"{table.file}: two rows are named {name!r}")
    if table.reference and table.reference not in names:
        raise InputError(f"{table.file}: reference={table.reference!r}: no such row")
    if table.kind not in KINDS:
        raise InputError(f"{table.file}: kind={table.kind!r}: must be one of {', '.join(KINDS)}")
    trained = [row.name for row in table.rows if not row.of and not row.ensemble]
    for row in table.rows:
        if row.seeds and not set(table.seeds) <= set(row.seeds):
            raise InputError(f"{table.file}: row {row.name!r}: its seeds must have those of the table among them")
        for other in (*row.ensemble, *([row.of] if row.of else [])):
            if other not in trained:
                raise InputError(f"{table.file}: row {row.name!r}: {other!r} is no trained row of the table")
        if row.ensemble and row.overrides:
            raise InputError(f"{table.file}: row {row.name!r}: an ensemble has no overrides of its own")
        if row.of and not all(name.startswith("data.") for name in row.overrides):
            raise InputError(
                f"{table.file}: row {row.name!r}: evaluates a trained row, so its overrides are data fields"
            )
        if table.axis and row.x is None:
            raise InputError(f"{table.file}: row {row.name!r}: has no x, which the axis {table.axis!r} needs")
