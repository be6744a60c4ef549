"""An index in a bucket, against a local stand-in for S3 (moto), and builds that are killed."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from support.bucket import empty_bucket
from support.commands import command
from support.paths import ROOT
from support.search import SPLITS, TEXTS, ids_of

import itm_jax
from itm_jax.errors import InputError
from itm_jax.hub import gallery as galleries
from itm_jax.search.build import build

COPIES = 30  # of each image, so that a build takes some seconds

# The command, which writes what it encoded after each part in place of every ten seconds.
WRITES_EACH_PART = """
import sys
from itm_jax.cli import commands
from itm_jax.search import __main__ as command, build

build.SECONDS = 0.0
sys.exit(commands.start(command, ["search", *sys.argv[1:]]))
"""


@pytest.fixture(scope="module")
def bucket():
    """The address of an empty bucket."""
    with empty_bucket("gallery") as url:
        yield url


@pytest.mark.parametrize("name", ["afa", "cpfean"])
def test_an_index_in_a_bucket_answers_as_one_in_a_folder(made, bucket, tmp_path, name):
    root, images, models, places = made
    names = galleries.images_in(images)
    for k, file in enumerate(names):
        folder = tmp_path / ("first" if k < 15 else "more")
        folder.mkdir(exist_ok=True)
        shutil.copy(images / file, folder / file)
    index = f"--index={bucket}/{name}"
    for word, folder in (("build", "first"), ("add", "more")):
        flags = [f"--model={root / name}", *(["--dtype=float32"] if word == "build" else [])]
        code, _, err = command(word, index, f"--images={tmp_path / folder}", *flags, module="itm_jax.search.__main__")
        assert code == 0, err
    assert f"{sum(SPLITS.values())} in all" in err[-1]
    there, here = (itm_jax.search.open(place, models[name]) for place in (f"{bucket}/{name}", places[name]))
    for text in TEXTS:
        for one, other in zip(there.query(text), here.query(text), strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-5)
    assert ids_of(there.query(like=names[2], top=3)) == ids_of(here.query(like=names[2], top=3))
    code, _, err = command("remove", index, f"--ids={names[0]}", module="itm_jax.search.__main__")
    assert code == 0, err
    assert names[0] not in ids_of(there.query("red", top=30))


def test_what_is_wrong_with_a_bucket_is_said(made, bucket):
    run = lambda place: command("query", f"--index={place}", "--text=red", module="itm_jax.search.__main__")  # noqa: E731
    for place, message in {
        f"{bucket}/nothing": "holds no index; build it first",
        "s3://missing/gallery": "s3://missing/gallery: ",
        "s4://gallery/x": "s4://gallery/x: the index cannot be read or written",
    }.items():
        code, _, err = run(place)
        assert code == 2
        assert message in err[-1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["afa", "cpfean"])
def test_killed_builds_and_additions_are_continued(made, tmp_path, name):
    """SIGKILL at six times: after each the index opens, or there is none yet; the same command finishes it."""
    root, images, models, _ = made
    names = galleries.images_in(images)
    for folder, first in (("first", 0), ("more", COPIES)):
        (tmp_path / folder).mkdir()
        for k in range(first, first + COPIES):
            for file in names:
                shutil.copy(images / file, tmp_path / folder / f"{k:02}-{file}")
    count, place = COPIES * len(names), tmp_path / "index"

    def run(word, folder, kill_after=None):
        line = [sys.executable, "-c", WRITES_EACH_PART, word, f"--index={place}", f"--images={tmp_path / folder}"]
        line += [f"--model={root / name}", *(["--thumbnails=32"] if word == "build" else [])]
        environment = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
        with subprocess.Popen(line, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
            if kill_after is None:
                err = process.communicate()[1]
                assert process.returncode == 0, err
                return
            try:
                process.communicate(timeout=kill_after)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)

    began = time.monotonic()
    whole = tmp_path / "whole"
    place = whole
    run("build", "first")
    seconds = time.monotonic() - began
    run("add", "more")
    place = tmp_path / "index"
    seen = []
    for word, folder in (("build", "first"), ("add", "more")):
        for share in (0.5, 0.75, 0.95):
            run(word, folder, kill_after=share * seconds)
            if place.exists() and any(place.iterdir()):
                with contextlib.suppress(InputError):  # killed before there was a table
                    seen.append(len(itm_jax.search.open(place, models[name])))
        run(word, folder)
        assert len(itm_jax.search.open(place, models[name])) == count * (1 if word == "build" else 2)
    assert len(seen) >= 3  # at least all those of the additions
    parts = [0, 256, 512]
    assert all(n in (*parts, count, *(count + k for k in parts), 2 * count) for n in seen), seen
    one, other = (itm_jax.search.open(p, models[name]) for p in (place, whole))
    assert one.ids() == other.ids()
    for text in TEXTS:
        scores = [[hit.score for hit in index.query(text, top=20)] for index in (one, other)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_a_build_that_is_stopped_says_that_it_continues(made, tmp_path):
    """SIGTERM: a line and the exit code of a signal; what was written stays."""
    root, images, _, _ = made
    line = [sys.executable, "-m", "itm_jax.search", "build", f"--index={tmp_path / 'index'}", f"--images={images}"]
    environment = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    with subprocess.Popen(
        [*line, f"--model={root / 'afa'}"], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        began = time.monotonic()
        while not (tmp_path / "index").exists():  # the model is loaded; now the images are encoded
            assert time.monotonic() - began < 60
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        err = process.communicate()[1]
    assert process.returncode == 143, err
    assert "stopped by SIGTERM; what was written stays, the same command continues" in err.splitlines()[-1]
    build_again = build(
        itm_jax.load(root / "afa"), galleries.of_images(made[2]["afa"], images), str(tmp_path / "index")
    )
    assert build_again == sum(SPLITS.values())
