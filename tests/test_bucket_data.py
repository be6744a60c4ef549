"""Data in a bucket, against a local stand-in for S3 (moto): copied where they fit, else read by row."""

import pathlib
import shutil

import numpy as np
import pytest
from support.bucket import empty_bucket
from support.data_sets import SPLITS, config_for, write_all
from support.runs import lines

from itm_jax.buckets.copies import local_copy
from itm_jax.buckets.store import Bucket
from itm_jax.checks.run import check
from itm_jax.data import bucket
from itm_jax.data.bucket_rows import RowsInBucket
from itm_jax.data.precomp import in_bucket
from itm_jax.data.precomp.reader import read_split
from itm_jax.data.splits import read_split as read_configured
from itm_jax.errors import InputError
from itm_jax.runs.provenance import fingerprint
from itm_jax.training.loop import train

pytest.importorskip("obstore", reason="pip install -e '.[buckets]'")
ROW = 3 * 6 * 4  # bytes of an image of the data set


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """(local directory, its address in a bucket) of a small data set."""
    root = tmp_path_factory.mktemp("data") / "f8k"
    write_all(root, repeats=5)
    with empty_bucket("data-of-tests") as url:
        upload(root, Bucket(f"{url}/f8k"))
        upload(root, Bucket(f"{url}/other"), prefix="precomp/")
        yield root, f"{url}/f8k"


def upload(root, bucket, prefix=""):
    for path in root.iterdir():
        bucket.upload(prefix + path.name, path)


def of(stored, tmp_path, **changes):
    """A config on the data in the bucket, with a cache of its own."""
    return config_for(stored[1], data__cache_dir=str(tmp_path / "cache"), **changes)


