"""Turns a table into its runs, in an order in which they can run."""

import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from itm_jax.config import default as config_lib
from itm_jax.config.fields import FREE_FIELDS, flatten, nearest_field, set_field
from itm_jax.config.load import load_module
from itm_jax.config.model_fields import idle_flags
from itm_jax.config.validation import validate
from itm_jax.errors import InputError
from itm_jax.runs.metrics_log import METRICS
from itm_jax.tables.cell import Cell, address, check_config_of
from itm_jax.tables.flags import as_flags, fields_in_use, free, place
from itm_jax.tables.table import Row, Table

START_SECONDS = 20.0  # imports, compilation and evaluation of a small run on a CPU; training comes on top


def make_plan(
    table: Table, dataset: str, seeds: Sequence[int], given: Mapping[str, Any], workdir: pathlib.Path
) -> list[Cell]:
    """Returns the runs of a table, row by row; runs that others need come first.

    Args:
        table: the table.
        dataset: the data set, a key of `table.bases`.
        seeds: the seeds of every trained row; where empty, those of the row, else those of the table.
        given: values of config fields from the command line, for all rows that read them.
        workdir: the directory of the table; tables with the same one share their runs.

    Raises:
        InputError: a row has an invalid config, `given` has a field that rows vary or that no row reads, or the table
            is not made on the data set.
    """
    if dataset not in table.bases:
        raise InputError(f"--dataset={dataset}: {table.name} is made on {', '.join(table.bases)}")
    rows = table.rows_on(dataset)
    _check_given(rows, given)
    trained = {
        (row.name, seed): _trained(table, row, dataset, seed, given, workdir)
        for row in rows
        if not row.of and not row.ensemble
        for seed in seeds or row.seeds or table.seeds
    }
    for name in given:
        if not any(f"--config.{name}=" in a for cell in trained.values() for a in cell.arguments):
            raise InputError(f"--config.{name}: no row of {table.name} reads it; leave it out")
    cells = list(trained.values())
    for row in rows:
        for seed in seeds or table.seeds:
            if row.of:
                cells.append(_evaluated(row, trained[row.of, seed], given))
            elif row.ensemble:
                cells.append(_ensemble(row, [trained[name, seed] for name in row.ensemble], workdir, given))
    _check_places(cells)
    return cells


def _check_given(rows: Sequence[Row], given: Mapping[str, Any]) -> None:
    if "seed" in given:
        raise InputError(f"--config.seed: a table has several seeds; pass --seeds={given['seed']}")
    for name in given:
        # A row on other data may keep its own value.
        varied = [row.name for row in rows if name in row.overrides and not row.of]
        if varied:
            raise InputError(
                f"--config.{name}: rows of this table differ in it ({', '.join(varied[:3])}); leave it out"
            )


def _check_places(cells: Sequence[Cell]) -> None:
    at: dict[pathlib.Path, Cell] = {}
    for cell in cells:
        other = at.setdefault(cell.results, cell)
        if other.config != cell.config:
            raise InputError(
                f"rows {other.row.name!r} and {cell.row.name!r}: both would write {cell.results.name}; remove one, or "
                "give one another data.name"
            )


def _trained(table: Table, row: Row, dataset: str, seed: int, given: Mapping, workdir: pathlib.Path) -> Cell:
    base = table.bases[dataset]
    file = (table.file.parent / base.config).resolve()
    where = f"{table.file}: row {row.name!r}"
    try:
        config = load_module(file).get_config()
    except Exception as e:  # the file is Python code
        raise InputError(f"{table.file}: base {base.config}: {type(e).__name__}: {e}") from None
    known = flatten(config_lib.default_config())
    fields = {**base.overrides, **row.overrides}
    of_model = base.models.get(fields.get("model.name", config.model.name), {})
    fields = {**fields_in_use(config, of_model, {**fields, **given}), **fields}
    for name, value in {**fields, "seed": seed}.items():
        if name not in known:
            raise InputError(f"{where}: {name}: no such field; the nearest is {nearest_field(name, config)}")
        if value is None and flatten(config)[name] is not None:
            raise InputError(
                f"{where}: {name}: a command line cannot pass None; use the value that stands for it (-1 or an empty "
                "text), where the field has one"
            )
        set_field(config, name, value)
    for problem in idle_flags(config, row.overrides):
        raise InputError(f"{where}: {problem}")
    read = {name: value for name, value in given.items() if not list(idle_flags(config, [name]))}
    usual = flatten(config)
    for name, value in read.items():
        set_field(config, name, value)
    new = flatten(config)
    changed = {name: (usual[name], new[name]) for name in read if name not in FREE_FIELDS and new[name] != usual[name]}
    try:
        validate(config)
    except InputError as e:
        raise InputError(f"{where}: {e}") from None
    run = workdir / "runs" / f"{config.data.name}-{config.model.name}-{address(config)}-seed{seed}"
    arguments = (f"--config={file}", f"--workdir={run}", *as_flags({**fields, **read, "seed": seed}))
    if table.kind == "trials":
        return Cell(row, seed, config, run, run / METRICS, ("--mode=train", *arguments), changed=changed, trial=True)
    return Cell(row, seed, config, run, run / "results.json", arguments, changed=changed)


