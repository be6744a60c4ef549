"""Renders a search for recipes: trials of every model, ranked by their best rSum on dev. Test is never looked at."""

import csv
import io
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from itm_jax.files import write_whole
from itm_jax.runs.metrics_log import read_metrics
from itm_jax.tables import changes, render
from itm_jax.tables.cell import Cell
from itm_jax.tables.content import Content
from itm_jax.tables.table import Table


def write_trials(table: Table, dataset: str, cells: Sequence[Cell], workdir: pathlib.Path) -> list[pathlib.Path]:
    """Writes NAME-DATA.md, .csv and .json to the workdir, from the finished trials.

    Returns:
        The files; none where no trial is finished.
    """
    done = [cell for cell in cells if cell.state == "finished"]
    if not done:
        return []
    changed = changes.changes_of(cells)
    records = [_record(cell) for cell in done]
    stem = workdir / f"{table.name}-{dataset}{changes.suffix(changed)}"
    texts = {
        ".md": render.markdown([_content(table, changes.label(dataset, changed), done, records, changed)]),
        ".csv": _csv(records),
        ".json": json.dumps({"table": table.name, "dataset": dataset, "trials": records}, indent=2) + "\n",
    }
    for suffix, text in texts.items():
        write_whole(stem.with_name(stem.name + suffix), text)
    return [stem.with_name(stem.name + suffix) for suffix in texts]


def summary_of_trials(cells: Sequence[Cell]) -> str:
    """Returns the best finished trial of every model, as lines that a command prints."""
    best: dict[str, Cell] = {}
    for cell in cells:
        if cell.state == "finished" and (cell.row.group not in best or _rsum(cell) > _rsum(best[cell.row.group])):
            best[cell.row.group] = cell
    return "\n".join(f"{group}: {cell.row.name}, dev rSum {_rsum(cell):.1f}" for group, cell in best.items())


def _rsum(cell: Cell) -> float:
    return cell.content()["selection"]["rsum"]


def _record(cell: Cell) -> dict[str, Any]:
    """Returns what a trial was, and the rSum on dev of each of its evaluations."""
    content = cell.content()
    curve = [line["rsum"] for line in read_metrics(cell.workdir) if line["split"] == "dev"]
    return {
        "model": cell.row.group,
        "trial": cell.row.name,
        "seed": cell.seed,
        "fields": dict(cell.row.overrides),
        "dev_rsum": content["selection"]["rsum"],
        "best_step": content["selection"]["step"],
        "steps": content["steps"],
        "dev_rsum_of_evaluations": curve,
        "train_seconds": content["seconds"]["train"],
    }


def _csv(records: Sequence[Mapping[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["model", "trial", "seed", "fields", "dev_rsum", "best_step", "steps", "evaluations", "seconds"])
    for r in records:
        fields = " ".join(f"{name}={value}" for name, value in r["fields"].items())
        curve = " ".join(f"{value:.1f}" for value in r["dev_rsum_of_evaluations"])
        row = [r["model"], r["trial"], r["seed"], fields, f"{r['dev_rsum']:.1f}", r["best_step"], r["steps"], curve]
        writer.writerow([*row, f"{r['train_seconds']:.0f}"])
    return file.getvalue()


def _content(
    table: Table, label: str, done: Sequence[Cell], records: Sequence[Mapping[str, Any]], changed: changes.Changes
) -> Content:
    rows: list[tuple[str, ...]] = []
    groups: list[str] = []
    bold: set[tuple[int, int]] = set()
    best = {
        model: max(r["dev_rsum"] for r in records if r["model"] == model) for model in {r["model"] for r in records}
    }
    for k, (cell, r) in enumerate(zip(done, records, strict=True)):
        groups.append(r["model"] if r["model"] not in groups else "")
        curve = " ".join(f"{value:.0f}" for value in r["dev_rsum_of_evaluations"])
        rows.append((cell.row.name, f"{r['dev_rsum']:.1f}", f"{r['best_step']:,} of {r['steps']:,}", curve))
        if r["dev_rsum"] == best[r["model"]]:
            bold.add((k, 1))
    notes = [changes.note(changed)] if changed else []
    notes += [table.question] if table.question else []
    notes.append("The best trial of each model is in bold. Trials were never evaluated on test.")
    headings = ("", "dev rSum, best", "at step", "dev rSum of every evaluation")
    caption = f"{table.title}: {label}"
    return Content(
        caption, headings, tuple(rows), tuple(groups), frozenset(bold), (*notes, *[table.note] * bool(table.note))
    )
