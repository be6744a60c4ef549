"""TFDS: what is read back is what was there, in its order, and trains to the same losses; damage is named."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from test_check import config_for, write_all
from test_commands import command
from test_precomp import at, damage
from test_train import lines, one_device  # noqa: F401

from itm_jax import train as training
from itm_jax.check_run import check
from itm_jax.data import pipeline, precomp, tfds_builder
from itm_jax.errors import InputError
from itm_jax.provenance import describe_split, fingerprint

SPLITS = ["train", "dev", "test"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(precomp directory with rows repeated 5x, TFDS data set of it)."""
    folder = tmp_path_factory.mktemp("tfds")
    write_all(folder / "data" / "precomp", repeats=5)
    tfds_builder.build(str(folder / "data"), SPLITS, name="small", out=str(folder / "out"))
    return folder / "data", folder / "out"


def same_split(a, b):
    np.testing.assert_array_equal(a.features[np.arange(a.num_images)], b.features[np.arange(b.num_images)])
    for name in ("name", "captions_per_image", "label_names", "num_images"):
        assert getattr(a, name) == getattr(b, name)
    assert list(a.captions) == list(b.captions)
    assert list(a.ids) == list(b.ids)
    for name in ("boxes", "labels"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None)
        if x is not None:
            np.testing.assert_array_equal(x, y)
            assert x.dtype == y.dtype
    assert (a.edges is None and b.edges is None) or [list(map(list, e)) for e in a.edges] == b.edges


def test_read_back_is_what_was_there_in_its_order(built):
    data, out = built
    for name in SPLITS:
        ours, theirs = precomp.read_split(str(data), name), tfds_builder.read_split(str(out), name)
        same_split(ours, theirs)
        assert fingerprint(ours) == fingerprint(theirs)
    assert theirs.features.dtype == np.float32
    assert theirs.features.shape == ours.features.shape == (len(theirs.features), 3, 6)
    np.testing.assert_array_equal(theirs.features[2], ours.features[2])
    np.testing.assert_array_equal(theirs.features[np.array([4, 0, 4])], ours.features[[4, 0, 4]])
    np.testing.assert_array_equal(theirs.features[1:3], ours.features[1:3])
    assert theirs.features[np.array([], int)].shape == (0, 3, 6)
    assert theirs.features.nbytes == ours.features.nbytes
    assert [n for n in describe_split(theirs)["files"] if "array_record" in n]
    assert tfds_builder.find_dataset(str(out)) == tfds_builder.find_dataset(str(out / "small" / "1.0.0"))


def test_float16_without_companions(tmp_path):
    write_all(tmp_path / "data")
    for split in SPLITS:
        for companion in ("ids.txt", "boxes.npy", "labels.json", "dependencies.json"):
            (tmp_path / "data" / f"{split}_{companion}").unlink()
        damage(tmp_path / "data" / f"{split}_ims.npy", lambda x: x.astype(np.float16))
    tfds_builder.build(str(tmp_path / "data"), ["train"], name="plain", out=str(tmp_path / "out"))
    split = tfds_builder.read_split(str(tmp_path / "out"), "train")
    assert split.features[0].dtype == np.float16
    same_split(precomp.read_split(str(tmp_path / "data"), "train"), split)
    with pytest.raises(InputError, match="no split dev; splits found there: train"):
        tfds_builder.read_split(str(tmp_path / "out"), "dev")


def test_twenty_steps_give_the_same_losses(tmp_path, built):
    data, out = built
    fields = {"train__epochs": 7, "train__log_every": 1, "train__eval_every_epochs": 2.0}  # 21 steps
    training.train(config_for(data, **fields), tmp_path / "precomp")
    training.train(config_for(out, data__source="tfds", **fields), tmp_path / "tfds")
    assert len([x for x in lines(tmp_path / "tfds") if x["split"] == "train"]) == 21
    assert lines(tmp_path / "precomp") == lines(tmp_path / "tfds")


def test_batches_of_real_data_are_the_same(tmp_path, f8k):
    tfds_builder.build(str(f8k), ["dev"], name="f8k", out=str(tmp_path))
    streams = []
    for source, directory in (("precomp", f8k), ("tfds", tmp_path)):
        config = config_for(directory, data__source=source, data__train_split="dev", data__batch_size=100)
        text = training.load_text(config, source=source)
        data = pipeline.with_text(config, pipeline.read_split(config, "dev"), text)
        streams.append(pipeline.train_batches(data, batch_size=100, seed=3, start=4, prefetch=2))
    for _ in range(20):
        a, b = map(next, streams)
        np.testing.assert_array_equal(a.regions.features, b.regions.features)
        np.testing.assert_array_equal(a.tokens.ids, b.tokens.ids)
        np.testing.assert_array_equal(a.image, b.image)


