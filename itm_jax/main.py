"""Train a model, select it on dev, evaluate it on test.

    python -m itm_jax.main --config=configs/quickstart.py --workdir=runs/quickstart
    python -m itm_jax.main --config=configs/afa_f30k.py --workdir=runs/f30k --config.data.dir=DIR --config.seed=3
    python -m itm_jax.main --mode=evaluate --workdir=runs/f30k --config.data.test_split=testall
    python -m itm_jax.main --mode=evaluate --workdir=/shared/f30k --out=results   (writes nothing in the workdir)
    python -m itm_jax.main --mode=evaluate --ensemble=runs/f30k,runs/other --workdir=runs/both

Run the same command again after any stop: it continues. Any config field can be set as --config.FIELD=VALUE. Several
processes train together where the environment says so: on TPU pods, under SLURM, or with
JAX_COORDINATOR_ADDRESS=HOST:PORT, JAX_NUM_PROCESSES and JAX_PROCESS_ID set for each. All processes must see the workdir
and the data.
"""

import os
import pathlib
import sys

if __name__ == "__main__" and not __package__:  # run as a file: its folder would hide other packages
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from absl import flags
from ml_collections import config_flags

from itm_jax.buckets.store import is_url
from itm_jax.cli import commands
from itm_jax.config.validation import validate
from itm_jax.errors import InputError
from itm_jax.terminal import say

MODES = ("all", "train", "evaluate")
FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "config file (Python with get_config())", lock_config=True, flag_values=FLAGS
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "directory, or folder of a bucket, for everything the run writes", flag_values=FLAGS
)
_MODE = flags.DEFINE_enum(
    "mode", "all", MODES, "all: train, then evaluate; train or evaluate: only that", flag_values=FLAGS
)
_OUT = flags.DEFINE_string(
    "out", None, "with --mode=evaluate: directory for the results, default: the workdir", flag_values=FLAGS
)
_ENSEMBLE = flags.DEFINE_list(
    "ensemble", [], "with --mode=evaluate: average the scores of these runs, RUN1,RUN2,...", flag_values=FLAGS
)


def main() -> None:
    """Flags -> training and evaluation."""
    if not _WORKDIR.value:
        raise InputError("--workdir: missing; pass --workdir=DIR, the directory the run writes to")
    workdir, config = commands.place("workdir", _WORKDIR.value), commands.config_of(_CONFIG, FLAGS)
    validate(config)
    if _OUT.value and (_MODE.value != "evaluate" or _ENSEMBLE.value):
        what = "the results of an ensemble go to --workdir" if _ENSEMBLE.value else "add --mode=evaluate"
        raise InputError(f"--out: where an evaluation of one run writes; {what}")
    if _ENSEMBLE.value and _MODE.value != "evaluate":
        raise InputError("--ensemble: averages runs that are trained already; add --mode=evaluate")

    if os.environ.get("JAX_PROCESS_ID", os.environ.get("SLURM_PROCID", "0")) == "0":
        say(f"{workdir}: loading JAX, the data and the text encoder")
    from itm_jax.devices import distributed

    distributed.start()
    commands.check_flags_of_own_model(_CONFIG, FLAGS)

    from itm_jax.evaluation.ensemble import evaluate_ensemble
    from itm_jax.evaluation.evaluate import evaluate
    from itm_jax.runs.results import summary
    from itm_jax.training.loop import train

    if _MODE.value != "evaluate":
        train(config, workdir, check_test=_MODE.value == "all")
    if _MODE.value != "train":
        if _ENSEMBLE.value and not distributed.alone():
            raise InputError("--ensemble: only one process can evaluate an ensemble; start the command as one process")
        if _ENSEMBLE.value:
            runs = [commands.copy_of_run("ensemble", run, config.data.cache_dir) for run in _ENSEMBLE.value]
            content, path = evaluate_ensemble(config, runs, workdir)
        else:
            out = commands.place("out", _OUT.value) if _OUT.value else None
            content, path = evaluate(config, workdir, out=out)
        if distributed.first():
            place = _OUT.value or _WORKDIR.value
            written = f"{place.rstrip('/')}/{path.name}" if is_url(place) else path
            print(f"{summary(content)}\nwritten: {written}")


def arguments(argv: list[str]) -> list[str]:
    """Adds --config in evaluate mode where it is missing: the config of the run, or of the first run of an ensemble."""
    given = commands.given(argv)
    run = given.get("ensemble", "").split(",")[0] or given.get("workdir")
    return commands.with_config_of_run(argv, run if given.get("mode") == "evaluate" else None)


if __name__ == "__main__":
    sys.exit(commands.start(sys.modules[__name__], sys.argv))
