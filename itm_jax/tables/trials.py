"""Renders the trials of a search for recipes, each with its best rSum on dev. It does not read test results."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from itm_jax.runs.metrics_log import read_metrics
from itm_jax.tables.cell import Cell
from itm_jax.tables.content import Content
from itm_jax.tables.table import Table

Records = Sequence[Mapping[str, Any]]


def trials(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Returns a record of each finished trial: what it was, and the rSum on dev of each of its evaluations."""
    return [_record(cell) for cell in cells if cell.state == "finished"]


def summary_of_trials(records: Records) -> str:
    """Returns the best trial of every model, as lines that a command prints."""
    means = _means(records)
    return "\n".join(f"{model}: {trial}, dev rSum {means[trial]:.1f}" for model, trial in _best(records, means).items())


def _record(cell: Cell) -> dict[str, Any]:
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


def for_csv(record: Mapping[str, Any]) -> dict[str, Any]:
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


def content_of_trials(table: Table, label: str, records: Records) -> Content:
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
    notes = [table.question, f"The best trial of each model{over} is in bold."]
    notes += ["The search does not evaluate trials on test.", table.note]
    return Content(
        f"{table.title}: {label}",
        ("", "dev rSum, best", "at step", "dev rSum of every evaluation"),
        tuple(rows),
        tuple(groups),
        frozenset((k, 1) for k, r in enumerate(records) if r["trial"] in best),
        tuple(note for note in notes if note),
    )
