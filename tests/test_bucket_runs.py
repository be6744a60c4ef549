"""A run whose workdir lies in a bucket, against a local stand-in for S3 (moto)."""

import json
import random
import subprocess
import sys
import time

import pytest
from support import processes
from support.commands import command
from support.paths import ROOT
from support.runs import RUN_FILE, environment, lines, outcome, shrunk

import itm_jax
from itm_jax.buckets import lease
from itm_jax.buckets.copies import local_copy
from itm_jax.buckets.publisher import Publisher
from itm_jax.buckets.store import Bucket
from itm_jax.data.text.text_input import SCENES_VOCAB
from itm_jax.errors import InputError
from itm_jax.evaluation.evaluate import evaluate
from itm_jax.runs.bucket import fetch_workdir
from itm_jax.runs.restore import restore_variables
from itm_jax.testing import resume
from itm_jax.training.loop import train


def test_a_run_that_is_cut_off_goes_on_elsewhere(place, tmp_path):
    changes = {
        "data__source": resume.SOURCE,
        "train__checkpoint_every": 4,
        "model__text__vocab": str(SCENES_VOCAB),
    }
    train(shrunk(**changes), tmp_path / "whole")
    resume.Countdown.left = resume.READS
    try:
        with pytest.raises(resume.BrokenOffError):
            train(shrunk(**changes, data__cache_dir=str(tmp_path / "here")), place.url)
    finally:
        resume.Countdown.left = None
    assert place.objects("checkpoints")
    config = shrunk(**changes, data__cache_dir=str(tmp_path / "elsewhere"))
    train(config, place.url)
    content, path = evaluate(config, place.url)
    there = fetch_workdir(place.url, str(tmp_path / "read"))
    assert lines(there) == lines(tmp_path / "whole")
    assert json.loads((there / "results.json").read_text()) == content
    assert path == local_copy(place.url, str(tmp_path / "elsewhere"), use="run") / "results.json"
    assert lease.NAME not in place.objects()


def test_a_run_in_a_bucket_is_loaded_and_evaluated_by_its_address(place, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    train(shrunk(), place.url)
    before = place.objects()
    code, _, said = command("--mode=evaluate", f"--workdir={place.url}", f"--out={tmp_path / 'out'}")
    assert code == 0, said
    assert place.objects() == before  # it was only read
    assert (tmp_path / "out" / "results.json").exists()
    _, printed, _ = command("--mode=evaluate", f"--workdir={place.url}")
    assert f"written: {place.url}/results.json" in printed
    assert "results.json" in place.objects()
    model = itm_jax.load(place.url)
    assert model.source == place.url
    there = fetch_workdir(place.url)
    assert not list(there.glob("checkpoints/*/progress/*"))  # what only a continuation needs is not read
    like = {name: model.variables[name] for name in ("params", "batch_stats")}
    assert restore_variables(there, like)[1] == json.loads((there / "results.json").read_text())["step"]


def test_a_bucket_without_a_run_is_refused_and_stays_as_it_is(place, tmp_path):
    with pytest.raises(InputError, match=r"config\.json: cannot be read \(No such object\)"):
        evaluate(shrunk(data__cache_dir=str(tmp_path)), place.url)
    place.write("checkpoints/of/somebody", b"x")
    place.write("photo.jpg", b"x")
    before = place.objects()
    train(shrunk(data__cache_dir=str(tmp_path)), place.url)
    assert before.items() <= place.objects().items()


def test_what_was_saved_before_an_error_is_published(place, tmp_path, monkeypatch):
    changes = {"data__cache_dir": str(tmp_path), "train__checkpoint_every": 2, "data__source": resume.SOURCE}
    monkeypatch.setattr(Publisher, "start", lambda self, ready: self.wait())  # nothing is sent before the end
    monkeypatch.setattr(Publisher, "finish", lambda self: self._mirror.publish())
    resume.Countdown.left = resume.READS
    try:
        with pytest.raises(resume.BrokenOffError):
            train(shrunk(**changes, model__text__vocab=str(SCENES_VOCAB)), place.url)
    finally:
        resume.Countdown.left = None
    assert "metrics.jsonl" in place.objects()
    assert [path for path in place.objects("checkpoints") if path.endswith("files.json")]


def test_the_first_error_is_the_one_that_is_reported(place, tmp_path, monkeypatch, capsys):
    def gone(*_):
        raise InputError("the network is gone")

    config = shrunk(data__cache_dir=str(tmp_path), optim__lr=1e30, train__max_skipped=0)
    monkeypatch.setattr("itm_jax.buckets.mirror.Mirror.publish", gone)
    with pytest.raises(itm_jax.errors.DivergedError):
        train(config, place.url)
    assert "what was written last is not published (the network is gone)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://a/b", "ftp:// is not known; pass gs://, s3:// or az://, or a local path"),
        ("s3://no-such-bucket-here/run", "no such bucket"),
    ],
)
def test_addresses_that_cannot_be_used(bucket, url, message, tmp_path):
    with pytest.raises(InputError, match=message):
        train(shrunk(data__cache_dir=str(tmp_path)), url)


