"""`precomp` directories: every form in which the field has them is read, every defect is named by file and row."""

import io
import mmap
import pickle

import numpy as np
import pytest
from support.precomp import EACH, IMAGES, REGIONS, Bytes, Tripwire, at, damage, line, pickled, write

from itm_jax.data import regions
from itm_jax.data.precomp.reader import read_split
from itm_jax.data.regions import check_finite, read_regions
from itm_jax.errors import InputError


def is_mapped(array):
    """Whether the array's memory is a file's, through all its views."""
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, mmap.mmap)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(("repeats", "ids"), [(1, "row"), (1, "caption"), (1, ""), (5, "row"), (5, "image"), (5, "")])
def test_features_are_read_once_per_image_and_stay_on_disk(tmp_path, dtype, repeats, ids):
    features = write(tmp_path, dtype=dtype, repeats=repeats, ids=ids)
    split = read_split(str(tmp_path), "train")
    assert split.features.dtype == dtype
    assert is_mapped(split.features)
    np.testing.assert_array_equal(split.features, features)
    assert (split.num_images, split.captions_per_image) == (IMAGES, EACH)
    assert split.captions[7] == "caption 2 of image 1"
    np.testing.assert_array_equal(split.caption_image_index, np.repeat(np.arange(IMAGES), EACH))
    assert list(split.ids) == ([f"{i}.jpg" for i in range(IMAGES)] if ids else ["0", "1", "2", "3"])
    assert split.boxes.shape == (IMAGES, REGIONS, 4)
    assert [split.label_names[k] for k in split.labels[2]] == ["label2", "label0", "label1"]
    assert split.edges[0] == [[0, 1], [4, 3]]
    assert split.source == str(tmp_path / "train_ims.npy")


def test_directory_above_precomp_and_without_companions(tmp_path):
    features = write(tmp_path / "precomp", "dev")
    for companion in ("ids.txt", "boxes.npy", "labels.json", "dependencies.json"):
        (tmp_path / "precomp" / f"dev_{companion}").unlink()
    split = read_split(str(tmp_path), "dev")
    np.testing.assert_array_equal(split.features, features)
    assert (split.boxes, split.labels, split.label_names, split.edges) == (None, None, (), None)
    with pytest.raises(InputError, match=r"train_ims\.npy: no such file; splits found there: dev"):
        read_split(str(tmp_path), "train")
    with pytest.raises(InputError, match=r"absent: no such directory.*train_ims\.npy"):
        read_split(str(tmp_path / "absent"), "train")


@pytest.mark.parametrize("repeats", [1, 5])
@pytest.mark.parametrize("sizes_repeated", [False, True])
def test_boxes_in_pixels_become_fractions(tmp_path, repeats, sizes_repeated):
    write(tmp_path, repeats=repeats)
    fractions = np.load(tmp_path / "train_boxes.npy")
    sizes = np.array([[640, 480], [333, 500], [500, 375], [100, 200]])
    pixels = fractions * np.repeat(np.tile(sizes, (1, 2)), repeats, axis=0)[:, None, :]
    np.save(tmp_path / "train_boxes.npy", pixels.astype(np.float32))
    np.save(tmp_path / "train_img_sizes.npy", np.repeat(sizes, repeats if sizes_repeated else 1, axis=0))
    boxes = read_split(str(tmp_path), "train").boxes
    np.testing.assert_allclose(boxes, fractions[::repeats], atol=1e-6)


def test_crlf_and_byte_order_mark_are_accepted(tmp_path):
    write(tmp_path)
    captions = [f"this is caption number {k}" for k in range(20)]
    captions[5] += "\u2028line separators and next-lines\x85 end no line"
    text = "\ufeff" + "\r\n".join(captions)  # and no end of line after the last
    (tmp_path / "train_caps.txt").write_bytes(text.encode())
    for name in ("train_ids.txt", "train_labels.json"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"))
    split = read_split(str(tmp_path), "train")
    assert list(split.captions) == captions
    assert split.ids == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]