def test_check_reads_all_records(tmp_path, built):
    _, out = built
    assert check(config_for(out, data__source="tfds"))[0].lines == []
    write_all(tmp_path / "data")
    damage(tmp_path / "data" / "dev_ims.npy", at(3, 0.0))
    tfds_builder.build(str(tmp_path / "data"), SPLITS, name="zero", out=str(tmp_path / "out"))
    folder = tmp_path / "out" / "zero" / "1.0.0"
    assert check(config_for(tmp_path / "out", data__source="tfds"))[0].lines == [
        f"{folder}: row 3: all features are zero; extract it again"
    ]


def record_file(folder, split):
    return next((folder).glob(f"*-{split}.array_record*"))


def flipped(path):
    data = bytearray(path.read_bytes())
    for k in range(len(data) // 3, 2 * len(data) // 3):  # the middle third: whatever its layout, records are hit
        data[k] ^= 0x55
    path.write_bytes(data)


DAMAGES = {
    "flipped bytes": (lambda d: flipped(record_file(d, "train")), r"split train: .*cannot be"),
    "cut short": (lambda d: record_file(d, "train").write_bytes(record_file(d, "train").read_bytes()[:-700]), r"split train: .*cannot be"),
    "shard missing": (lambda d: record_file(d, "train").unlink(), r"split train: .*cannot be"),
    "metadata missing": (lambda d: (d / "metadata.json").unlink(), r"no split train; splits found there: none that itm_jax"),
    "metadata broken": (lambda d: (d / "metadata.json").write_text("{"), r"not a data set that can be read"),
    "features.json broken": (lambda d: (d / "features.json").write_text("{"), r"not a data set that can be read"),
    "info missing": (lambda d: (d / "dataset_info.json").unlink(), r"no dataset_info\.json there or below; set config\.data\.dir"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(tmp_path, damage):
    write_all(tmp_path / "data")
    change, message = DAMAGES[damage]
    folder = tfds_builder.build(str(tmp_path / "data"), SPLITS, name="small", out=str(tmp_path / "out"))
    change(tmp_path / "out" / "small" / "1.0.0")
    assert str(folder) == str(tmp_path / "out" / "small" / "1.0.0")
    with pytest.raises(InputError, match=message) as caught:
        tfds_builder.read_split(str(tmp_path / "out"), "train").features[np.arange(6)]
    assert str(tmp_path / "out") in str(caught.value)


def test_what_cannot_be_built_is_refused(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    write_all(data)
    damage(data / "dev_ims.npy", lambda x: x.astype(np.float16))
    with pytest.raises(InputError, match=r"dev_ims\.npy: float16 .* must be alike"):
        tfds_builder.build(str(data), SPLITS, name="small", out=str(out))
    damage(data / "dev_ims.npy", lambda x: at((1, 0, 0), np.nan)(x.astype(np.float32)))
    with pytest.raises(InputError, match="row 1: NaN or Inf"):
        tfds_builder.build(str(data), SPLITS, name="small", out=str(out))
    with pytest.raises(InputError, match="no dataset_info"):
        tfds_builder.find_dataset(str(out))


def test_the_command_converts_and_refuses_to_overwrite(tmp_path):
    write_all(tmp_path / "data")
    module = ("-m", "itm_jax.convert")
    arguments = ["tfds", f"--precomp={tmp_path / 'data'}", f"--out={tmp_path / 'out'}", "--name=small"]
    code, out, err = command(*arguments, script=module)
    assert code == 0, err
    assert out.startswith(f"tfds: {tmp_path / 'out' / 'small' / '1.0.0'}; use it with --config.data.source=tfds")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["small"]
    code, out, err = command(*arguments, script=module)
    assert (code, out) == (2, "")
    assert err[-1].endswith("a data set is there already; remove it, or take another --out or --name")
    code, _, err = command("tfds", "--out=x", script=module)
    assert (code, err) == (2, ["error: --precomp: not given"])


def test_no_tensorflow_is_imported(built):
    script = (
        "import sys; from itm_jax.data import tfds_builder; "
        f"s = tfds_builder.read_split({str(built[1])!r}, 'train'); s.features[0]; print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
