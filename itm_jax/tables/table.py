"""What a table is: named rows, each a set of overrides of a base config, times seeds, on a data set."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from itm_jax.config.load import find_config, load_module
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
        reference: the row that this one is compared with, where it is not the table's.
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
    reference: str = ""
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
        reference: the row that others are compared with, where they name none.
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

    def reference_of(self, row: Row) -> str:
        """Name of the row that a row is compared with; empty where there is none. A row on other data: the row it evaluates."""
        name = row.of or row.reference or self.reference
        return "" if name == row.name else name

    def rows_on(self, dataset: str) -> list[Row]:
        """The rows that have a meaning on a data set."""
        return [row for row in self.rows if not row.datasets or dataset in row.datasets]


def load_table(path: pathlib.Path) -> Table:
    """The table of a file, or of the library's own by its name.

    Raises:
        InputError: there is none, it is broken, or its rows do not fit together.
    """
    path = find_config(f"tables/{path}" if path.parent == pathlib.Path() else str(path)) or path
    if path.suffix != ".py" or not path.is_file():
        near = sorted(p.stem for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise InputError(f"{path}: no table, which is a .py file" + (f"; there are {', '.join(near)}" if near else ""))
    try:
        module = load_module(path)
    except Exception as e:  # the file is Python code
        raise InputError(f"{path}: {type(e).__name__}: {e}") from None
    if not hasattr(module, "get_table"):
        raise InputError(f"{path}: no function get_table(); a table file returns an itm_jax.tables.Table from it")
    try:
        table = module.get_table()
    except Exception as e:
        raise InputError(f"{path}: get_table(): {type(e).__name__}: {e}") from None
    if not isinstance(table, Table) or not table.bases:
        raise InputError(f"{path}: get_table() must return an itm_jax.tables.Table with at least one base")
    table = dataclasses.replace(table, file=path.resolve())
    _check(table)
    return table


def evaluated_on(table: Table, places: Mapping[str, str]) -> Table:
    """The table with a row more below every trained one: the same runs on the test split of other data.

    Args:
        table: whose rows have no axis.
        places: directories in SCAN's form by the names that rows and results shall have.
    """
    if table.axis or table.kind != "recalls":
        raise InputError(f"--on: {table.name} has no place for rows on other data; configs/tables/transfer.py has")
    rows = []
    for row in table.rows:
        rows.append(row)
        if row.of or row.ensemble:
            continue
        for name, directory in places.items():
            data = {"data.source": "precomp", "data.name": name, "data.dir": directory}
            data["data.test_split"] = "testall" if name == "coco" else "test"
            rows.append(Row(f"{row.name} on {name}", data, row.group, of=row.name, datasets=row.datasets))
    table = dataclasses.replace(table, rows=tuple(rows))
    _check(table)
    return table


def _check(table: Table) -> None:
    names = [row.name for row in table.rows]
    for dataset in table.bases:
        of_dataset = [row.name for row in table.rows_on(dataset)]
        for name in of_dataset:
            if of_dataset.count(name) > 1:
                raise InputError(f"{table.file}: two rows are named {name!r}")
    for reference in (table.reference, *(row.reference for row in table.rows)):
        if reference and reference not in names:
            raise InputError(f"{table.file}: reference={reference!r}: no such row")
    if table.kind not in KINDS:
        raise InputError(f"{table.file}: kind={table.kind!r}: must be one of {', '.join(KINDS)}")
    for row in table.rows:
        if row.seeds and not set(table.seeds) <= set(row.seeds):
            raise InputError(f"{table.file}: row {row.name!r}: its seeds must have those of the table among them")
        for dataset in row.datasets or table.bases:
            trained = [other.name for other in table.rows_on(dataset) if not other.of and not other.ensemble]
            for other in (*row.ensemble, *([row.of] if row.of else [])):
                if other not in trained:
                    raise InputError(f"{table.file}: row {row.name!r}: {other!r} is no trained row on {dataset}")
        if row.ensemble and row.overrides:
            raise InputError(f"{table.file}: row {row.name!r}: an ensemble has no overrides of its own")
        if row.of and not all(name.startswith("data.") for name in row.overrides):
            raise InputError(
                f"{table.file}: row {row.name!r}: evaluates a trained row, so its overrides are data fields"
            )
        if table.axis and row.x is None:
            raise InputError(f"{table.file}: row {row.name!r}: has no x, which the axis {table.axis!r} needs")
