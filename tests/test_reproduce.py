"""`itm_jax.reproduce`: a table from nothing to print, killed in the middle, run again; and what goes wrong on the way."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from support.paths import ROOT

TABLE = """
from itm_jax.tables import Base, Row, Table

SMALL = {
    "data.batch_size": 8, "data.scenes.train": 16, "data.scenes.dev": 4, "data.scenes.test": 4, "data.scenes.regions": 6,
    "data.scenes.features": 12, "data.eval_batch_size": 8, "model.width": 16, "model.text.hidden_size": 16,
    "model.text.num_layers": 1, "model.text.num_heads": 2, "model.text.intermediate_size": 16, "train.epochs": EPOCHS,
    "train.log_every": 1, "optim.decay_epochs": (1,),
}

def get_table():
    return Table(
        title="small", question="", bases={"scenes": Base("QUICKSTART", SMALL)}, reference="A",
        rows=(
            Row("A", {"model.name": "afa"}),
            Row("B", {"model.name": "vsepp"}),
            Row("A on noise", {"data.scenes.noise": 3.0, "data.name": "noisy"}, of="A"),
            Row("A + B", ensemble=("A", "B")),
        ),
    )
""".replace("QUICKSTART", str(ROOT / "configs" / "quickstart.py"))


SEARCH = (
    TABLE.replace('reference="A",', 'kind="trials",').split("        rows=(")[0]
    + """        rows=(
            Row("A slow", {"model.name": "afa", "optim.lr": 1e-4}, group="A"),
            Row("A fast", {"model.name": "afa", "optim.lr": 1e-2}, group="A"),
            Row("B", {"model.name": "vsepp"}, group="B"),
        ),
    )