def _evaluated(row: Row, cell: Cell, given: Mapping[str, Any]) -> Cell:
    config = cell.config.copy_and_resolve_references()
    for name, value in row.overrides.items():
        set_field(config, name, value)
    if config.data.name == cell.config.data.name and config.data.test_split == cell.config.data.test_split:
        raise InputError(
            f"row {row.name!r}: needs a data.name or data.test_split of its own, because they name its results file"
        )
    results = cell.workdir / f"results-{config.data.name}-{config.data.test_split}.json"
    fields = {**place(cell), **free(given), **row.overrides}
    fields["eval.ground_truth"] = config.eval.ground_truth = ""  # that of the run may be for its own test split
    flags = as_flags(fields)
    arguments = ("--mode=evaluate", f"--workdir={cell.workdir}", *flags)
    return Cell(row, cell.seed, config, cell.workdir, results, arguments, (cell,))


def _ensemble(row: Row, members: Sequence[Cell], workdir: pathlib.Path, given: Mapping[str, Any]) -> Cell:
    runs = ",".join(str(member.workdir) for member in members)
    names = hashlib.sha256(",".join(member.workdir.name for member in members).encode()).hexdigest()[:8]
    first = members[0]
    run = workdir / "runs" / f"{first.config.data.name}-ensemble-{names}-seed{first.seed}"
    flags = as_flags({**place(first), **free(given)})
    arguments = ("--mode=evaluate", f"--ensemble={runs}", f"--workdir={run}", *flags)
    return Cell(row, first.seed, first.config, run, run / "results.json", arguments, tuple(members))


def check_finished(cells: Sequence[Cell]) -> None:
    """Raises InputError where a run has another config or other data than the table has now: it never mixes them."""
    for cell in cells:
        check_config_of(cell)
        if cell.state != "finished":
            continue
        test = cell.config.data.test_split
        trained_on = (cell.config.data.train_split, cell.config.data.dev_split)
        splits = (test,) if cell.row.of else trained_on if cell.trial else (*trained_on, test)
        for name, seen in cell.content()["data"].items():
            now = (
                fingerprint_of(json.dumps(cell.config.data.to_dict(), sort_keys=True), name) if name in splits else None
            )
            if now is not None and now != seen["id"]:
                raise InputError(
                    f"{cell.results}: made from other data (split {name}: {seen['id']}, now {now}), and a table does "
                    "not mix them; put the old data back, or use another --workdir"
                )


def check_objects(config: Any) -> None:
    """Raises InputError where the test split does not say how many objects an image shows."""
    from itm_jax.data.splits import read_split
    from itm_jax.metrics.objects import object_counts

    split = read_split(config, config.data.test_split)
    if object_counts(split) is None:
        raise InputError(
            f"{split.source}: needs boxes and labels, to count the objects of an image; add them (docs/data.md)"
        )


@functools.cache
def fingerprint_of(data: str, split: str) -> str:
    """Returns the `id` of a split; `data` is the `data` section of its config, as JSON."""
    import ml_collections

    from itm_jax.data.splits import read_split
    from itm_jax.runs.provenance import fingerprint

    section = ml_collections.ConfigDict(json.loads(data))
    return fingerprint(read_split(ml_collections.ConfigDict({"data": section}), split))["id"]


def estimate(cells: Sequence[Cell], minutes: float | int | None) -> dict[str, float | None]:
    """Returns the estimated seconds of each unfinished cell by its name; None where nothing is known.

    Estimates are from finished cells of the same model, else from all finished cells.

    Args:
        cells: the cells of the table.
        minutes: for one seed of the whole table, as measured on 2 CPU cores; used where nothing is finished yet.
    """
    rates: dict[str, list[float]] = {}
    for cell in cells:
        if cell.state == "finished" and not cell.needs:
            content = cell.content()
            rates.setdefault(cell.config.model.name, []).append(content["seconds"]["train"] / _passes(cell))
    every = [rate for rates_of_model in rates.values() for rate in rates_of_model]
    rows = {cell.row.name for cell in cells if not cell.needs}
    out: dict[str, float | None] = {}
    for cell in cells:
        known = rates.get(cell.config.model.name) or every
        if cell.state == "finished":
            continue
        if cell.needs:
            out[cell.name] = START_SECONDS
        elif known:
            out[cell.name] = START_SECONDS + sum(known) / len(known) * _passes(cell)
        else:
            out[cell.name] = 60 * minutes / len(rows) if minutes else None
    return out


def _passes(cell: Cell) -> float:
    """Returns how often the run passes over the whole training split."""
    return cell.config.train.epochs * cell.config.data.train_share
