"""`precomp` to ArrayRecord and back: the same split, the same batches, the same losses; damage is named by file."""

import json
import os
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath
from support.data_sets import config_for, write_all
from support.paths import ROOT
from support.precomp import EACH, IMAGES, REGIONS, WIDTH, at, damage, write
from support.runs import data_of, load, run_of
from tensorflow_datasets.core import shuffle

from itm_jax import convert
from itm_jax.checks.run import check
from itm_jax.cli import commands
from itm_jax.config.default import default_config
from itm_jax.config.fields import set_field
from itm_jax.config.validation import validate
from itm_jax.data import pipeline, regions
from itm_jax.data.precomp import reader as precomp
from itm_jax.data.scenes import world as scenes
from itm_jax.data.text.text_input import SCENES_VOCAB
from itm_jax.data.text.tokens import TokenTable
from itm_jax.data.tfds import builder as tfds_builder
from itm_jax.data.tfds import reader as tfds_reader
from itm_jax.devices.mesh import make_mesh, put_batch
from itm_jax.errors import InputError
from itm_jax.runs.provenance import describe_split, fingerprint
from itm_jax.training import build as run_lib
from itm_jax.training import loop as training
from itm_jax.training.step import make_train_step

NO_TOKENS = TokenTable(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(1, np.int64))
COMPANIONS = ("ids.txt", "boxes.npy", "labels.json", "dependencies.json")


def built(tmp_path, *, name="small", **kwargs):
    """A precomp directory (arguments of `write`) and the data set made from it."""
    write(tmp_path / "source", **kwargs)
    return tmp_path / "source", tfds_builder.build(str(tmp_path / "source"), tmp_path / "out", name=name)


def assert_same(ours, theirs):
    """Equal splits in everything but where they were read."""
    assert ours.features.dtype == theirs.features.dtype
    np.testing.assert_array_equal(ours.features, theirs.features)
    for name in ("name", "captions", "captions_per_image", "ids", "label_names", "edges"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for name in ("boxes", "labels"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert (a is None) == (b is None), name
        if b is not None:
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("repeats", [1, 5])
@pytest.mark.parametrize("absent", [(), *[(c,) for c in COMPANIONS], COMPANIONS])
def test_round_trip(tmp_path, dtype, repeats, absent):
    write(tmp_path / "source", dtype=dtype, repeats=repeats, ids="row")
    for companion in absent:
        (tmp_path / "source" / f"train_{companion}").unlink()
    tfds_builder.build(str(tmp_path / "source"), tmp_path / "out", name="small")
    theirs = precomp.read_split(str(tmp_path / "source"), "train")
    assert_same(tfds_reader.read_split(str(tmp_path / "out"), "train"), theirs)


def test_splits_of_different_kinds_in_one_data_set(tmp_path):
    """Dev has no companions, captions in another number and script, and one region fewer."""
    write(tmp_path / "source", "train")
    features = write(tmp_path / "source", "dev")
    for companion in COMPANIONS:
        (tmp_path / "source" / f"dev_{companion}").unlink()
    np.save(tmp_path / "source" / "dev_ims.npy", features[:, 1:])
    captions = [f"猫 {i} · un café\u2028 {c}" for i in range(IMAGES) for c in range(2)]
    (tmp_path / "source" / "dev_caps.txt").write_text("\n".join(captions) + "\n", encoding="utf-8")
    path = tfds_builder.build(str(tmp_path / "source"), tmp_path / "out", name="small")
    for split in ("train", "dev"):
        assert_same(tfds_reader.read_split(path, split), precomp.read_split(str(tmp_path / "source"), split))
    only = tfds_builder.build(str(tmp_path / "source"), tmp_path / "out", splits=["dev"], name="only_dev")
    with pytest.raises(InputError, match=r"no split 'train'; splits found there: dev$"):
        tfds_reader.read_split(only, "train")


def test_features_are_indexed_like_an_array_over_several_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_builder, "SHARD_BYTES", 3 * REGIONS * WIDTH * 2)
    monkeypatch.setattr(tfds_builder, "ANNOTATIONS_PER_SHARD", 3)
    monkeypatch.setattr(tfds_reader, "READ_AT_ONCE", 2)
    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 0)  # TFDS would need TensorFlow were it to collect the records
    source, path = built(tmp_path, dtype=np.float16)
    assert len(list(path.glob("small-train.array_record-*-of-00002"))) == 2
    assert len(list(path.glob("small-train_annotations.array_record-*-of-00002"))) == 2
    ours, theirs = tfds_reader.read_split(path, "train"), precomp.read_split(str(source), "train")
    assert_same(ours, theirs)
    assert (len(ours.features), ours.features.shape, ours.features.ndim) == (IMAGES, (IMAGES, REGIONS, WIDTH), 3)
    assert ours.features.nbytes == theirs.features.nbytes
    for rows in (
        np.array([3, 0, 3, 1]), [2], np.zeros(0, int), slice(None), slice(1, 3), slice(None, None, -2), 2, -1,
        np.array([[0, 1], [2, 3]]), np.arange(IMAGES) % 2 == 0, np.int32(1),
    ):  # fmt: skip
        np.testing.assert_array_equal(ours.features[rows], theirs.features[rows])
        assert ours.features[rows].shape == theirs.features[rows].shape
    for rows in (IMAGES, [0, IMAGES], -IMAGES - 1):
        with pytest.raises(IndexError):
            ours.features[rows]


