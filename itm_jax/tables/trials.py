"""Renders a search for recipes: trials of every model and their best rSum on dev. It looks at no result on test."""

import json
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from itm_jax.files import write_whole
from itm_jax.runs.metrics_log import read_metrics
from itm_jax.tables import changes, render
from itm_jax.tables.cell import Cell
from itm_jax.tables.content import Content
from itm_jax.tables.table import Table

Records = Sequence[Mapping[str, Any]]


def write_trials(table: Table, dataset: str, cells: Sequence[Cell], workdir: pathlib.Path) -> list[pathlib.Path]:
    """Writes NAME-DATA.md, .csv and .json to the workdir, from the finished trials.

    Returns:
        The files; none where no trial is finished.
    """
    records = [_record(cell) for cell in cells if cell.state == "finished"]
    if not records:
        return []
    changed = changes.changes_of(cells)
    values = {"table": table.name, "dataset": dataset, "changed": changes.as_json(changed), "trials": records}
    stem = workdir / f"{table.name}-{dataset}{changes.suffix(changed)}"
    texts = {
        ".md": render.markdown([_content(table, changes.label(dataset, changed), records, changes.note(changed))]),
        ".csv": render.as_csv([_as_text(record) for record in records]),
        ".json": json.dumps(values, indent=2) + "\n",
    }
    for suffix, text in texts.items():
        write_whole(stem.with_name(stem.name + suffix), text)
    return [stem.with_name(stem.name + suffix) for suffix in texts]


def summary_of_trials(cells: Sequence[Cell]) -> str:
    """Returns the best finished trial of every model, as lines that a command prints."""
    records = [_record(cell) for cell in cells if cell.state == "finished"]
    means = _means(records)
    return "\n".join(f"{model}: {trial}, dev rSum {means[trial]:.1f}" for model, trial in _best(records, means).items())


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
        "evaluations": curve,
        "train_seconds": content["seconds"]["train"],
    }


def _as_text(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a record for a line of CSV."""
    return {
        **record,
        "fields": " ".join(f"{name}={value}" for name, value in record["fields"].items()),
        "dev_rsum": f"{record['dev_rsum']:.1f}",
        "evaluations": " ".join(f"{value:.1f}" for value in record["evaluations"]),
        "train_seconds": f"{record['train_seconds']:.0f}",
    }


def _means(records: Records) -> dict[str, float]:
    """Returns the dev rSum of each trial, the mean over its seeds."""
    return {
        trial: statistics.fmean(r["dev_rsum"] for r in records if r["trial"] == trial)
        for trial in dict.fromkeys(r["trial"] for r in records)
    }


def _best(records: Records, means: Mapping[str, float]) -> dict[str, str]:
    """Returns the best trial of each model; of equal ones the first."""
    best: dict[str, str] = {}
    for r in records:
        if means[r["trial"]] > means.get(best.get(r["model"], ""), float("-inf")):
            best[r["model"]] = r["trial"]
    return best


def _content(table: Table, label: str, records: Records, changed: str) -> Content:
    """Returns a line for each trial and seed, below the name of its model."""
    best = _best(records, _means(records)).values()
    has_seeds = len({r["seed"] for r in records}) > 1
    rows, groups = [], []
    for k, r in enumerate(records):
        groups.append(r["model"] if k == 0 or r["model"] != records[k - 1]["model"] else "")
        name = f"{r['trial']}, seed {r['seed']}" if has_seeds else r["trial"]
        curve = " ".join(f"{value:.0f}" for value in r["evaluations"])
        rows.append((name, f"{r['dev_rsum']:.1f}", f"{r['best_step']:,} of {r['steps']:,}", curve))
    over = ", by the mean of its seeds," if has_seeds else ""
    notes = [changed, table.question, f"The best trial of each model{over} is in bold."]
    notes += ["The search does not evaluate trials on test.", table.note]
    return Content(
        f"{table.title}: {label}",
        ("", "dev rSum, best", "at step", "dev rSum of every evaluation"),
        tuple(rows),
        tuple(groups),
        frozenset((k, 1) for k, r in enumerate(records) if r["trial"] in best),
        tuple(note for note in notes if note),
    )
