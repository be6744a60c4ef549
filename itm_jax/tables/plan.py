"""From a table to runs: which there are, what each is called, whether it is finished, and how long the rest may take."""

import dataclasses
import functools
import hashlib
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from itm_jax import config as config_lib
from itm_jax.errors import InputError
from itm_jax.idle import idle_flags
from itm_jax.results import ranks_path
from itm_jax.tables.table import Row, Table
from itm_jax.validation import validate

START_SECONDS = 20.0  # imports, compilation and evaluation of a small run on a CPU, beside its training


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run: a row of a table with one seed.

    Attributes:
        row: of the table.
        seed: of the run.
        config: of the run; of an ensemble that of its first member.
        workdir: of the run.
        results: the file that it is to write.
        arguments: of `python -m itm_jax.main`.
        needs: results files that must be there before it.
    """

    row: Row
    seed: int
    config: Any
    workdir: pathlib.Path
    results: pathlib.Path
    arguments: tuple[str, ...]
    needs: tuple[pathlib.Path, ...] = ()

    @property
    def name(self) -> str:
        """As shown to the user."""
        return f"{self.row.name}, seed {self.seed}"

    @property
    def state(self) -> str:
        """finished, cut off or missing."""
        if self.results.exists() and ranks_path(self.results).exists() and self.content().get("finished", True):
            return "finished"
        return "cut off" if not self.row.of and (self.workdir / "config.json").exists() else "missing"

    def content(self) -> dict[str, Any]:
        """Its results."""
        try:
            return json.loads(self.results.read_text(encoding="utf-8"))
        except (OSError, ValueError) as e:
            raise InputError(
                f"{self.results}: cannot be read ({e}); remove it, and the run is evaluated again"
            ) from None


def make_plan(
    table: Table, dataset: str, seeds: Sequence[int], given: Mapping[str, Any], workdir: pathlib.Path
) -> list[Cell]:
    """The runs of a table, row by row, those that others need first.

    Args:
        table: to be made.
        dataset: one of its bases.
        seeds: of every trained row.
        given: values of config fields for all rows, from the command line.
        workdir: of the table; runs are shared by all tables with the same one.

    Raises:
        InputError: a row's config cannot be meant, or the data set is not one of the table's.
    """
    if dataset not in table.bases:
        raise InputError(f"--dataset={dataset}: {table.name} is made on {', '.join(table.bases)}")
    trained, cells = {}, []
    rows = table.rows_on(dataset)
    for row in (r for r in rows if not r.of and not r.ensemble):
        for seed in seeds:
            trained[row.name, seed] = _trained(table, row, dataset, seed, given, workdir)
    for row in rows:
        for seed in seeds:
            if row.of:
                cells.append(_evaluated(row, trained[row.of, seed]))
            elif row.ensemble:
                cells.append(_ensemble(row, [trained[name, seed] for name in row.ensemble], workdir))
            else:
                cells.append(trained[row.name, seed])
    return sorted(cells, key=lambda cell: bool(cell.needs))


def _trained(table: Table, row: Row, dataset: str, seed: int, given: Mapping, workdir: pathlib.Path) -> Cell:
    base = table.bases[dataset]
    file = (table.file.parent / base.config).resolve()
    fields = {**base.overrides, **row.overrides, **given}
    config = config_lib.load_module(file).get_config()
    where = f"{table.file}: row {row.name!r}"
    known = config_lib.flatten(config_lib.default_config())
    for name, value in {**fields, "seed": seed}.items():
        if name not in known:
            raise InputError(f"{where}: {name}: no such field; the nearest is {config_lib.nearest_field(name, config)}")
        config_lib.set_field(config, name, value)
    for problem in idle_flags(config, row.overrides):
        raise InputError(f"{where}: {problem}")
    try:
        validate(config)
    except InputError as e:
        raise InputError(f"{where}: {e}") from None
    run = workdir / "runs" / f"{config.data.name}-{config.model.name}-{address(config)}-seed{seed}"
    arguments = (f"--config={file}", f"--workdir={run}", *_flags({**fields, "seed": seed}))
    return Cell(row, seed, config, run, run / "results.json", arguments)


def _evaluated(row: Row, cell: Cell) -> Cell:
    config = cell.config.copy_and_resolve_references()
    for name, value in row.overrides.items():
        config_lib.set_field(config, name, value)
    if config.data.name == cell.config.data.name and config.data.test_split == cell.config.data.test_split:
        raise InputError(
            f"row {row.name!r}: needs a data.name or data.test_split of its own, which its results are named by"
        )
    results = cell.workdir / f"results-{config.data.name}-{config.data.test_split}.json"
    directory = {"data.dir": config.data.dir} if config.data.source != "scenes" else {}
    flags = _flags({**directory, **row.overrides})
    arguments = ("--mode=evaluate", f"--workdir={cell.workdir}", *flags)
    return Cell(row, cell.seed, config, cell.workdir, results, arguments, (cell.results,))


def _ensemble(row: Row, members: Sequence[Cell], workdir: pathlib.Path) -> Cell:
    runs = ",".join(str(member.workdir) for member in members)
    names = hashlib.sha256(",".join(member.workdir.name for member in members).encode()).hexdigest()[:8]
    first = members[0]
    run = workdir / "runs" / f"{first.config.data.name}-ensemble-{names}-seed{first.seed}"
    directory = {"data.dir": first.config.data.dir} if first.config.data.source != "scenes" else {}
    arguments = ("--mode=evaluate", f"--ensemble={runs}", f"--workdir={run}", *_flags(directory))
    return Cell(row, first.seed, first.config, run, run / "results.json", arguments, tuple(m.results for m in members))


def _flags(fields: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"--config.{name}={value}" for name, value in fields.items() if value is not None)


def address(config: Any) -> str:
    """8 hexadecimal digits over the fields that decide a run's numbers and differ from the default, without the seed.

    A field that a later version adds does not change it.
    """
    default = config_lib.flatten(config_lib.default_config())
    ours = {
        name: _portable(value)
        for name, value in config_lib.flatten(config).items()
        if name != "seed" and name not in config_lib.FREE_FIELDS and value != default.get(name)
    }
    return hashlib.sha256(json.dumps(ours, sort_keys=True).encode()).hexdigest()[:8]


def _portable(value: Any) -> Any:
    """A path to a file or directory by its last part, so that a run has one name wherever its checkpoint lies."""
    is_path = isinstance(value, str) and pathlib.Path(value).is_absolute()
    return pathlib.Path(value).name if is_path else value


def check_data_of(cells: Sequence[Cell]) -> None:
    """Raises InputError where a finished run saw other data than there are now: a table never mixes them."""
    for cell in cells:
        if cell.state != "finished":
            continue
        for name, seen in cell.content()["data"].items():
            if name not in ("train", "dev", cell.config.data.test_split):
                continue
            now = fingerprint_of(json.dumps(cell.config.data.to_dict(), sort_keys=True), name)
            if now is not None and now != seen["id"]:
                raise InputError(
                    f"{cell.results}: made from other data (split {name}: {seen['id']}, now {now}); a table does not mix "
                    "them: put the old data back, or take another --workdir"
                )


@functools.cache
def fingerprint_of(data: str, split: str) -> str | None:
    """`id` of a split of a `data` section, given as JSON; None for train splits of rows that were evaluated elsewhere."""
    import ml_collections

    from itm_jax.data.pipeline import read_split
    from itm_jax.provenance import fingerprint

    section = ml_collections.ConfigDict(json.loads(data))
    return fingerprint(read_split(ml_collections.ConfigDict({"data": section}), split))["id"]


def estimate(cells: Sequence[Cell], minutes: float | None) -> dict[str, float | None]:
    """Seconds that each unfinished cell may take, by its name, from finished ones of its model, else of any; or None.

    Args:
        cells: of the table.
        minutes: for the whole table, as measured on 2 CPU cores: used where nothing is finished yet.
    """
    rates: dict[str, list[float]] = {}
    for cell in cells:
        if cell.state == "finished" and not cell.needs:
            content = cell.content()
            rates.setdefault(cell.config.model.name, []).append(content["seconds"]["train"] / cell.config.train.epochs)
    every = [rate for of_model in rates.values() for rate in of_model]
    trained = [cell for cell in cells if not cell.needs]
    out = {}
    for cell in cells:
        known = rates.get(cell.config.model.name) or every
        if cell.state == "finished":
            continue
        if cell.needs:
            out[cell.name] = START_SECONDS
        elif known:
            out[cell.name] = START_SECONDS + sum(known) / len(known) * cell.config.train.epochs
        else:
            out[cell.name] = 60 * minutes / len(trained) if minutes else None
    return out


def command_of(cell: Cell) -> str:
    """The command that makes a cell, to be copied."""
    quoted = (f"'{a}'" if any(c in a for c in "(), ") else a for a in cell.arguments)
    return " ".join([pathlib.Path(sys.executable).name, "-m", "itm_jax.main", *quoted])
