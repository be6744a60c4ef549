"""Writes the files of a rendered table."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

from itm_jax.files import write_whole
from itm_jax.tables import changes, content, cost, picture, render, trials
from itm_jax.tables import values as records
from itm_jax.tables.cell import Cell
from itm_jax.tables.changes import changes_of
from itm_jax.tables.collect import Line, collect
from itm_jax.tables.published import REPORTING
from itm_jax.tables.table import Table

PROTOCOLS = ("5fold_1k", "full")


def data_name(cells: Sequence[Cell]) -> str:
    """Returns `data.name` of the table, with the test split where published results have another one."""
    data = next(cell.config.data for cell in cells if not cell.needs)
    return data.name if data.test_split in REPORTING else f"{data.name}-{data.test_split}"


def write_table(table: Table, cells: Sequence[Cell], workdir: pathlib.Path) -> list[pathlib.Path]:
    """Writes NAME-DATA.md, .tex, .csv, .json and .png to the workdir, from the finished runs.

    What the command line changes in the rows is in the captions, in the notes, and behind NAME-DATA in the file names.

    Returns:
        The files; none where no run is finished.
    """
    dataset = data_name(cells)
    if table.kind == "trials":
        return _write_trials(table, dataset, cells, workdir)
    blocks: dict[str, Sequence[Line]] = {}
    for protocol in PROTOCOLS:
        if lines := collect(table, cells, protocol):
            blocks[protocol] = lines
    if not blocks:
        return []
    changed = changes_of(cells)
    label = changes.label(dataset, changed)
    shape = content.objects if table.kind == "objects" else content.recalls
    contents = [shape(table, label, protocol, lines) for protocol, lines in blocks.items()]
    contents += content.beyond(table, label, cells)
    contents = [_with_note(block, changed) for block in contents]
    stem = workdir / f"{table.name}-{dataset}{changes.suffix(changed)}"
    said = {"changed": changes.suffix(changed).removeprefix("-")}
    every = [record | said for record in records.records(table, dataset, blocks, cells)]
    values = records.as_json(table, dataset, blocks, cells) | {"changed": changes.as_json(changed)}
    files = _write(stem, contents, every, values)
    drawn = stem.with_name(stem.name + ".png")
    picture.draw(drawn, table, label, blocks)
    return [*files, drawn]


def _write_trials(table: Table, dataset: str, cells: Sequence[Cell], workdir: pathlib.Path) -> list[pathlib.Path]:
    """Writes the same files, but for the picture, from the finished trials."""
    records = trials.trials(cells)
    if not records:
        return []
    changed = changes_of(cells)
    block = trials.content_of_trials(table, changes.label(dataset, changed), records)
    values = {"table": table.name, "dataset": dataset, "changed": changes.as_json(changed), "trials": records}
    stem = workdir / f"{table.name}-{dataset}{changes.suffix(changed)}"
    return _write(stem, [_with_note(block, changed)], [trials.for_csv(record) for record in records], values)


def write_costs(table: Table, dataset: str, cells: Sequence[Cell], figures: pathlib.Path) -> list[pathlib.Path]:
    """Writes the same files for a table of kind cost, from its measured figures, and returns them."""
    read = cost.read_figures(figures)
    assert read is not None  # they were measured before
    changed = changes_of(cells)
    label = changes.label(dataset, changed)
    stem = figures.with_name(f"{table.name}-{dataset}{changes.suffix(changed)}")
    every = [{"row": name, **figures} for name, figures in read["models"].items()]
    block = _with_note(cost.cost(table, dataset, label, read), changed)
    files = _write(stem, [block], every, read | {"changed": changes.as_json(changed)})
    drawn = stem.with_name(stem.name + ".png")
    picture.draw_costs(drawn, table, label, read["models"])
    return [*files, drawn]


def _with_note(block: content.Content, changed: changes.Changes) -> content.Content:
    """Returns a block that says first what the command line changes."""
    note = changes.note(changed)
    return dataclasses.replace(block, notes=(note, *block.notes)) if note else block


def _write(
    stem: pathlib.Path, contents: Sequence[content.Content], every: Sequence[dict], values: dict
) -> list[pathlib.Path]:
    texts = {
        ".md": render.markdown(contents),
        ".tex": render.latex(contents),
        ".csv": render.as_csv(every),
        ".json": json.dumps(values, indent=2) + "\n",
    }
    for suffix, text in texts.items():
        write_whole(stem.with_name(stem.name + suffix), text)
    return [stem.with_name(stem.name + suffix) for suffix in texts]


def summary(table: Table, cells: Sequence[Cell]) -> str:
    """Returns the rows as the lines that a command prints."""
    if table.kind == "trials":
        return trials.summary_of_trials(trials.trials(cells))
    lines = collect(table, cells, "full")
    width = max((len(line.row.name) for line in lines), default=0)
    return "\n".join(
        f"{line.row.name:{width}}  rSum {content.rsum(line)}  {content.difference(line)}".rstrip() for line in lines
    )
