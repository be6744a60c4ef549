"""Killed at random moments and started again with the same command, a run ends as if nothing had happened."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from test_train import lines

CONFIG = """
import importlib.util

spec = importlib.util.spec_from_file_location("quickstart", {path!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)


def get_config():
    c = module.get_config()
    c.data.scenes.update({{"train": 96, "dev": 8, "test": 8, "regions": 6, "features": 16}})
    c.data.batch_size = 8
    c.model.width = 256
    c.model.text.update({{"num_layers": 1, "hidden_size": 64, "intermediate_size": 128}})
    c.optim.decay_epochs = (1,)
    c.train.update({{"epochs": 1, "eval_every_epochs": 0.3, "checkpoint_every": 3, "log_every": 1}})
    return c
"""


def command(config, workdir):
    """The command that a user would give again."""
    return [sys.executable, "-m", "itm_jax.main", f"--config={config}", f"--workdir={workdir}"]


def environment(tmp_path):
    """One device, and compiled programs kept between the processes."""
    return os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "xla")}


def outcome(workdir):
    """What must be the same: the checksums of the newest checkpoint's arrays, the results, every line of metrics.jsonl."""
    newest = max((workdir / "checkpoints").iterdir(), key=lambda p: int(p.name))
    record = json.loads((newest / "meta" / "metadata").read_text())["content"]
    results = json.loads((workdir / "results.json").read_text())
    return {
        "newest": newest.name,
        "arrays": record["checksums"],
        "best": (record["best_step"], record["best_rsum"]),
        "protocols": results["protocols"],
        "step": results["step"],
        "lines": lines(workdir),
    }


def run_to_the_end(args, env):
    """Seconds from the first training line to the end, and what was printed."""
    done = subprocess.run(args, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def kill_after(args, env, workdir, seconds, number):
    """Starts the run and sends the signal `seconds` after its first new line; returns what it was doing, None if done."""
    metrics = workdir / "metrics.jsonl"
    before = metrics.stat().st_size if metrics.exists() else 0
    process = subprocess.Popen(args, env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None and not (metrics.exists() and metrics.stat().st_size > before):
            before = min(before, metrics.stat().st_size if metrics.exists() else 0)  # resuming shortens the file
            time.sleep(0.005)
        time.sleep(seconds)
        if process.poll() is not None:
            assert process.returncode == 0, process.stderr.read()
            return None
        process.send_signal(number)
    finally:
        process.stderr.close()
        code = process.wait()
    if number == signal.SIGTERM:
        assert code in (143, 0, -signal.SIGTERM)
    saving = bool(list((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*")))
    return "saving" if saving else "running"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(config file, environment, outcome, seconds of training) of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("kill")
    config = folder / "config.py"
    config.write_text(CONFIG.format(path=str(ROOT / "configs" / "quickstart.py")))
    env = environment(folder)
    run_to_the_end(command(config, folder / "whole"), env)
    record = max((folder / "whole" / "checkpoints").iterdir(), key=lambda p: int(p.name)) / "meta" / "metadata"
    seconds = json.loads(record.read_text())["content"]["train_seconds"]
    return config, env, outcome(folder / "whole"), seconds


def disturb(tmp_path, undisturbed, runs, kills, seed, number=signal.SIGKILL):
    """Several runs, each killed several times at random moments; returns what the kills met."""
    config, env, expected, seconds = undisturbed
    draw = random.Random(seed)
    met = []
    for r in range(runs):
        workdir = tmp_path / f"run{r}"
        args = command(config, workdir)
        for _ in range(kills):
            at = draw.uniform(0, 0.7 * seconds / kills)
            met.append(kill_after(args, env, workdir, at, number))
        said = run_to_the_end(args, env)
        got = outcome(workdir)
        assert got == expected, said
        steps = [(x["step"], x["split"]) for x in got["lines"]]
        assert len(steps) == len(set(steps))
    print(
        f"\n{len(met)} kills: {met.count('running')} running, {met.count('saving')} while saving, {met.count(None)} late"
    )
    return met


def test_two_kills_and_the_end_is_the_same(tmp_path, undisturbed):
    assert disturb(tmp_path, undisturbed, runs=1, kills=2, seed=1).count(None) < 2


def test_sigterm_saves_and_exits_143(tmp_path, undisturbed):
    config, env, expected, _ = undisturbed
    args = command(config, tmp_path / "run")
    process = subprocess.Popen(args, env=env, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "run" / "metrics.jsonl").exists() or not lines(tmp_path / "run"):
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    said = process.communicate()[1]
    assert process.returncode == 143, said
    assert "stopped by SIGTERM at step" in said.splitlines()[-1]
    assert not (tmp_path / "run" / ".lock").exists()
    run_to_the_end(args, env)
    assert outcome(tmp_path / "run") == expected


@pytest.mark.slow
def test_twenty_kills_over_several_runs(tmp_path, undisturbed):
    met = disturb(tmp_path, undisturbed, runs=5, kills=4, seed=2)
    assert len(met) == 20
    assert met.count(None) <= 2
    assert met.count("saving") > 0