def test_tfds_itself_reads_the_records(tmp_path):
    source, path = built(tmp_path)
    theirs = precomp.read_split(str(source), "train")
    records = tfds.builder_from_directory(path).as_data_source("train")
    assert len(records) == IMAGES
    np.testing.assert_array_equal(records[2]["features"], theirs.features[2])
    np.testing.assert_array_equal(records[2]["boxes"], theirs.boxes[2])
    assert [c.decode() for c in records[2]["captions"]] == theirs.captions[2 * EACH : 3 * EACH]
    assert records[2]["id"] == b"2.jpg"
    assert [x.decode() for x in records[2]["labels"]] == [theirs.label_names[k] for k in theirs.labels[2]]
    assert records[2]["dependencies"][:3].tolist() == [[0, 0, 1], [0, 4, 3], [1, 0, 1]]


@pytest.mark.parametrize("as_path", [str, epath.Path])
@pytest.mark.parametrize("levels", [0, 1, 2])
def test_the_folder_or_one_above_it_is_found(tmp_path, as_path, levels):
    _, path = built(tmp_path)
    (path.parent / "incomplete.ABC_1.0.0").mkdir()
    shutil.copy(path / "dataset_info.json", path.parent / "incomplete.ABC_1.0.0")
    folder = [path, path.parent, path.parent.parent][levels]
    assert tfds_reader.find_dataset(as_path(os.fspath(folder))) == path


def test_what_is_not_one_data_set_is_refused(tmp_path):
    source, path = built(tmp_path)
    tfds_builder.build(str(source), tmp_path / "out", name="other")
    with pytest.raises(InputError, match=r"several data sets; .*out/other/1\.0\.0, .*out/small/1\.0\.0$"):
        tfds_reader.find_dataset(tmp_path / "out")
    with pytest.raises(InputError, match=r"absent: no such directory"):
        tfds_reader.find_dataset(tmp_path / "absent")
    with pytest.raises(InputError, match=r"source: no dataset_info\.json here, in version/ or in name/version/$"):
        tfds_reader.find_dataset(source)
    path.rename(path.parent / "incomplete.ABC_1.0.0")
    with pytest.raises(InputError, match="is of a build that was interrupted: build it again"):
        tfds_reader.find_dataset(path.parent)
    with pytest.raises(InputError, match=r"gs://bucket/set: .*gcsfs"):  # not made a local path of
        tfds_reader.find_dataset("gs://bucket/set")


