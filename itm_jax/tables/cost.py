"""The table of what each model costs: one process measures all of its rows in turn."""

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
from itm_jax.tables.changes import changes_of, suffix
from itm_jax.tables.content import Content
from itm_jax.tables.table import Table

COLUMNS = {  # heading: (figure, factor, format, whether the smallest is best)
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


def figures_path(table: Table, dataset: str, cells: Sequence[Cell], workdir: pathlib.Path) -> pathlib.Path:
    """Returns the file of the measured figures; the table is finished when they are in it."""
    return workdir / f"{table.name}-{dataset}{suffix(changes_of(cells))}-figures.json"


def plan_of(cells: Sequence[Cell]) -> str:
    """Returns the configs by row, as JSON."""
    return json.dumps({cell.row.name: cell.config.to_dict() for cell in cells}, default=list, sort_keys=True)


def is_measured(cells: Sequence[Cell], path: pathlib.Path) -> bool:
    """Returns whether the file has all figures, measured with exactly these configs."""
    figures = read_figures(path)
    if figures is None or figures.get("plan") != _hash(cells):
        return False
    return all(key in model for model in figures["models"].values() for key, _, _, _ in COLUMNS.values())


def _hash(cells: Sequence[Cell]) -> str:
    """Returns a hash of the configs without FREE_FIELDS, such as the places of files."""
    deciding = {
        cell.row.name: {k: v for k, v in flatten(cell.config).items() if k not in FREE_FIELDS} for cell in cells
    }
    return hashlib.sha256(json.dumps(deciding, default=list, sort_keys=True).encode()).hexdigest()[:16]


def measure(cells: Sequence[Cell], path: pathlib.Path, *, repeats: int) -> None:
    """Measures the configs of the cells in another process and writes the figures to `path`.

    Raises:
        InputError: the process failed (the message is its last line), or the directory cannot be created.
    """
    plan = path.with_suffix(".plan.json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise InputError(f"{path.parent}: cannot be created ({e.strerror}); use another --workdir") from None
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
        raise InputError(f"itm_jax.bench models failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    figures = read_figures(out)
    assert figures is not None  # the process succeeded, so it wrote them
    figures |= {"plan": _hash(cells)}
    write_whole(path, json.dumps(figures, indent=2) + "\n")
    out.unlink()


def read_figures(path: pathlib.Path) -> dict[str, Any] | None:
    """Returns the figures; None where they are not measured yet."""
    return read_json(path, "remove it to measure again") if path.exists() else None


def cost(table: Table, dataset: str, label: str, figures: dict[str, Any]) -> Content:
    """Returns the figures as a table; `label` stands for the data set in its caption."""
    models, machine = figures["models"], figures["machine"]
    rows: list[tuple[str, ...]] = []
    groups: list[str] = []
    values = []
    for row in table.rows_on(dataset):
        model = models[row.name]
        groups.append(row.group if row.group not in groups else "")
        numbers = [(model[key], factor) for key, factor, _, _ in COLUMNS.values()]
        values.append(
            [
                np.nan if v is None else v * f * (1 if c[3] else -1)
                for (v, f), c in zip(numbers, COLUMNS.values(), strict=True)
            ]
        )
        texts = ("" if v is None else c[2].format(v * f) for (v, f), c in zip(numbers, COLUMNS.values(), strict=True))
        rows.append((row.name, *texts))
    signed = np.array(values)  # the smallest is best in every column
    best = np.min(signed, axis=0)  # NaN where a model has no figure; then nothing in the column is bold
    bold = frozenset((int(r), int(c) + 1) for r, c in np.argwhere(signed == best))
    notes = [table.question] if table.question else []
    notes.append(
        f"Measured by us in one run, with the models in turn; medians of {machine['repeats']}; {machine['devices']}. "
        f"A matrix product alone reaches {machine['gflops_of_a_matrix_product']:.0f} GFLOP/s. The data are random, of "
        f"the shapes of {dataset}: {machine['regions']} regions x {machine['width']}, {machine['tokens']} tokens, "
        f"{machine['pairs']:,} pairs an epoch."
    )
    notes.append(
        "A query is a caption (where the text is frozen, its hidden states). It is scored against "
        f"{machine['gallery']:,} images on the device, and its ten best images are found. queries/s: encoded and "
        f"scored, {machine['queries']} at a time. FLOPs by hand count matrix products; XLA counts every operation, but "
        "the body of a loop once. Parameters are those that are trained. The memory of a step is what XLA plans."
    )
    return Content(
        f"{table.title}: {label}",
        ("", *COLUMNS),
        tuple(rows),
        tuple(groups),
        bold,
        (*notes, *([table.note] * bool(table.note))),
    )