@pytest.mark.slow
def test_killed_at_random_it_ends_with_the_same_numbers(bucket, tmp_path):
    """Each start is on another machine, as far as files go: with an empty cache."""
    config = tmp_path / "config.py"
    config.write_text(RUN_FILE.format(path=str(ROOT / "configs" / "quickstart.py")))
    script = (
        "import sys; from itm_jax.buckets import lease; lease.RENEW_SECONDS, lease.STALE_SECONDS = 0.5, 3.0\n"
        "from itm_jax import main; from itm_jax.cli import commands; sys.exit(commands.start(main, sys.argv))"
    )

    def started(workdir, cache):
        line = [sys.executable, "-c", script, f"--config={config}", f"--workdir={workdir}"]
        return subprocess.Popen(
            [*line, f"--config.data.cache_dir={cache}"], env=environment(), cwd=ROOT, stderr=subprocess.PIPE, text=True
        )

    undisturbed = started(tmp_path / "whole", tmp_path / "c")
    said = undisturbed.communicate()[1]
    assert undisturbed.returncode == 0, said
    place, chance, killed = Bucket(f"{bucket}/killed"), random.Random(0), 0
    for k in range(20):
        process, wanted = started(place.url, tmp_path / f"cache{k}"), len(place.objects("checkpoints"))
        while process.poll() is None and len(place.objects("checkpoints")) <= wanted and killed < 4:
            time.sleep(0.05)  # until something more is published
        if killed < 4:
            time.sleep(chance.random() * 0.5)
            process.kill()
        said = process.communicate()[1]
        if process.returncode == 0:
            break
        assert process.returncode == -9, said
        killed += 1
    assert killed >= 2
    there = fetch_workdir(place.url, str(tmp_path / "read"))
    assert outcome(there) == outcome(tmp_path / "whole")


@pytest.mark.slow
def test_several_processes_read_what_the_first_one_wrote(bucket, tmp_path):
    """A run of two processes is stopped, and goes on from the bucket with empty caches; each process has its own."""
    config = tmp_path / "config.py"
    config.write_text(RUN_FILE.format(path=str(ROOT / "configs" / "quickstart.py")))
    flags = ["-m", "itm_jax.main", f"--config={config}", "--config.train.epochs=2"]
    pair = {"processes": 2, "devices": 2, "options": "--xla_backend_optimization_level=0"}
    whole = processes.start([*flags, f"--workdir={tmp_path / 'whole'}"], **pair)
    processes.finish(whole)
    place = Bucket(f"{bucket}/several")
    cut = [*flags, f"--workdir={place.url}", f"--config.data.cache_dir={tmp_path / 'a'}"]
    started = processes.start(cut, **pair)
    while not [path for path in place.objects("checkpoints") if path.endswith("files.json")]:
        assert started[0].poll() is None, started[0].communicate()[1]
        time.sleep(0.1)
    for process in started:
        process.terminate()
    processes.finish(started, 143)
    again = [*flags, f"--workdir={place.url}", f"--config.data.cache_dir={tmp_path / 'b'}"]
    said = processes.finish(processes.start(again, **pair))
    assert "continuing from step" in said[0]
    there = fetch_workdir(place.url, str(tmp_path / "read"))
    assert outcome(there) == outcome(tmp_path / "whole")