def flip(data):
    """One bit of a record's features changed."""
    return data[:300] + bytes([data[300] ^ 1]) + data[301:]


def edit(**fields):
    """Sets fields of a JSON object."""
    return lambda data: json.dumps(json.loads(data) | fields).encode()


SHARD, NOTES = "small-train.array_record-00000-of-00001", "small-train_annotations.array_record-00000-of-00001"
DAMAGE = [
    (SHARD, None, "no such file"),
    (SHARD, lambda x: x[:-1], "truncated or damaged: "),
    (SHARD, lambda x: b"", "truncated or damaged: "),
    (SHARD, flip, "record 0 (row 0): damaged (Corrupted"),
    (NOTES, None, "no such file"),
    (NOTES, lambda x: x[: len(x) // 2], "truncated or damaged: "),
    (NOTES, flip, "record 0 (row 0): damaged (Corrupted"),
    ("dataset_info.json", lambda x: x[:-9], "not JSON"),
    ("dataset_info.json", edit(version="2.0.0"), "version 2.0.0; this library reads 1.0.0"),
    ("dataset_info.json", edit(fileFormat="tfrecord"), "file format tfrecord; expected array_record"),
    ("features.json", None, "cannot be read"),
    ("features.json", lambda x: b"[]", "holds a list, expected an object"),
    ("metadata.json", None, "cannot be read"),
    ("metadata.json", lambda x: b"{}", "not a data set of itm_jax.convert tfds"),
]


@pytest.mark.parametrize(("file", "change", "message"), DAMAGE)
def test_damage_is_named_by_file(tmp_path, file, change, message):
    _, path = built(tmp_path)
    np.asarray(tfds_reader.read_split(path, "train").features)  # good until damaged
    if change is None:
        (path / file).unlink()
    else:
        (path / file).write_bytes(change((path / file).read_bytes()))
    with pytest.raises(InputError) as caught:
        np.asarray(tfds_reader.read_split(path, "train").features)
    assert str(caught.value).startswith(f"{path / file}: {message}")


def test_damage_in_a_later_shard_is_named_by_its_own_record(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_builder, "SHARD_BYTES", 3 * REGIONS * WIDTH * 4)
    _, path = built(tmp_path)
    features = tfds_reader.read_split(path, "train").features
    shard = path / "small-train.array_record-00001-of-00002"
    shard.write_bytes(flip(shard.read_bytes()))
    features[[2, 0]]
    with pytest.raises(InputError, match=r"-00001-of-00002: record 0 \(row 3\): damaged"):
        features[[2, 3, 0]]


def test_shards_outside_the_folder_are_not_read(tmp_path):
    _, path = built(tmp_path)
    info = json.loads((path / "dataset_info.json").read_text())
    for split in info["splits"]:
        split["filepathTemplate"] = "../elsewhere/{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    shutil.copytree(path, path.parent / "elsewhere")
    (path / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match="are not files in this folder"):
        tfds_reader.read_split(str(path), info["splits"][0]["name"].removesuffix(tfds_reader.ANNOTATIONS))


def test_non_finite_features_are_named_by_row(tmp_path, monkeypatch):
    write(tmp_path / "source", repeats=5)
    features = np.load(tmp_path / "source" / "train_ims.npy")
    features[10:15, 1, 0] = np.nan
    np.save(tmp_path / "source" / "train_ims.npy", features)
    monkeypatch.setattr(regions, "FULL_SCAN_BYTES", 0)  # as in a file of COCO's size
    with pytest.raises(InputError, match=r"train_ims\.npy: row 10: NaN or Inf"):
        tfds_builder.build(str(tmp_path / "source"), tmp_path / "out", name="small")
    assert not list((tmp_path / "out" / "small").iterdir())
    monkeypatch.setattr(regions, "check_finite", lambda *_: None)
    path = tfds_builder.build(str(tmp_path / "source"), tmp_path / "out", name="small")
    monkeypatch.undo()
    data = pipeline.TextSplit(tfds_reader.read_split(path, "train"), NO_TOKENS, None, (), 0)
    data.regions(np.array([3, 0]))
    with pytest.raises(InputError, match=r"1\.0\.0: train: row 2: NaN or Inf"):
        data.regions(np.array([3, 2]))


def test_build_refuses(tmp_path, monkeypatch):
    source, path = built(tmp_path)
    before = sorted(p.stat().mtime for p in path.iterdir())
    with pytest.raises(InputError, match=r"small/1\.0\.0: exists already and is left as it is"):
        tfds_builder.build(str(source), tmp_path / "out", name="small")
    assert sorted(p.stat().mtime for p in path.iterdir()) == before
    with pytest.raises(InputError, match=r"dev_ims\.npy: no such file; splits found there: train"):
        tfds_builder.build(str(source), tmp_path / "new", name="small", splits=["train", "dev"])
    with pytest.raises(InputError, match="--name='A b': give the data set a name"):
        tfds_builder.build(str(source), tmp_path / "new", name="A b")
    with pytest.raises(InputError, match="--splits: 'a-b' is no name"):
        tfds_builder.build(str(source), tmp_path / "new", name="small", splits=["a-b"])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/small/1\.0\.0: cannot be written"):
        tfds_builder.build(str(source), tmp_path / "file", name="small")
    write(source, "dev", dtype=np.float16)
    with pytest.raises(InputError, match=r"float32, 6 wide, but .*float16, 6 wide; a data set has one width and dtype"):
        tfds_builder.build(str(source), tmp_path / "new", name="small")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1000, 900, 100))
    with pytest.raises(InputError, match=r"new: 0\.0 GB are needed, 0\.0 GB are free"):
        tfds_builder.build(str(source), tmp_path / "new", name="small", splits=["dev"])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_build_leaves_nothing(tmp_path, monkeypatch, capsys, number, code):
    write(tmp_path / "source")
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process started in the background ignores it
    monkeypatch.setattr(tfds_builder, "sequential", lambda _: os.kill(os.getpid(), number))
    argv = ["convert", "tfds", f"--precomp={tmp_path / 'source'}", f"--out={tmp_path / 'out'}", "--name=small"]
    try:
        assert commands.start(convert, argv) == code
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
    out, err = capsys.readouterr()
    assert (out, err.startswith("error: "), err.count("\n")) == ("", True, 1)
    assert not list((tmp_path / "out" / "small").iterdir())
    monkeypatch.undo()
    path = tfds_builder.build(str(tmp_path / "source"), tmp_path / "out", name="small")
    assert tfds_reader.read_split(path, "train").num_images == IMAGES


