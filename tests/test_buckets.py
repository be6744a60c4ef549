"""A workdir in a bucket, against a local stand-in for S3 (moto)."""

import json
import random
import subprocess
import sys
import time

import pytest
from support.bucket import empty_bucket
from support.commands import command
from support.paths import ROOT
from support.runs import RUN_FILE, environment, lines, outcome, shrunk

import itm_jax
from itm_jax.buckets import lease, store
from itm_jax.buckets.mirror import INDEX, Mirror
from itm_jax.buckets.store import Bucket
from itm_jax.buckets.workdir import SEAL, UNFINISHED, fetched, local_copy
from itm_jax.data.text.text_input import SCENES_VOCAB
from itm_jax.errors import InputError
from itm_jax.evaluation.evaluate import evaluate
from itm_jax.runs.restore import restore_variables
from itm_jax.testing import resume
from itm_jax.training.loop import train

pytest.importorskip("obstore", reason="pip install -e '.[buckets]'")


@pytest.fixture(scope="module")
def bucket():
    """The address of a bucket."""
    with empty_bucket("runs-of-tests") as url:
        yield url


@pytest.fixture
def place(bucket, request):
    """An empty folder of the bucket for each test."""
    return Bucket(f"{bucket}/{request.node.name.replace('[', '-').replace(']', '')}")


def mirror(place, folder):
    """A copy of the folder of a bucket."""
    return Mirror(place, folder, seal=SEAL, unfinished=UNFINISHED)


def write(folder, **files):
    """Files with these texts; `__` in a name is a folder."""
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def texts(folder):
    """The texts of the files of a folder, by their paths."""
    paths = [p for p in folder.rglob("*") if p.is_file() and p.name != INDEX]
    return {p.relative_to(folder).as_posix(): p.read_text() for p in paths}


def test_what_is_published_is_fetched_elsewhere(place, tmp_path):
    mine = mirror(place, tmp_path / "mine")
    mine.fetch()
    write(mine.local, config="c", checkpoints__3__d__x="x3", **{"checkpoints__3__files.json": "{}"})
    write(mine.local, **{"checkpoints__6.orbax-checkpoint-tmp-1__x": "half", "results.json.tmp": "half", ".lock": "me"})
    mine.publish()
    other = mirror(place, tmp_path / "other")
    other.fetch()
    expected = {"config": "c", "checkpoints/3/d/x": "x3", "checkpoints/3/files.json": "{}"}
    assert texts(other.local) == expected
    write(other.local, config="changed here, and never published", more="the same")
    other.fetch()
    assert texts(other.local) == expected


def test_only_what_changed_is_sent(place, tmp_path, monkeypatch):
    mine = mirror(place, tmp_path)
    mine.fetch()
    write(mine.local, a="1", b="1", checkpoints__3__x="x", **{"checkpoints__3__files.json": "{}"})
    mine.publish()
    sent, upload = [], Bucket.upload
    monkeypatch.setattr(Bucket, "upload", lambda self, path, file: sent.append(path) or upload(self, path, file))
    write(mine.local, b="2", checkpoints__6__x="x", **{"checkpoints__6__files.json": "{}"})
    for path in sorted((mine.local / "checkpoints/3").iterdir()):
        path.unlink()
    (mine.local / "checkpoints/3").rmdir()
    (mine.local / "a").unlink()  # a run does not remove such a file, so somebody else did
    mine.publish()
    assert sorted(sent[:2]) == ["b", "checkpoints/6/x"]
    assert sent[2:] == ["checkpoints/6/files.json"]  # last: it makes the checkpoint count
    assert sorted(place.entries()) == ["a", "b", "checkpoints/6/files.json", "checkpoints/6/x"]


def test_a_checkpoint_without_its_seal_does_not_count(place, tmp_path):
    place.write("checkpoints/3/x", b"x")
    place.write("checkpoints/3/files.json", b"{}")
    place.write("checkpoints/6/x", b"x")  # its publication was interrupted
    mine = mirror(place, tmp_path)
    mine.fetch()
    assert sorted(texts(tmp_path)) == ["checkpoints/3/files.json", "checkpoints/3/x"]
    mine.remove_remains()
    assert sorted(place.entries()) == ["checkpoints/3/files.json", "checkpoints/3/x"]


def test_paths_of_objects_stay_in_the_copy(place, tmp_path):
    for path in ("a/../../out", "../out", "a//b", "good"):
        try:
            place.write(path, b"x")
        except InputError:  # obstore itself refuses some
            continue
    mirror(place, tmp_path / "deep" / "copy").fetch()
    assert texts(tmp_path) == {"deep/copy/good": "x"}