def test_a_large_file_is_not_scanned_when_opened_but_checked_batch_by_batch(tmp_path, monkeypatch):
    features = write(tmp_path)
    features[2, 1, 0] = np.nan
    np.save(tmp_path / "train_ims.npy", features)
    monkeypatch.setattr(regions, "FULL_SCAN_BYTES", 0)
    split = read_split(str(tmp_path), "train")
    read_regions(split, np.array([0, 3]))
    with pytest.raises(InputError, match=r"train_ims\.npy: row 2: NaN"):
        read_regions(split, np.array([3, 2]))
    check_finite(np.full((3, 40, 10), np.finfo(np.float32).max), np.arange(3), "")  # only the sum overflows


def archive(_):
    np.savez(buffer := io.BytesIO(), features=np.zeros((4, 3, 6), np.float32))
    return buffer.getvalue()


# file, what is done to it, what the message must say of it
BAD = [
    ("ims.npy", None, "no such file"),
    ("ims.npy", at((2, 0, 1), np.nan), "row 2: NaN or Inf"),
    ("ims.npy", at((3, 2, 5), -np.inf), "row 3: NaN or Inf"),
    ("ims.npy", lambda x: at((1, 2, 5), np.inf)(x.astype(np.float16)), "row 1: NaN or Inf"),
    ("ims.npy", pickled, "holds pickled Python objects, never loaded"),
    ("ims.npy", Bytes(lambda _: pickle.dumps([Tripwire()])), "not an intact .npy file (the magic"),
    ("ims.npy", Bytes(archive), "not an intact .npy file"),
    ("ims.npy", Bytes(lambda x: x[:-8]), "not an intact .npy file"),
    ("ims.npy", Bytes(lambda x: x[:60]), "not an intact .npy file"),
    ("ims.npy", Bytes(lambda x: b""), "not an intact .npy file"),
    ("ims.npy", Bytes(lambda x: x.replace(b"}", b" ", 1)), "not an intact .npy file"),
    ("ims.npy", Bytes(lambda x: x[:8] + b"\1\0" + x[10:]), "not an intact .npy file"),
    ("ims.npy", Bytes(lambda x: x.replace(b", 3,", b",-3,", 1)), "not an intact .npy file (its header says"),
    ("ims.npy", lambda x: x[:, 0], "float32 (4, 6); expected"),
    ("ims.npy", lambda x: x.astype(np.int32), "int32 (4, 3, 6); expected"),
    ("ims.npy", lambda x: x[:0], "shape (0, 3, 6) holds nothing"),
    ("caps.txt", None, "cannot be read"),
    ("caps.txt", line(19), "19 captions for 4 images in train_ims.npy"),
    ("caps.txt", line(19, b"one", b"more"), "21 captions for 4 images"),
    ("caps.txt", lambda x: x[:2], "2 captions for 4 images"),
    ("caps.txt", line(6, b" \t"), "line 7: blank"),
    ("caps.txt", Bytes(lambda _: b""), "empty"),
    ("caps.txt", line(2, b"caf\xe9"), "line 3: not UTF-8"),
    ("caps.txt", line(0, b"\xef\xbb\xbfa", b"\xff"), "line 2: not UTF-8"),
    ("ids.txt", line(0, b"\xff"), "line 1: not UTF-8"),
    ("ids.txt", line(2), "3 ids for 4 images"),
    ("ids.txt", Bytes(lambda _: b""), "0 ids"),
    ("boxes.npy", lambda x: x[:3], "float32 (3, 3, 4); expected"),
    ("boxes.npy", lambda x: x[:, :2], "float32 (4, 2, 4); expected"),
    ("boxes.npy", lambda x: x.astype(str), "<U"),
    ("boxes.npy", at((1, 2, 3), 1.2), "row 1: values outside [0, 1.001]"),
    ("boxes.npy", at((3, 0, 0), -0.1), "row 3: values outside [0, 1.001]"),
    ("boxes.npy", at((2, 0, 0), np.nan), "row 2: NaN"),
    ("boxes.npy", lambda x: np.concatenate([x[:2], x[2:, :, [2, 1, 0, 3]]]), "row 2: a box with x2 < x1"),
    ("boxes.npy", pickled, "holds pickled Python objects"),
    ("img_sizes.npy", lambda _: np.full((3, 2), 500), "int64 (3, 2); expected"),
    ("img_sizes.npy", lambda _: np.array([[500, 500], [0, 5]] * 2), "row 1: width and height"),
    ("img_sizes.npy", pickled, "holds pickled Python objects"),
    ("labels.json", lambda x: x[1:], "3 rows, expected 4"),
    ("labels.json", lambda x: [*x[:3], x[3][:2]], "row 3: expected a list of 3 label names"),
    ("labels.json", lambda x: [x[0], ["a", 3, "b"], *x[2:]], "row 1: expected a list of 3 label names"),
    ("labels.json", lambda x: {"0": x}, "holds a dict"),
    ("labels.json", lambda x: None, "holds a NoneType"),
    ("labels.json", Bytes(lambda x: x[:-5]), "not JSON"),
    ("labels.json", Bytes(lambda _: b'["\xe9"]'), "not JSON"),
    ("dependencies.json", lambda x: [x[0], [[0, 5]], *x[2:]], "entry 1: expected [head, dependent] indices below"),
    ("dependencies.json", lambda x: [[[-1, 0]], *x[1:]], "entry 0: expected"),
    ("dependencies.json", lambda x: [*x[:-1], [[0, 1, 2]]], "entry 19: expected"),
    ("dependencies.json", lambda x: [x[0], {}, *x[2:]], "entry 1: expected"),
    ("dependencies.json", lambda x: x[1:], "19 entries, expected 20"),
]
# The same in a directory with rows and ids repeated 5x: rows are those of the file.
BAD_REPEATED = [
    ("ims.npy", at(slice(5, 10), np.nan), "row 5: NaN or Inf"),
    ("ims.npy", at((12, 0, 0), np.nan), "row 12: NaN or Inf"),
    ("ims.npy", at((7, 1, 1), 9.0), "rows 5..9: they have one id but different features"),
    ("ids.txt", line(8, b"x"), "line 10: an id that an earlier line has too (line 10: 1.jpg, as line 6)"),
    ("boxes.npy", at((10, 0, 0), -0.1), "row 10: values outside"),
    ("labels.json", lambda x: [*x[:15], ["a"], *x[16:]], "row 15: expected a list of 3 label names"),
]