"""
)


def start(tmp_path, workdir, *flags, epochs=2.0, table=TABLE):
    file = tmp_path / "small.py"
    file.write_text(table.replace("EPOCHS", str(epochs)))
    command = [sys.executable, "-m", "itm_jax.reproduce", f"--table={file}", f"--workdir={workdir}", *flags]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process, code=0):
    out, said = process.communicate(timeout=400)
    assert process.returncode == code, said
    return out, said


def numbers(workdir):
    """Everything measured, without times."""
    lines = json.loads((workdir / "small-scenes.json").read_text())["protocols"]["full"]
    return [{k: v for k, v in line.items() if k != "train_seconds"} for line in lines]


@pytest.mark.slow
def test_a_search_ranks_trials_on_dev_and_never_looks_at_test(tmp_path):
    work = tmp_path / "work"
    out, said = finish(start(tmp_path, work, table=SEARCH))
    assert said.count("dev rSum") >= 3
    with (work / "small-scenes.csv").open() as file:
        trials = list(csv.DictReader(file))
    assert [t["trial"] for t in trials] == ["A slow", "A fast", "B"]
    assert trials[0]["fields"] == "model.name=afa optim.lr=0.0001"
    for trial, run in zip(trials, json.loads((work / "small-scenes.json").read_text())["trials"], strict=True):
        curve = [float(x) for x in trial["evaluations"].split()]
        assert float(trial["dev_rsum"]) == max(curve) == round(run["dev_rsum"], 1)
    best = max(trials[:2], key=lambda t: float(t["dev_rsum"]))
    assert f"A: {best['trial']}, dev rSum {best['dev_rsum']}" in out
    assert f"| **{best['dev_rsum']}** |" in (work / "small-scenes.md").read_text()
    assert not list(work.rglob("results*.json"))
    assert not list(work.rglob("ranks*.npz"))
    again, said = finish(start(tmp_path, work, table=SEARCH))
    assert again == out
    assert "started" not in said
    out, _ = finish(start(tmp_path, work, "--dry_run", table=SEARCH))
    assert "3 runs: 3 finished, 0 to do" in out


@pytest.mark.slow
def test_killed_in_the_middle_it_ends_with_the_same_numbers(tmp_path):
    """And repeats nothing that was finished."""
    out, said = finish(start(tmp_path, tmp_path / "whole", epochs=30.0))
    assert "[4/4]" in said
    assert out.count("rSum") == 4
    process = start(tmp_path, tmp_path / "cut", epochs=30.0)
    runs = tmp_path / "cut" / "runs"
    while not list(runs.glob("scenes-vsepp-*/checkpoints/*")):  # the first is finished, the second is under way
        time.sleep(0.1)
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGTERM)
    _, said = finish(process, 143)
    assert "run the same command again to continue" in said
    done = list(runs.glob("scenes-afa-*/results.json"))
    assert len(done) == 1
    assert not list(runs.glob("scenes-vsepp-*/results.json"))
    before = done[0].stat().st_mtime_ns
    out, said = finish(start(tmp_path, tmp_path / "cut", epochs=30.0))
    assert "B, seed 0: continued" in said
    assert "A, seed 0" not in said
    assert done[0].stat().st_mtime_ns == before
    assert numbers(tmp_path / "cut") == numbers(tmp_path / "whole")
    out, said = finish(start(tmp_path, tmp_path / "cut", epochs=30.0))
    assert len(said.splitlines()) == 1  # it says what it reads, and runs nothing
    for suffix in ("md", "tex", "csv", "json", "png"):
        assert (tmp_path / "cut" / f"small-scenes.{suffix}").stat().st_size > 100


@pytest.mark.slow
def test_a_run_does_not_outlive_the_command(tmp_path):
    """Killed without a word, it leaves no run behind; given again, it waits until the run has saved, and continues."""
    process = start(tmp_path, tmp_path / "cut", epochs=40.0)
    while not list((tmp_path / "cut" / "runs").glob("scenes-afa-*/metrics.jsonl")):
        time.sleep(0.1)
        assert process.poll() is None, process.stderr.read()
    process.kill()
    process.communicate()
    again = start(tmp_path, tmp_path / "cut", epochs=40.0)
    lines = []
    while "B, seed 0: started" not in "".join(lines):
        lines.append(again.stderr.readline())
    again.send_signal(signal.SIGTERM)
    _, said = finish(again, 143)
    assert "A, seed 0: continued" in "".join(lines)
    assert "exit code" not in "".join(lines) + said


@pytest.mark.slow
def test_two_shards_make_one_table(tmp_path):
    work = tmp_path / "work"
    finish(start(tmp_path, work, "--shard=0/2", "--jobs=2"))
    assert [line["row"] for line in numbers(work)] == ["A", "A on noise"]  # the ensemble waits for the other part
    finish(start(tmp_path, work, "--shard=1/2"))
    finish(start(tmp_path, work))
    assert [line["row"] for line in numbers(work)] == ["A", "B", "A on noise", "A + B"]


@pytest.mark.slow
def test_a_row_that_fails_does_not_stop_the_others(tmp_path):
    broken = TABLE.replace('Row("B", {"model.name": "vsepp"})', 'Row("B", {"data.alter.regions": 99})')
    _, said = finish(start(tmp_path, tmp_path / "work", table=broken), 2)
    assert "B, seed 0: exit code 2: config.data.alter.regions=99" in said
    assert "A + B, seed 0: waits for" in said
    assert [line["row"] for line in numbers(tmp_path / "work")] == ["A", "A on noise"]
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset=f8k"], "small is made on scenes"),
        (["--shard=2/2"], "--shard=2/2: must be i/n"),
        (["--seeds=a"], "--seeds=a: must be integers"),
        (["--config.model.name=late"], "rows of this table differ in it"),
        (["--config.train.epoch=3"], "the nearest known one is config.train.epochs"),
        (["--config.train.epochs=-3"], "row 'A'.*must be greater than 0"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, flags, message):
    _, said = finish(start(tmp_path, tmp_path / "work", *flags), 2)
    assert "Traceback" not in said
    assert re.search(message, said.strip().splitlines()[-1])
    assert not (tmp_path / "work").exists()


def test_a_plan_is_printed_and_nothing_is_written(tmp_path):
    out, _ = finish(start(tmp_path, tmp_path / "work", "--dry_run", "--seeds=0,1"))
    assert out.count("missing") == 8
    assert "8 runs: 0 finished, 8 to do" in out
    commands, _ = finish(start(tmp_path, tmp_path / "work", "--commands"))
    assert commands.count("-m itm_jax.main") == 4
    assert not (tmp_path / "work").exists()
    assert np.all([str(tmp_path / "work" / "runs") in line for line in commands.splitlines()])
