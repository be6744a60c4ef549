"""The table of what each model costs: all of its rows measured in one process, in turn."""

import hashlib
import json
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from itm_jax.config.fields import FREE_FIELDS, flatten
from itm_jax.errors import InputError
from itm_jax.files import read_json, write_whole
from itm_jax.tables.cell import Cell
from itm_jax.tables.content import Content
from itm_jax.tables.table import Table

COLUMNS = {  # heading: (figure, factor, form, whether the least is best)
    "parameters, M": ("parameters", 1e-6, "{:.2f}", True),
    "GFLOP a step": ("gflop_of_a_step_by_hand", 1.0, "{:.1f}", True),
    "the same, XLA": ("gflop_of_a_step_xla_loops_once", 1.0, "{:.1f}", True),
    "step, ms": ("step_seconds_median", 1e3, "{:.1f}", True),
    "epoch, s": ("seconds_of_an_epoch", 1.0, "{:.1f}", True),
    "step, GB": ("gb_of_a_step", 1.0, "{:.2f}", True),
    "images encoded/s": ("images_encoded_per_second", 1.0, "{:.0f}", False),
    "a query encoded, ms": ("caption_seconds_median", 1e3, "{:.2f}", True),
    "scored, ms": ("score_seconds_median", 1e3, "{:.2f}", True),
    "queries/s": ("queries_per_second", 1.0, "{:.0f}", False),
}


def figures_path(table: Table, dataset: str, workdir: pathlib.Path) -> pathlib.Path:
    """Where the measured figures are kept; with them the table is finished."""
    return workdir / f"{table.name}-{dataset}-figures.json"


def plan_of(cells: Sequence[Cell]) -> str:
    """The configs by row, as JSON."""
    return json.dumps({cell.row.name: cell.config.to_dict() for cell in cells}, default=list, sort_keys=True)


def is_measured(cells: Sequence[Cell], path: pathlib.Path) -> bool:
    """Whether all figures are there and of exactly these configs."""
    figures = read_figures(path)
    if figures is None or figures.get("plan") != _hash(cells):
        return False
    return all(key in of for of in figures["models"].values() for key, _, _, _ in COLUMNS.values())


def _hash(cells: Sequence[Cell]) -> str:
    """Of the configs, without where their files lie."""
    deciding = {
        cell.row.name: {k: v for k, v in flatten(cell.config).items() if k not in FREE_FIELDS} for cell in cells
    }
    return hashlib.sha256(json.dumps(deciding, default=list, sort_keys=True).encode()).hexdigest()[:16]


def measure(cells: Sequence[Cell], path: pathlib.Path, *, repeats: int) -> None:
    """Measures the cells' configs in a process of its own and writes the figures to `path`.

    Raises:
        InputError: the process failed, with its last line, or the directory cannot be written.
    """
    plan = path.with_suffix(".plan.json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise InputError(f"{path.parent}: cannot be made ({e.strerror})") from None
    write_whole(plan, plan_of(cells))
    out = path.with_suffix(".new.json")
    command = [
        sys.executable,
        "-m",
        "itm_jax.bench",
        "models",
        f"--plan={plan}",
        f"--out={out}",
        f"--repeats={repeats}",
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    plan.unlink()
    if done.returncode:
        raise InputError(f"itm_jax.bench models: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    figures = read_figures(out) | {"plan": _hash(cells)}
    write_whole(path, json.dumps(figures, indent=2) + "\n")
    out.unlink()


def read_figures(path: pathlib.Path) -> dict[str, Any] | None:
    """The figures; None where they were not measured yet."""
    return read_json(path, "remove it to measure again") if path.exists() else None


def cost(table: Table, dataset: str, figures: dict[str, Any]) -> Content:
    """The figures as a table."""
    models, machine = figures["models"], figures["machine"]
    rows, groups, values = [], [], []
    for row in table.rows_on(dataset):
        of = models[row.name]
        groups.append(row.group if row.group not in groups else "")
        found = [(of[key], factor) for key, factor, _, _ in COLUMNS.values()]
        values.append(
            [
                np.nan if v is None else v * f * (1 if c[3] else -1)
                for (v, f), c in zip(found, COLUMNS.values(), strict=True)
            ]
        )
        texts = ("" if v is None else c[2].format(v * f) for (v, f), c in zip(found, COLUMNS.values(), strict=True))
        rows.append((row.name, *texts))
    table_of = np.array(values)
    best = np.min(table_of, axis=0)  # NaN, and nothing in bold, where one has no figure
    bold = frozenset((int(r), int(c) + 1) for r, c in np.argwhere(table_of == best))
    notes = [table.question] if table.question else []
    notes.append(
        f"Measured by us in one run, models in turn, medians of {machine['repeats']}: {machine['devices']}; a matrix product "
        f"alone {machine['gflops_of_a_matrix_product']:.0f} GFLOP/s; random data of the shapes of {dataset}: {machine['regions']} "
        f"x {machine['width']}, {machine['tokens']} tokens, {machine['pairs']:,} pairs an epoch."
    )
    notes.append(
        f"A query is a caption (where the text is frozen, its states), scored against {machine['gallery']:,} images on the device, "
        f"its ten best found; queries/s: encoded and scored, {machine['queries']} at a time. FLOPs by hand count matrix products; "
        "XLA counts every operation, the body of a loop once. Parameters are those that are trained; a step's memory is XLA's plan."
    )
    return Content(
        f"{table.title}: {dataset}",
        ("", *COLUMNS),
        tuple(rows),
        tuple(groups),
        bold,
        (*notes, *([table.note] * bool(table.note))),
    )