@pytest.mark.parametrize(
    ("repeats", "file", "change", "message"), [(1, *bad) for bad in BAD] + [(5, *bad) for bad in BAD_REPEATED]
)
def test_bad_input_is_named_by_file_and_row(tmp_path, monkeypatch, repeats, file, change, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, repeats=repeats, ids="row")
    read_split(str(tmp_path), "train")  # good until damaged
    damage(tmp_path / f"train_{file}", change)
    with pytest.raises(InputError) as caught:
        read_split(str(tmp_path), "train")
    assert f"{tmp_path}/train_{file}: {message}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "unpickled").exists()


def test_boxes_in_pixels_without_good_sizes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    damage(tmp_path / "train_boxes.npy", lambda x: x * 500)
    with pytest.raises(
        InputError, match=r"train_boxes\.npy: row 0: .* need train_img_sizes\.npy \[n, 2\] \(width, hei"
    ):
        read_split(str(tmp_path), "train")
    damage(tmp_path / "train_ims_size.npy", pickled)  # what GSMN's users have
    with pytest.raises(InputError, match=r"train_ims_size\.npy is a pickle .* train_img_sizes\.npy replaces it"):
        read_split(str(tmp_path), "train")
    damage(tmp_path / "train_img_sizes.npy", lambda _: np.full((4, 2), 50))
    with pytest.raises(InputError, match=r"train_boxes\.npy: row 0: values outside \[0, 1\.001\] \(4 such rows\)$"):
        read_split(str(tmp_path), "train")
    assert not (tmp_path / "unpickled").exists()


def test_real_data(f8k):
    split = read_split(str(f8k), "train")
    assert split.features.shape == (3000, 36, 512)
    assert split.features.dtype == np.float16
    assert is_mapped(split.features)
    assert (split.captions_per_image, len(split.captions), len(set(split.ids))) == (5, 15000, 3000)
    assert (split.boxes.shape, split.labels.shape) == ((3000, 36, 4), (3000, 36))
    assert "person" in split.label_names
    norms = np.linalg.norm(split.features[::100].astype(np.float32), axis=-1)
    assert 15 < norms.mean() < 30
