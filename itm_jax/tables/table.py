"""Defines a table: named rows on a data set, each a set of overrides of a base config, with one or more seeds."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from itm_jax.config.load import config_directory, find_config, load_module
from itm_jax.errors import InputError

KINDS = ("recalls", "objects", "cost", "trials")


@dataclasses.dataclass(frozen=True)
class Base:
    """What all rows of a table have in common on one data set.

    Attributes:
        config: the config file of all rows, relative to the table's file.
        overrides: values of config fields for all rows.
        models: by `model.name`, values of config fields for the rows of that model.
    """

    config: str
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    models: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        name: the printed name; unique among the table's rows on a data set.
        overrides: values of config fields by their dotted names.
        group: the heading above the row; where the table has an axis, the curve that the row is a point of.
        x: the place of the row on that axis.
        of: the name of a trained row that this one evaluates on other data; its overrides are then data fields.
        ensemble: the names of rows whose scores are averaged.
        published: the method of the row in published.csv.
        reference: the row that this one is compared with, where it is not the table's reference.
        seeds: the seeds of this row, where they are not those of the table.
        datasets: the data sets that have this row; all where empty.
    """

    name: str
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    group: str = ""
    x: float | int | None = None
    of: str = ""
    ensemble: tuple[str, ...] = ()
    published: str = ""
    reference: str = ""
    seeds: tuple[int, ...] = ()
    datasets: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Table:
    """A table, as the function `get_table()` of a table file returns it.

    Attributes:
        title: the printed title.
        question: the question that the table answers, a sentence.
        bases: the bases by data set.
        rows: the rows in their order.
        seeds: the seeds of every trained row.
        reference: the row that others are compared with, where they name none.
        axis: the name of the axis of `Row.x`; where it is set, the picture has curves and not bars.
        field: methods of published.csv that are printed above the rows, where they are on the table's data set.
        kind: recalls; objects (recalls by the number of objects of an image); cost (size and speed of each model);
            trials (of every model, grouped by it and compared on dev; test is not looked at).
        minutes: by data set, the minutes of the whole table with one seed on 2 CPU cores: as measured, or, where it was
            never run whole, from measured runs of its models.
        note: a sentence that is printed below the table.
        file: the file that the table comes from.
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
    minutes: Mapping[str, float | int] = dataclasses.field(default_factory=dict)
    note: str = ""
    file: pathlib.Path = pathlib.Path()

    @property
    def name(self) -> str:
        """The name of its file."""
        return self.file.stem

    def reference_of(self, row: Row) -> str:
        """Returns the name of the row that a row is compared with; empty where there is none.

        A row on other data is compared with the row that it evaluates.
        """
        name = row.of or row.reference or self.reference
        return "" if name == row.name else name

    def rows_on(self, dataset: str) -> list[Row]:
        """Returns the rows that the table has on a data set."""
        return [row for row in self.rows if not row.datasets or dataset in row.datasets]


def load_table(path: pathlib.Path) -> Table:
    """Returns the table of a file, or a table of the library by its name.

    Raises:
        InputError: there is no such table, its file is broken, or its rows do not fit together.
    """
    if not path.is_file():
        path = find_config(f"tables/{path}" if path.parent == pathlib.Path() else str(path)) or path
    if path.suffix != ".py" or not path.is_file():
        folder = path.parent if path.parent != pathlib.Path() else config_directory() / "tables"
        near = sorted(p.stem for p in folder.glob("*.py") if "get_table" in p.read_text()) if folder.is_dir() else []
        raise InputError(f"{path}: no such table (a .py file)" + (f"; there are {', '.join(near)}" if near else ""))
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
    """Returns the table with more rows below every trained one: the same runs on the test splits of other data.

    Args:
        table: a table of kind recalls, without an axis.
        places: directories in SCAN's form, by the names that rows and results get.

    Raises:
        InputError: the table has an axis or another kind, or its rows do not fit together.
    """
    if table.axis or table.kind != "recalls":
        raise InputError(f"--on: {table.name} has no place for rows on other data; use configs/tables/transfer.py")
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
        on_dataset = [row.name for row in table.rows_on(dataset)]
        for name in on_dataset:
            if on_dataset.count(name) > 1:
                raise InputError(f"{table.file}: two rows are named {name!r}; rename one")
    for reference in (table.reference, *(row.reference for row in table.rows)):
        if reference and reference not in names:
            raise InputError(f"{table.file}: reference={reference!r}: no such row")
    if table.kind not in KINDS:
        raise InputError(f"{table.file}: kind={table.kind!r}: must be one of {', '.join(KINDS)}")
    if table.kind == "trials" and any(row.of or row.ensemble or not row.group for row in table.rows):
        raise InputError(f"{table.file}: a row is a trial: give it a group, its model, and neither `of` nor `ensemble`")
    for row in table.rows:
        if row.seeds and not set(table.seeds) <= set(row.seeds):
            raise InputError(f"{table.file}: row {row.name!r}: its seeds must include all seeds of the table")
        for dataset in row.datasets or table.bases:
            trained = [other.name for other in table.rows_on(dataset) if not other.of and not other.ensemble]
            for other in (*row.ensemble, *([row.of] if row.of else [])):
                if other not in trained:
                    raise InputError(f"{table.file}: row {row.name!r}: {other!r} is no trained row on {dataset}")
        if row.ensemble and row.overrides:
            raise InputError(f"{table.file}: row {row.name!r}: an ensemble has no overrides of its own; remove them")
        if row.of and not all(name.startswith("data.") for name in row.overrides):
            raise InputError(
                f"{table.file}: row {row.name!r}: evaluates a trained row, so its overrides must be data fields"
            )
        if table.axis and row.x is None:
            raise InputError(f"{table.file}: row {row.name!r}: has no x, which the axis {table.axis!r} needs; set it")
