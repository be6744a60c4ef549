"""Hostile files end in one line: every reader, every input that was once a finding, and the limits themselves."""

import json
import os
import time

import pytest
from fuzz import corpus
from fuzz.mutate import mutate
from fuzz.run import run
from fuzz.targets import HERE, TARGETS

EXECUTIONS = int(os.environ.get("ITM_JAX_FUZZ", "3000"))  # of each reader in the long form
FAST = [name for name in HERE if TARGETS[name].weight >= 0.3]


def told(findings):
    """What went wrong, for the message of a test."""
    return [
        f"--target={f['target']} --case={f['case']} --seed={f['seed']} ({f['engine']}): {f['signature']}\n{f['text'][-1500:]}"
        for f in findings
    ]


@pytest.mark.parametrize("engine", ["random", "hypothesis"])
def test_hostile_files_end_in_one_line(engine):
    findings, totals = run(FAST, engine=engine, executions=40, seconds=0.6)
    assert not told(findings)
    assert {t["target"] for t in totals} == set(FAST)


def test_slow_readers_too():
    slow = [name for name in HERE if name not in FAST]
    findings, totals = run(slow, executions=8, seconds=1.5)
    assert not told(findings)
    assert sum(t["executions"] for t in totals) >= len(slow)


@pytest.mark.slow
@pytest.mark.parametrize("name", HERE)
def test_many_hostile_files(name):
    findings, _ = run([name], executions=int(EXECUTIONS * TARGETS[name].weight), seed=int(time.time()))
    assert not told(findings)


def test_no_finding_comes_back():
    named = {name for name in TARGETS if any(True for _ in corpus.findings(name))}
    assert named == {p.name for p in corpus.PLACE.iterdir()}
    names = [name for name in HERE if name in named]
    findings, totals = run(names, engine="corpus")
    assert not told(findings)
    assert sum(t["executions"] for t in totals) == sum(len(list(corpus.findings(name))) for name in names)


@pytest.mark.parametrize("name", ["seen_error", "seen_hang", "seen_memory", "seen_path", "seen_code", "seen_crash"])
def test_the_limits_see_what_goes_wrong(name, tmp_path, monkeypatch):
    (tmp_path / "planted.py").write_text(PLANTED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("ITM_JAX_FUZZ_MORE", "planted")
    findings, _ = run([name], executions=2, seed=5)
    kinds = {f["kind"] for f in findings}
    assert {(f["engine"], f["seed"]) for f in findings} == {("random", 5)}
    assert kinds == {{"seen_path": "outside", "seen_code": "outside"}.get(name, name.removeprefix("seen_"))}


# Readers with a defect each, which appears when the file is not the seed.
PLANTED = """
import ctypes
import subprocess

from fuzz.cases import Target


def seed():
    return {"x.json": b"[1]"}


def planted(defect):
    def read(folder, names, out):
        if (folder / "x.json").read_bytes() != b"[1]":
            defect()

    return Target(seed, read, seconds=1.0, megabytes=64)


def hang():
    while True:
        pass


TARGETS = {
    "seen_error": planted(lambda: {}["key"]),
    "seen_hang": planted(hang),
    "seen_memory": planted(lambda: bytearray(1 << 30)),
    "seen_path": planted(lambda: open("/etc/hostname").close()),
    "seen_code": planted(lambda: subprocess.run(["true"])),
    "seen_crash": planted(lambda: ctypes.string_at(0)),
}
"""


def test_a_change_is_the_same_for_the_same_number_and_changes_something():
    import random

    data = json.dumps({"a": [1, 2, {"b": "c"}], "d": None}).encode()
    first = [mutate(random.Random(k), "x.json", data) for k in range(200)]
    assert first == [mutate(random.Random(k), "x.json", data) for k in range(200)]
    assert sum(x != data for x in first) > 150
    assert any(_is_json(x) for x in first)
    assert not all(_is_json(x) for x in first)


def _is_json(data):
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def test_corpus_files_are_small():
    sizes = {p: p.stat().st_size for p in corpus.PLACE.rglob("*") if p.is_file()}
    assert sizes
    assert max(sizes.values()) < 40_000
