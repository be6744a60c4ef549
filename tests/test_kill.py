"""Killed at random moments and started again with the same command, a run ends as if nothing had happened."""

import random
import re
import signal
import subprocess
import sys
import time

import pytest
from support.paths import ROOT
from support.runs import AS_IN_A_TERMINAL, RUN_FILE, environment, lines, outcome


def command(config, workdir):
    """The command that a user would give again."""
    return [sys.executable, "-m", "itm_jax.main", f"--config={config}", f"--workdir={workdir}"]


def run_to_the_end(args, env):
    """What the run printed on stderr."""
    done = subprocess.run(args, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def kill_at(args, env, workdir, target, delay):
    """Starts the run and kills it `delay` seconds after metrics.jsonl has `target` lines; returns what it was doing."""
    metrics = workdir / "metrics.jsonl"
    process = subprocess.Popen(args, env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    began = time.time()
    # Resuming rewrites the file, so lines of the run before do not count.
    while process.poll() is None and not (
        metrics.exists() and metrics.stat().st_mtime > began and metrics.read_bytes().count(b"\n") >= target
    ):
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    if process.wait() == 0:
        return "late"
    return "saving" if list((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*")) else "running"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(config file, environment, outcome) of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("kill")
    config = folder / "config.py"
    config.write_text(RUN_FILE.format(path=str(ROOT / "configs" / "quickstart.py")))
    env = environment()
    run_to_the_end(command(config, folder / "whole"), env)
    return config, env, outcome(folder / "whole")


def disturb(tmp_path, undisturbed, runs, kills, seed):
    """Several runs, each killed several times at random moments; returns what the kills met."""
    config, env, expected = undisturbed
    draw = random.Random(seed)
    met = []
    for r in range(runs):
        workdir = tmp_path / f"run{r}"
        args = command(config, workdir)
        for k in range(kills):
            target = int(draw.uniform(k, k + 0.9) / kills * len(expected["lines"]))
            met.append(kill_at(args, env, workdir, target, draw.uniform(0, 0.2)))
        said = run_to_the_end(args, env)
        got = outcome(workdir)
        assert got == expected, said
        steps = [(x["step"], x["split"]) for x in got["lines"]]
        assert len(steps) == len(set(steps))
    print(f"\n{len(met)} kills: {', '.join(f'{met.count(x)} {x}' for x in sorted(set(met)))}; all ended the same")
    return met


@pytest.mark.slow
def test_two_kills_and_the_end_is_the_same(tmp_path, undisturbed):
    assert disturb(tmp_path, undisturbed, runs=1, kills=2, seed=1).count("late") < 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "name"),
    [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C"), (signal.SIGHUP, "the end of its terminal (SIGHUP)")],
)
def test_a_stop_signal_saves(tmp_path, undisturbed, number, name):
    config, env, expected = undisturbed
    args = command(config, tmp_path / "run")
    line = [*AS_IN_A_TERMINAL, *args]
    process = subprocess.Popen(line, env=env, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "run" / "metrics.jsonl").exists() or not lines(tmp_path / "run"):
        time.sleep(0.005)
    process.send_signal(number)
    said = process.communicate()[1]
    assert process.returncode == 128 + number, said
    assert f"stopped by {name} at step" in said.splitlines()[-1]
    assert not (tmp_path / "run" / ".lock").exists()
    said = run_to_the_end(args, env)
    assert re.search(r"run: continuing from step \d+ of \d+", said)
    assert outcome(tmp_path / "run") == expected
    assert "steps are done; nothing is left to train" in run_to_the_end(args, env)


@pytest.mark.slow
def test_twenty_kills_over_several_runs(tmp_path, undisturbed):
    met = disturb(tmp_path, undisturbed, runs=5, kills=4, seed=2)
    assert len(met) == 20
    assert met.count("late") <= 2
    assert met.count("saving") > 0
