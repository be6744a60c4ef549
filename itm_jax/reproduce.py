"""Make a table of a paper: run what is missing of it, and render it beside the published numbers.

    python -m itm_jax.reproduce --table=afa_ablation --workdir=runs/tables
    python -m itm_jax.reproduce --table=cpfean_main --workdir=runs/f30k --dataset=f30k --config.data.dir=DATA
    python -m itm_jax.reproduce --table=afa_ablation --workdir=runs/tables --dry_run

Tables with one workdir share their runs. A finished run is never run again, and an interrupted run is continued. A
field that is set as --config.FIELD=VALUE holds for all rows. On several machines that see the workdir, --shard=0/4 to
--shard=3/4 run a quarter each; the same command without --shard then runs what is left, and renders the table.
"""

import pathlib
import re
import sys
from collections.abc import Mapping

from absl import flags
from ml_collections import config_flags

from itm_jax.cli import commands, values
from itm_jax.config import default
from itm_jax.errors import DivergedError, InputError
from itm_jax.terminal import say

SHOWN = 3  # problems of runs, and names of the runs that have them, that the last line names
COST_REPEATS = 20  # timed repetitions for a table of costs
DEFAULT = pathlib.Path(default.__file__)
FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "--config.FIELD=VALUE sets a field of all rows", lock_config=True, flag_values=FLAGS
)
_TABLE = flags.DEFINE_string("table", None, "file with get_table(), configs/tables/NAME.py", flag_values=FLAGS)
_WORKDIR = flags.DEFINE_string("workdir", None, "directory for the runs and the rendered table", flag_values=FLAGS)
_DATASET = flags.DEFINE_string("dataset", None, "data set of the table, default: the table's first", flag_values=FLAGS)
_SEEDS = flags.DEFINE_list("seeds", [], "seeds of every trained row, default: the table's", flag_values=FLAGS)
_SHARD = flags.DEFINE_string(
    "shard", "0/1", "i/n: run only part i (0 to n - 1) of n parts, and render what is finished", flag_values=FLAGS
)
_JOBS = flags.DEFINE_integer(
    "jobs", 1, "number of parallel runs; each has its share of the cores and GPUs", lower_bound=1, flag_values=FLAGS
)
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "print the plan, with the time it may take, and do nothing", flag_values=FLAGS
)
_ON = flags.DEFINE_list(
    "on", [], "NAME:DIR,...: other data in SCAN's form that every trained row is evaluated on too", flag_values=FLAGS
)
_COMMANDS = flags.DEFINE_bool("commands", False, "print the command of every run, and do nothing", flag_values=FLAGS)


def main() -> None:
    """Flags -> plan -> runs -> table."""
    if config_flags.get_config_filename(FLAGS["config"]) != str(DEFAULT):
        raise InputError(
            "--config: the table has a config for every row; leave --config out, and set fields as --config.FIELD=VALUE"
        )
    table_file, workdir = (
        commands.directory(_TABLE.name, commands.required(_TABLE, "FILE")),
        commands.directory(_WORKDIR.name, commands.required(_WORKDIR, "DIR")).resolve(),
    )
    say(f"{table_file}: reading the table, its configs and its runs in {workdir}")
    from itm_jax.tables.board import plan_lines
    from itm_jax.tables.inputs import check_inputs
    from itm_jax.tables.plan import check_finished, check_objects, make_plan
    from itm_jax.tables.runner import of_shard, run_cells
    from itm_jax.tables.table import evaluated_on, load_table
    from itm_jax.tables.write import summary, write_table

    table, shard = load_table(table_file), values.shard(_SHARD.value)
    dataset = _DATASET.value or next(iter(table.bases))
    table = evaluated_on(table, parsed_places()) if _ON.value else table
    cells = make_plan(table, dataset, parsed_seeds(), given_fields(), workdir)
    if table.kind == "cost":
        make_costs(table, dataset, cells, workdir)
        return
    if _COMMANDS.value:
        print("\n".join(cell.command for cell in cells))
        return
    check_finished(cells)
    check_inputs(of_shard(cells, *shard))
    if table.kind == "objects":
        check_objects(cells[0].config)
    if _DRY_RUN.value:
        print("\n".join(plan_lines(cells, table.minutes.get(dataset), of_shard(cells, *shard), _JOBS.value)))
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise InputError(f"{workdir}: cannot be created ({e.strerror})") from None
    failed = run_cells(cells, workdir, shard=shard, jobs=_JOBS.value, minutes=table.minutes.get(dataset))
    check_finished(cells)
    files = write_table(table, cells, workdir)
    print(summary(table, cells))
    print(
        f"written: {', '.join(str(f) for f in files)}" if files else "nothing is finished yet, so nothing is rendered"
    )
    if failed:
        only_diverged = all(problem.startswith("diverged: ") for problem in failed.values())
        raise (DivergedError if only_diverged else InputError)(failures(failed))


