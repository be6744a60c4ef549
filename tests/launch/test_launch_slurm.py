"""launch/slurm.sbatch and launch/extract.sbatch: dry runs, and the options that sbatch reads."""

import os
import re
import shlex

import pytest
from support.launchers import FLAGS, LAUNCH, assert_flags_are_read, launch


def test_slurm_runs_one_task_on_each_node():
    out, _ = launch("slurm.sbatch", "--dry_run", *FLAGS)
    assert out.startswith("srun --kill-on-bad-exit=1 python3 -m itm_jax.main --config=configs/afa_f30k.py")
    assert_flags_are_read(shlex.split(out)[4:])


@pytest.mark.parametrize(("restarts", "seconds"), [("0", ""), ("1", "300")])
def test_a_requeued_job_waits_for_the_lock_of_a_node_that_is_gone(tmp_path, restarts, seconds):
    (tmp_path / "srun").write_text('#!/bin/sh\necho "$ITM_JAX_LOCK_SECONDS"\n')
    (tmp_path / "srun").chmod(0o755)
    out, _ = launch("slurm.sbatch", *FLAGS, PATH=f"{tmp_path}:{os.environ['PATH']}", SLURM_RESTART_COUNT=restarts)
    assert out == f"{seconds}\n"


def test_an_array_of_slurm_gives_each_task_its_part():
    flags = ("--images=/a b", "--captions=c.csv", "--out=out")
    out, _ = launch("extract.sbatch", *flags, "--dry_run", SLURM_ARRAY_TASK_ID="5")
    assert shlex.split(out) == ["python3", "-m", "itm_jax.extract", *flags, "--shard=5/8"]
    out, _ = launch("extract.sbatch", *flags, "--dry_run", SLURM_ARRAY_TASK_ID="9", SHARDS="32")
    assert shlex.split(out)[-1] == "--shard=9/32"
    _, err = launch("extract.sbatch", *flags, "--dry_run", code=2, SLURM_ARRAY_TASK_ID="2", SLURM_ARRAY_TASK_MAX="31")
    assert "set SHARDS to the number of parts" in err
    out, _ = launch("extract.sbatch", "--together", *flags, "--dry_run", SLURM_ARRAY_TASK_ID="0")
    assert shlex.split(out) == ["python3", "-m", "itm_jax.extract", *flags]
    _, err = launch("extract.sbatch", *flags, "--shard=0/2", code=2)
    assert "the array says which part" in err


# Long options of sbatch and what their values must look like, from its manual; no package of PyPI has its parser.
OPTIONS = {
    "array": r"\d+-\d+", "cpus-per-task": r"[1-9]\d*", "gpus-per-node": r"[1-9]\d*", "job-name": r"\S+",
    "nodes": r"[1-9]\d*", "ntasks-per-node": r"[1-9]\d*", "open-mode": "append|truncate", "requeue": "",
    "signal": r"(B:)?[A-Z]+(@\d+)?", "time": r"\d\d:\d\d:\d\d",
}  # fmt: skip


@pytest.mark.parametrize("name", ["slurm.sbatch", "extract.sbatch"])
def test_sbatch_reads_every_option(name):
    """Sbatch stops to read options at the first command."""
    lines = (LAUNCH / name).read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    options = [line.removeprefix("#SBATCH --") for line in lines[:first] if line.startswith("#SBATCH")]
    assert lines[0].startswith("#!")
    assert len(options) == sum("#SBATCH" in line for line in lines) >= 6
    for option in options:
        key, _, value = option.partition("=")
        assert re.fullmatch(OPTIONS[key], value), option