def asked(monkeypatch):
    """How many rows are asked for, in a list."""
    counts, ranges = [], Bucket.ranges
    monkeypatch.setattr(
        Bucket,
        "ranges",
        lambda self, path, pairs, etag: (
            counts.append(sum(end - start for start, end in pairs) // ROW) or ranges(self, path, pairs, etag)
        ),
    )
    return counts


@pytest.mark.parametrize("cache_gb", [50.0, 1e-6])  # all of it, or 1,000 bytes: nothing but the small files
@pytest.mark.parametrize("split", SPLITS)
def test_a_split_is_the_one_on_disk(stored, tmp_path, split, cache_gb, monkeypatch):
    if cache_gb < 1:
        small(monkeypatch)
    found = read_configured(of(stored, tmp_path, data__cache_gb=cache_gb), split)
    expected = read_split(str(stored[0]), split)
    assert fingerprint(found) == fingerprint(expected)
    assert found.captions == expected.captions
    np.testing.assert_array_equal(found.features[[4, 0, 0]], expected.features[[4, 0, 0]])
    np.testing.assert_array_equal(np.asarray(found.boxes), expected.boxes)


def small(monkeypatch):
    """Only features count for `data.cache_gb`, so that tiny data can be larger than the cache."""
    copy = bucket.copy_objects
    monkeypatch.setattr(in_bucket, "copy_objects", lambda a, home, objects, _: copy(a, home, objects, 1.0))


def test_rows_are_kept_while_there_is_room(stored, tmp_path, monkeypatch):
    small(monkeypatch)
    counts = asked(monkeypatch)
    config = of(stored, tmp_path, data__cache_gb=4.5 * ROW / 1e9)
    features = read_configured(config, "train").features
    assert isinstance(features, RowsInBucket)
    again = read_configured(config, "train").features
    expected = np.load(stored[0] / "train_ims.npy")
    counts.clear()
    np.testing.assert_array_equal(np.asarray(again), expected)
    assert counts == [6 - 4]  # the rows that do not fit
    home = local_copy(stored[1], config.data.cache_dir, use="data") / "train-rows-kept"
    (home,) = home.iterdir()
    sums = np.fromfile(home / "sums", np.uint32)
    assert np.count_nonzero(sums) == 4
    damaged = home / "rows"
    data = bytearray(damaged.read_bytes())
    kept = int(np.flatnonzero(sums)[0])
    data[kept * ROW + 3] ^= 1
    damaged.write_bytes(bytes(data))
    np.testing.assert_array_equal(np.asarray(read_configured(config, "train").features), expected)


def test_only_what_changed_is_copied_again(stored, tmp_path, monkeypatch):
    loads, download = [], Bucket.download
    monkeypatch.setattr(Bucket, "download", lambda self, path, *a: loads.append(path) or download(self, path, *a))
    config = of(stored, tmp_path)
    read_configured(config, "dev")
    assert "dev_ims.npy" in loads
    assert not [path for path in loads if path.startswith("t")]  # no file of another split
    loads.clear()
    read_configured(config, "dev")
    assert not loads
    changed = (stored[0] / "dev_caps.txt").read_text().replace("caption", "text")
    try:
        Bucket(stored[1]).write("dev_caps.txt", changed.encode())
        assert read_configured(config, "dev").captions[0].startswith("a dev text 0")
        assert loads == ["dev_caps.txt"]
    finally:
        Bucket(stored[1]).upload("dev_caps.txt", stored[0] / "dev_caps.txt")


def test_training_has_the_numbers_of_local_data(stored, tmp_path, monkeypatch):
    changes = {"train__epochs": 2, "train__log_every": 1, "optim__decay_epochs": (1,)}
    train(config_for(stored[0], **changes), tmp_path / "local")
    train(of(stored, tmp_path, **changes), tmp_path / "copied")
    small(monkeypatch)
    train(of(stored, tmp_path / "rows", data__cache_gb=0.0, **changes), tmp_path / "rows")
    assert lines(tmp_path / "local") == lines(tmp_path / "copied") == lines(tmp_path / "rows")
    defects, splits = check(of(stored, tmp_path))
    assert not defects.records
    assert len(splits) == 3


def test_a_file_that_is_replaced_is_noticed(stored, tmp_path, monkeypatch):
    small(monkeypatch)
    shutil.copytree(stored[0], tmp_path / "copy")
    place = Bucket(f"{stored[1]}-replaced")
    upload(tmp_path / "copy", place)
    config = config_for(place.url, data__cache_dir=str(tmp_path / "cache"), data__cache_gb=0.0)
    features = read_configured(config, "train").features
    place.write("train_ims.npy", (stored[0] / "dev_ims.npy").read_bytes())
    with pytest.raises(InputError, match=r"train_ims\.npy: was replaced since it was opened"):
        features[0]


def test_what_is_missing_or_damaged_is_named(stored, tmp_path, monkeypatch):
    config = of(stored, tmp_path)
    with pytest.raises(InputError, match=r"s3://.*/f8k/val_ims.npy: no such object; splits found there: dev, test"):
        read_configured(config, "val")
    with pytest.raises(InputError, match=r"config\.data\.cache_gb=1e-07 bounds the local copy"):
        read_configured(of(stored, tmp_path, data__cache_gb=1e-7), "train")
    small(monkeypatch)
    place = Bucket(f"{stored[1]}-damaged")
    upload(stored[0], place)
    config = config_for(place.url, data__cache_dir=str(tmp_path / "cache"), data__cache_gb=0.0)
    whole = (stored[0] / "train_ims.npy").read_bytes()
    for data, message in (
        (b"\x80not an array", "not an intact .npy file"),
        (whole[:-4], "but its header says"),
        (whole.replace(b"<f4", b"<i4"), "expected float16 or float32"),
    ):
        place.write("train_ims.npy", data)
        with pytest.raises(InputError, match=message):
            read_configured(config, "train")


def test_a_data_set_below_precomp(stored, tmp_path):
    config = config_for(stored[1].replace("f8k", "other"), data__cache_dir=str(tmp_path / "cache"))
    assert fingerprint(read_configured(config, "test")) == fingerprint(read_split(str(stored[0]), "test"))


def test_array_record_in_a_bucket(stored, tmp_path):
    from itm_jax.data.tfds.builder import build

    made = build(str(stored[0]), str(tmp_path / "tfds"), name="small")
    place = Bucket(stored[1].replace("f8k", "records"))
    for path in made.iterdir():
        place.upload(f"small/{made.name}/{path.name}", pathlib.Path(path))
    config = config_for(place.url, data__cache_dir=str(tmp_path / "cache"), data__source="tfds")
    found = read_configured(config, "train")
    expected = read_split(str(stored[0]), "train")
    assert found.captions == expected.captions
    np.testing.assert_array_equal(np.asarray(found.features), np.asarray(expected.features))