def failures(failed: Mapping[str, str]) -> str:
    """Says in one line which runs failed, and why; a problem that several have is said once."""
    names: dict[str, list[str]] = {}
    for name, problem in failed.items():
        names.setdefault(problem, []).append(name)
    parts = []
    for problem, those in list(names.items())[:SHOWN]:
        more = f" and {len(those) - SHOWN} more" if len(those) > SHOWN else ""
        parts.append(f"{'; '.join(those[:SHOWN])}{more}: {problem}")
    rest = f"; other problems: {len(names) - SHOWN}" if len(names) > SHOWN else ""
    count = f"{len(failed)} run{'s' * (len(failed) > 1)} failed"
    return f"{count}: {'; '.join(parts)}{rest}; the logs are in logs/ of the workdir"


def make_costs(table, dataset: str, cells, workdir: pathlib.Path) -> None:
    """Makes a table of kind cost: measures all rows at once, and renders the table."""
    from itm_jax.tables.cost import figures_path, is_measured, measure
    from itm_jax.tables.write import write_costs

    if _COMMANDS.value or _JOBS.value > 1 or _SHARD.value != "0/1":
        raise InputError(f"{table.name}: one run measures all rows; leave --commands, --jobs and --shard out")
    path = figures_path(table, dataset, cells, workdir)
    finished = is_measured(cells, path)
    if _DRY_RUN.value:
        print(f"{'finished' if finished else 'missing '}  {len(cells)} models in one run, some minutes: {path}")
        return
    if not finished:
        print(f"measuring {len(cells)} models in one run", file=sys.stderr, flush=True)
        measure(cells, path, repeats=COST_REPEATS)
    files = write_costs(table, dataset, cells, path)
    print(files[0].read_text(encoding="utf-8"))
    print(f"written: {', '.join(map(str, files))}")


def given_fields() -> dict:
    """The config fields that the command line sets, with their values."""
    return {name: _CONFIG.value[name] for name in config_flags.get_override_values(FLAGS["config"])}


def parsed_seeds() -> tuple[int, ...]:
    """The seeds of --seeds; empty where the table decides."""
    for seed in _SEEDS.value:
        if not seed.isdecimal():
            raise InputError(f"--seeds={','.join(_SEEDS.value)}: must be integers with commas between them")
    return tuple(dict.fromkeys(map(int, _SEEDS.value)))


def parsed_places() -> dict[str, str]:
    """The directories of --on, by name."""
    pairs = [place.partition(":") for place in _ON.value]
    for name, _, directory in pairs:
        if not re.fullmatch(r"[\w.-]+", name) or not directory:
            raise InputError(f"--on={','.join(_ON.value)}: must be NAME:DIR, or several with commas between them")
    if len({name for name, _, _ in pairs}) < len(pairs):
        raise InputError(f"--on={','.join(_ON.value)}: two places have the same name; give each its own")
    return {name: str(commands.directory("on", directory).resolve()) for name, _, directory in pairs}


def arguments(argv: list[str]) -> list[str]:
    """Adds the default config where --config is missing; the flags are checked against its fields."""
    return argv if "config" in commands.given(argv) else [argv[0], f"--config={DEFAULT}", *argv[1:]]


if __name__ == "__main__":
    sys.exit(commands.start(sys.modules[__name__], sys.argv))