def test_a_copy_that_was_removed_removes_nothing_in_the_bucket(place, tmp_path):
    mine = mirror(place, tmp_path / "copy")
    mine.fetch()
    write(mine.local, results="good")
    mine.publish()
    for path in mine.local.iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"the local copy of .* was removed; nothing more is published"):
        mine.publish()
    assert list(place.entries()) == ["results"]


@pytest.fixture
def hurry(monkeypatch):
    """Leases beat ten times a second, and are taken over after a second."""
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(lease, "STALE_SECONDS", 1.0)
    monkeypatch.setattr(lease, "LOOK_SECONDS", 0.05)


def test_a_lease_has_one_holder(place, hurry):
    refused = pytest.raises(InputError, match=r"in use by process \d+ on .* since .*; wait for it, stop it")
    with lease.held(place), refused, lease.held(place):
        pass
    assert not place.entries()
    with lease.held(place) as again:
        again.beat()


def test_a_lease_that_was_left_is_taken_over(place, hurry, capsys):
    place.write(lease.NAME, b'{"token": "gone", "pid": 1, "host": "far", "since": "long ago", "command": "x"}')
    began = time.monotonic()
    with lease.held(place) as mine:
        mine.beat()
    assert time.monotonic() - began > 1.0
    said = capsys.readouterr().err
    assert "in use by process 1 on far since long ago (x), or left by it; waiting for a sign of life" in said
    assert "no sign of life for 1 s; taking over" in said


def test_a_lease_that_was_lost_is_noticed(place, hurry):
    with lease.held(place) as mine:
        place.write(lease.NAME, b'{"token": "other", "pid": 2, "host": "near", "since": "now", "command": "y"}')
        with pytest.raises(InputError, match=r"no longer holds the lease \(now it belongs to process 2 on near"):
            mine.beat()
    assert list(place.entries()) == [lease.NAME]  # the other's


def test_a_lease_survives_a_lost_answer(place, hurry, monkeypatch):
    monkeypatch.setattr(lease, "BEAT_SECONDS", 60.0)
    with lease.held(place) as mine:
        with monkeypatch.context() as patch:
            replace = Bucket.replace
            patch.setattr(Bucket, "replace", lambda *a: replace(*a) and None)  # it arrived, and nobody says so
            mine.beat()
        mine.beat()


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
    assert place.entries("checkpoints")
    config = shrunk(**changes, data__cache_dir=str(tmp_path / "elsewhere"))
    train(config, place.url)
    content, path = evaluate(config, place.url)
    there = fetched(place.url, str(tmp_path / "read"))
    assert lines(there) == lines(tmp_path / "whole")
    assert json.loads((there / "results.json").read_text()) == content
    assert path == local_copy(place.url, str(tmp_path / "elsewhere")) / "results.json"
    assert lease.NAME not in place.entries()


def test_a_run_in_a_bucket_is_loaded_and_evaluated_by_its_address(place, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    train(shrunk(), place.url)
    before = place.entries()
    code, _, said = command("--mode=evaluate", f"--workdir={place.url}", f"--out={tmp_path / 'out'}")
    assert code == 0, said
    assert place.entries() == before  # it was only read
    assert (tmp_path / "out" / "results.json").exists()
    _, printed, _ = command("--mode=evaluate", f"--workdir={place.url}")
    assert f"written: {place.url}/results.json" in printed
    assert "results.json" in place.entries()
    model = itm_jax.load(place.url)
    assert model.source == place.url
    there = fetched(place.url)
    like = {name: model.variables[name] for name in ("params", "batch_stats")}
    assert restore_variables(there, like)[1] == json.loads((there / "results.json").read_text())["step"]


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


def test_without_the_extra_a_line_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(InputError, match=r"obstore is not installed; pip install -e '\.\[buckets\]'"):
        Bucket("s3://a/b")


def test_errors_of_the_service_are_one_line(place):
    with pytest.raises(InputError, match=r"^s3://[^\n]*/nothing: no such object$"):
        place.ranges("nothing", [0], [1])
    assert "\n" not in store.first_line(RuntimeError("a\nb\n\nDebug source:\nlong"))


@pytest.mark.slow
def test_killed_at_random_it_ends_with_the_same_numbers(bucket, tmp_path, monkeypatch):
    """Each start is on another machine, as far as files go: with an empty cache."""
    config = tmp_path / "config.py"
    config.write_text(RUN_FILE.format(path=str(ROOT / "configs" / "quickstart.py")))
    script = (
        "import sys; from itm_jax.buckets import lease; lease.BEAT_SECONDS, lease.STALE_SECONDS = 0.5, 3.0\n"
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
        process, wanted = started(place.url, tmp_path / f"cache{k}"), len(place.entries("checkpoints"))
        while process.poll() is None and len(place.entries("checkpoints")) <= wanted and killed < 4:
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
    there = fetched(place.url, str(tmp_path / "read"))
    assert outcome(there) == outcome(tmp_path / "whole")