def test_default_name():
    assert tfds_builder.default_name("data/f30k_precomp/") == "f30k"
    assert tfds_builder.default_name("data/F8k") == "f8k"
    assert tfds_builder.default_name("some-where/precomp") == ""


WITHOUT_TENSORFLOW = """
import runpy, sys

sys.argv = sys.argv[1:]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
finally:
    if "tensorflow" in sys.modules:
        sys.exit("tensorflow was imported")
"""


def command(*arguments, limit=None):
    """Runs a module as a command that fails if it imports TensorFlow, its files limited to `limit` bytes.

    Returns (exit code, lines of stdout, lines of stderr).
    """
    limited = ["bash", "-c", f'ulimit -f {limit // 1024}; exec "$@"', "-"] if limit else []
    done = subprocess.run(
        [*limited, sys.executable, "-c", WITHOUT_TENSORFLOW, *arguments],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr.strip().splitlines()


def test_builder_command(tmp_path):
    write(tmp_path / "small_precomp")
    flags = "itm_jax.convert", "tfds", f"--precomp={tmp_path / 'small_precomp'}", f"--out={tmp_path / 'out'}"
    code, out, err = command(*flags, limit=50_000)  # a shard is more than 64 KiB: as on a full disk
    assert (code, out) == (2, []), err
    assert "Traceback" not in "\n".join(err)
    assert err[-1].startswith("error: cannot be written: ")
    assert "File too large" in err[-1]
    code, out, err = command(*flags)
    assert code == 0, err
    assert out[0] == f"written: {tmp_path / 'out' / 'small' / '1.0.0'}"
    assert err[-1] == "train 4/4  images  left 0 s"
    assert tfds_reader.read_split(tmp_path / "out", "train").num_images == IMAGES
    code, out, err = command(*flags)
    assert (code, out, len(err)) == (2, [], 1)
    assert "exists already" in err[0]
    missing = "error: --precomp: missing; pass --precomp=DIR, the directory with {split}_ims.npy"
    assert command(*flags[:2], "--out=x") == (2, [], [missing])


@pytest.mark.slow
def test_bench_reads_both_without_tensorflow(tmp_path):
    config, other = world(tmp_path)
    code, out, err = command(
        "itm_jax.bench", "input", "--config=configs/quickstart.py", "--config.data.source=precomp", "--repeats=2",
        f"--config.data.dir={config.data.dir}", f"--config.model.text.vocab={SCENES_VOCAB}", "--batches=2",
        "--config.data.batch_size=8", f"--tfds={other.data.dir}", "--step",
    )  # fmt: skip
    assert code == 0, err
    figures = {k.strip(): v for k, v in (line.rsplit(maxsplit=1) for line in out)}
    rates = [float(figures[f"{name}: examples_per_second"]) for name in ("precomp", "tfds, --tfds")]
    assert min(rates) > 0
    assert float(figures["ratio_tfds_to_precomp"]) == pytest.approx(rates[1] / rates[0], rel=1e-2)
    needed = float(figures["step: examples_per_second"])
    assert float(figures["ratio_input_to_step"]) == pytest.approx(rates[0] / needed, rel=1e-2)


def world(tmp_path, *, images=16):
    """A precomp directory of `scenes` with all companions, the data set made from it, and a tiny config for both."""
    source = tmp_path / "world"
    source.mkdir()
    values = {
        "data.token_buckets": (32,), "data.batch_size": 8, "data.scenes.train": images, "data.scenes.dev": 4, "data.scenes.regions": 6,
        "data.scenes.features": 12, "data.eval_batch_size": 8, "model.width": 16, "model.text.hidden_size": 16,
        "model.text.num_layers": 1, "model.text.num_heads": 2, "model.text.intermediate_size": 16,
        "model.text.vocab": str(SCENES_VOCAB), "train.epochs": 2, "train.log_every": 1, "optim.decay_epochs": (1,),
        "data.dev_split": "dev", "data.dir": str(source),
    }  # fmt: skip
    config = default_config()
    for name, value in values.items():
        set_field(config, name, value)
    for name in ("train", "dev"):
        split = scenes.make_split(config.data.scenes, name)
        np.save(source / f"{name}_ims.npy", np.asarray(split.features))
        np.save(source / f"{name}_boxes.npy", split.boxes)
        (source / f"{name}_caps.txt").write_text("\n".join(split.captions) + "\n")
        labels = [[split.label_names[k] for k in row] for row in split.labels]
        (source / f"{name}_labels.json").write_text(json.dumps(labels))
        edges = [[list(map(int, e)) for e in row] for row in split.edges]
        (source / f"{name}_dependencies.json").write_text(json.dumps(edges))
    other = config.copy_and_resolve_references()
    other.data.source, other.data.dir = "tfds", str(tfds_builder.build(str(source), tmp_path / "out").parent)
    validate(other)
    return config, other


def test_training_has_the_same_losses_step_by_step(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lib, "make_mesh", lambda batch_size: make_mesh(batch_size, jax.devices()[:1]))
    lines = []
    for config, workdir in zip(world(tmp_path), (tmp_path / "a", tmp_path / "b"), strict=True):
        training.train(config, workdir)
        lines.append([json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()])
    assert [x["step"] for x in lines[0] if x["split"] == "train"] == list(range(1, 21))
    assert [x["split"] for x in lines[0]].count("dev") == 2
    assert lines[0] == lines[1]  # losses, gradient norms and dev recalls, to the last bit


def same(a, b):
    """Bit-identical trees of arrays of the same types."""
    a, b = jax.tree.leaves(a), jax.tree.leaves(b)
    return len(a) == len(b) and all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_batches_go_on_at_any_step(tmp_path):
    ours, theirs = [], []
    for config, out, start in zip(world(tmp_path), (theirs, ours), (0, 13), strict=True):
        data = data_of(config, "train")
        batches = pipeline.train_batches(data, batch_size=8, seed=0, start=start, prefetch=2)
        out += [next(batches) for _ in range(25 - start)]  # into the third epoch
    assert all(same(a, b) for a, b in zip(ours, theirs[13:], strict=True))
    assert not same(theirs[0], theirs[10])


def test_real_data_has_the_same_losses(tmp_path, f8k, minilm):
    """Twenty steps with frozen MiniLM states on the dev split."""
    path = tfds_builder.build(str(f8k), tmp_path / "out", name="f8k", splits=["dev"])
    losses = {}
    for source, directory in (("precomp", f8k), ("tfds", path)):
        config = load(ROOT / "configs" / "afa_f8k.py").get_config()
        values = {
            "data.source": source, "data.dir": str(directory), "data.train_split": "dev", "data.batch_size": 32,
            "data.cache_dir": str(tmp_path / "cache"), "data.token_buckets": (48,), "model.text.trainable": False,
            "model.text.pretrained": minilm, "model.width": 32,
        }  # fmt: skip
        for name, value in values.items():
            set_field(config, name, value)
        run, data = run_of(config, "dev")
        assert data.split.features.shape == (300, 36, 512)
        constants = run_lib.augment_constants(run.config, run.text)
        step = jax.jit(make_train_step(run.model, run.optimizer, constants, run.config, constants={}, warmup_steps=5))
        state, trail = run.state, []
        batches = pipeline.train_batches(data, batch_size=32, seed=0, start=0, prefetch=2)
        for _ in range(20):
            state, metrics = step(state, put_batch(next(batches), run.mesh), jax.random.key(0))
            trail.append((float(metrics["loss"]), float(metrics["grad_norm"])))
        losses[source] = trail
    assert losses["tfds"] == losses["precomp"]
    assert len(set(losses["tfds"])) == 20


def test_check_and_fingerprint_read_all_records(tmp_path):
    write_all(tmp_path / "data")
    tfds_builder.build(str(tmp_path / "data"), tmp_path / "out", name="good")
    assert check(config_for(tmp_path / "out", data__source="tfds"))[0].lines == []
    ours, theirs = precomp.read_split(str(tmp_path / "data"), "dev"), tfds_reader.read_split(tmp_path / "out", "dev")
    assert fingerprint(ours) == fingerprint(theirs)
    assert all("-dev" in name for name in describe_split(theirs)["files"])
    assert describe_split(theirs)["files"]
    damage(tmp_path / "data" / "dev_ims.npy", at(3, 0.0))
    with pytest.raises(InputError, match=r"dev_ims\.npy: row 3: all features are zero"):
        tfds_builder.build(str(tmp_path / "data"), tmp_path / "zero", name="zero")
    with pytest.MonkeyPatch.context() as patch:  # as an earlier version wrote it
        patch.setattr(tfds_builder, "read_regions", regions.masked_regions)
        patch.setattr(precomp, "check_regions", lambda _: None)
        path = tfds_builder.build(str(tmp_path / "data"), tmp_path / "zero", name="zero")
    assert check(config_for(tmp_path / "zero", data__source="tfds"))[0].lines == [
        f"{path}: dev: row 3: all features are zero; extract it again"
    ]
