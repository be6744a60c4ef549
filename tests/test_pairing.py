"""Which captions belong to which image: every form of the ids is read whole, and what contradicts the order is refused."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.data_sets import config_for, write_all
from support.precomp import at, damage

from itm_jax.checks import together
from itm_jax.checks.run import check, describe
from itm_jax.data import regions
from itm_jax.data.precomp import repeats
from itm_jax.data.precomp.reader import read_split
from itm_jax.errors import InputError

REGIONS, WIDTH = 2, 3


def write(directory, counts, *, repeats=1, order=None, ids="caption", row_order=None):
    """Writes the split `test` of images with so many captions; returns the captions, grouped by image.

    Args:
        directory: of the files.
        counts: captions of each image.
        repeats: rows per image; "captions" has a row per caption.
        order: of the captions in their files; None: grouped by image.
        ids: what a line of the file of ids stands for (caption, row, image); empty for no file.
        row_order: the order of the images in the features, which `image_ids.txt` then says.
    """
    directory.mkdir(parents=True, exist_ok=True)
    images = len(counts)
    features = np.arange(1, 1 + images * REGIONS * WIDTH, dtype=np.float32).reshape(images, REGIONS, WIDTH)
    owner = np.repeat(np.arange(images), counts)
    order = np.arange(len(owner)) if order is None else np.asarray(order)
    row_of = owner[order] if repeats == "captions" else np.repeat(np.arange(images), repeats)
    if row_order is not None:
        row_of = np.asarray(row_order)
        (directory / "test_image_ids.txt").write_text("".join(f"{i}.jpg\n" for i in row_of))
    np.save(directory / "test_ims.npy", features[row_of])
    captions = [f"caption {k} of image {i}" for i, n in enumerate(counts) for k in range(n)]
    (directory / "test_caps.txt").write_text("".join(captions[c] + "\n" for c in order))
    edge = [[[c % 4, c % 3]] for c in range(len(captions))]
    (directory / "test_dependencies.json").write_text(json.dumps([edge[c] for c in order]))
    if ids:
        lines = {"caption": owner[order], "row": row_of, "image": range(images)}[ids]
        (directory / "test_ids.txt").write_text("".join(f"{i}.jpg\n" for i in lines))
    return captions


def assert_pairs(split, counts, captions):
    """Each caption belongs to the image whose number it says, and each image has its own features."""
    assert list(split.captions) == captions
    np.testing.assert_array_equal(split.caption_counts, counts)
    assert split.ids == [f"{i}.jpg" for i in range(len(counts))]
    np.testing.assert_array_equal(split.features[:][:, 0, 0], 1 + np.arange(len(counts)) * REGIONS * WIDTH)
    assert [int(caption.split()[-1]) for caption in split.captions] == split.caption_image_index.tolist()
    assert split.edges == [[[c % 4, c % 3]] for c in range(len(captions))]


COUNTS = st.lists(st.integers(1, 6), min_size=2, max_size=7)


@settings(max_examples=40, deadline=None)
@given(images=st.integers(2, 6), k=st.integers(1, 10), ids=st.sampled_from(["", "row", "image", "caption"]))
def test_rows_repeated_k_times_are_read_once(tmp_path_factory, images, k, ids):
    """The number of repeats is found for every k, with any file of ids and without one."""
    directory = tmp_path_factory.mktemp("rows")
    captions = write(directory, [k] * images, repeats="captions", ids=ids)
    split = read_split(str(directory), "test")
    assert split.captions_per_image == k
    if not ids:
        assert split.ids == [str(i) for i in range(images)]
        (directory / "test_ids.txt").write_text("".join(f"{i}.jpg\n" for i in range(images)))
        split = read_split(str(directory), "test")
    assert_pairs(split, [k] * images, captions)


@settings(max_examples=40, deadline=None)
@given(counts=COUNTS, per_caption=st.booleans())
def test_images_may_have_different_numbers_of_captions(tmp_path_factory, counts, per_caption):
    """A file of ids with a line per caption says how many captions each image has."""
    directory = tmp_path_factory.mktemp("counts")
    captions = write(directory, counts, repeats="captions" if per_caption else 1)
    split = read_split(str(directory), "test")
    assert_pairs(split, counts, captions)
    assert isinstance(split.captions_per_image, int) == (len(set(counts)) == 1)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), counts=COUNTS, form=st.sampled_from(["row per caption", "image ids"]))
def test_captions_in_any_order_are_paired_by_ids(tmp_path_factory, data, counts, form):
    """With `pairing=ids` the order of the files does not matter, nor that of the rows where their ids are given."""
    directory = tmp_path_factory.mktemp("order")
    order = data.draw(st.permutations(range(sum(counts))))
    if form == "image ids":
        rows = data.draw(st.permutations(range(len(counts))))
        captions = write(directory, counts, order=order, row_order=rows)
    else:
        captions = write(directory, counts, order=order, repeats="captions")
    split = read_split(str(directory), "test", pairing="ids")

    for image, name in enumerate(split.ids):
        number = int(name.removesuffix(".jpg"))
        mine = [split.captions[c] for c in range(split.caption_starts[image], split.caption_starts[image + 1])]
        in_file = [captions[c] for c in order if captions[c].endswith(f" image {number}")]
        assert mine == in_file
        assert split.features[image][0, 0] == 1 + number * REGIONS * WIDTH
    lines = range(1, 1 + sum(counts)) if split.lines is None else split.lines
    assert [captions[order[line - 1]] for line in lines] == split.captions

    original = {caption: [[c % 4, c % 3]] for c, caption in enumerate(captions)}
    assert split.edges == [original[caption] for caption in split.captions]


def tiled(images, each):
    """All first captions of all images, then all second ones, and so on."""
    return [i * each + k for k in range(each) for i in range(images)]


def test_tiled_captions_are_refused_and_can_be_paired_by_ids(tmp_path):
    captions = write(tmp_path, [5] * 4, order=tiled(4, 5))
    with pytest.raises(
        InputError, match=r"test_ids\.txt: line 5: an id that an earlier line has too .*data\.pairing=ids"
    ):
        read_split(str(tmp_path), "test")
    assert_pairs(read_split(str(tmp_path), "test", pairing="ids"), [5] * 4, captions)
    write(tmp_path, [5] * 4, order=tiled(4, 5), repeats="captions", ids="row")  # rows in the order of the captions too
    with pytest.raises(InputError, match=r"test_ids\.txt: line 5: an id that an earlier line has too"):
        read_split(str(tmp_path), "test")
    assert_pairs(read_split(str(tmp_path), "test", pairing="ids"), [5] * 4, captions)


def test_what_the_ids_contradict_is_refused(tmp_path):
    write(tmp_path, [5] * 4)
    ids = tmp_path / "test_ids.txt"
    damage(ids, lambda x: [*x[:4], x[5], *x[5:]])  # the first image has four captions, the second one six: a shift
    assert list(read_split(str(tmp_path), "test").caption_counts) == [4, 6, 5, 5]
    damage(ids, lambda x: [b"%d" % k for k in range(20)])
    with pytest.raises(
        InputError, match=r"test_ids\.txt: names 20 images, but test_ims\.npy holds 4; the line of a cap"
    ):
        read_split(str(tmp_path), "test")
    damage(ids, lambda x: [b"a", b"b", b"c", b"a"])
    with pytest.raises(InputError, match=r"test_ids\.txt: line 4: an id that an earlier line has too .*own"):
        read_split(str(tmp_path), "test")
    write(tmp_path, [5] * 4, repeats="captions", ids="")
    damage(ids, lambda x: [b"%d" % k for k in range(20)])
    with pytest.raises(
        InputError, match=r"ims\.npy: rows 0 and 1: they are equal, but have different ids .* \(16 such neighbours\)"
    ):
        read_split(str(tmp_path), "test")
    names = [0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4]  # the first image under two ids
    damage(ids, lambda x: [b"%d" % k for k in names])
    with pytest.raises(InputError, match=r"rows 0 and 3: they are equal, but have different ids .* \(1 such neigh"):
        read_split(str(tmp_path), "test")


def test_equal_neighbours_that_fit_no_number_of_repeats_are_refused(tmp_path):
    write(tmp_path, [3, 2, 3], repeats="captions", ids="")
    with pytest.raises(InputError, match=r"test_ims\.npy: rows 0\.\.2: they are equal, but other groups"):
        read_split(str(tmp_path), "test")
    write(tmp_path, [1] * 6, ids="")
    damage(tmp_path / "test_ims.npy", lambda x: at(3, x[2])(x))
    with pytest.raises(
        InputError,
        match=r"rows 2\.\.3: they are equal, but other groups of equal rows have other sizes \(1 such groups\); test",
    ):
        read_split(str(tmp_path), "test")
    (tmp_path / "test_ids.txt").write_text("".join(f"{i}\n" for i in range(6)))  # they are two images all the same
    assert read_split(str(tmp_path), "test").num_images == 6
    (tmp_path / "test_ids.txt").unlink()
    damage(tmp_path / "test_ims.npy", lambda x: at(slice(0, 6), x[0])(x))
    with pytest.raises(InputError, match=r"test_ims\.npy: all rows are equal; extract the features again"):
        read_split(str(tmp_path), "test")


def test_ids_of_rows_that_contradict_the_features_are_refused(tmp_path):
    """Rows that are repeated have one id, in `image_ids.txt` too, whatever decides the pairing."""
    write(tmp_path, [2] * 4, repeats="captions", ids="caption")
    (tmp_path / "test_image_ids.txt").write_text("".join(f"{row}.jpg\n" for row in range(8)))
    with pytest.raises(InputError, match=r"test_image_ids\.txt: line 2: an id of another image than the files' order"):
        read_split(str(tmp_path), "test")
    (tmp_path / "test_ids.txt").write_text("".join(f"{row}.jpg\n" for row in range(8)))
    for pairing in ("order", "ids"):
        with pytest.raises(InputError, match=r"rows 0 and 1: they are equal, but (have different ids|count as two)"):
            read_split(str(tmp_path), "test", pairing=pairing)


@pytest.mark.parametrize("pairing", ["order", "ids"])
def test_an_id_for_each_row_of_repeated_rows_is_refused_in_a_large_file_too(tmp_path, monkeypatch, pairing):
    write(tmp_path, [5] * 40, repeats="captions", ids="")
    (tmp_path / "test_ids.txt").write_text("".join(f"{row}.jpg\n" for row in range(200)))
    monkeypatch.setattr(regions, "FULL_SCAN_BYTES", 0)
    monkeypatch.setattr(repeats, "SAMPLED", 3)
    with pytest.raises(InputError, match=r"rows \d+ and \d+: they are equal, but have different ids .*\(160 such"):
        read_split(str(tmp_path), "test", pairing=pairing)


def test_a_file_of_ids_with_a_defect_is_one_defect(tmp_path):
    """It then says nothing that the ids of the rows could contradict."""
    write_all(tmp_path)
    ids = tmp_path / "test_ids.txt"
    (tmp_path / "test_image_ids.txt").write_text(ids.read_text())
    assert check(config_for(tmp_path))[0].lines == []
    damage(ids, lambda x: [*x[:3], b"", *x[4:]])
    (defect,) = check(config_for(tmp_path))[0].records
    assert (defect.path, defect.where, defect.kind) == (str(ids), "line 4", "blank")


@pytest.mark.parametrize("pairing", ["order", "ids"])
def test_an_image_that_a_split_has_twice_may_have_two_ids(tmp_path, pairing):
    """Its groups of rows have the size of all others; groups of other sizes may be one image under two ids."""
    write(tmp_path, [5] * 4, repeats="captions")
    damage(tmp_path / "test_ims.npy", lambda x: np.concatenate([x[:10], x[5:10], x[15:]]))
    assert read_split(str(tmp_path), "test", pairing=pairing).num_images == 4


def test_one_id_for_different_rows_is_refused(tmp_path):
    write(tmp_path, [1] * 4, ids="")
    for names in ("aabb", "abad"):
        (tmp_path / "test_image_ids.txt").write_text("".join(f"{name}.jpg\n" for name in names))
        with pytest.raises(InputError, match=r"test_image_ids\.txt: several images have one id, although their"):
            read_split(str(tmp_path), "test")


def test_rows_that_are_repeated_apart_are_refused(tmp_path):
    """All rows of all images, and then all of them again: without ids they would count as so many images."""
    write(tmp_path, [1] * 12, ids="")
    damage(tmp_path / "test_ims.npy", lambda x: np.concatenate([x[:6], x[:6]]))
    with pytest.raises(InputError, match=r"rows 0 and 6: they are equal, but count as two images \(6 of 12 images"):
        read_split(str(tmp_path), "test")
    (tmp_path / "test_ids.txt").write_text("".join(f"{i % 6}.jpg\n" for i in range(12)))
    split = read_split(str(tmp_path), "test", pairing="ids")
    assert (split.num_images, split.captions_per_image) == (6, 2)


def test_pairing_by_ids_needs_to_know_each_row(tmp_path):
    order = [0, 5, 1, 10, 15, *[c for c in range(20) if c not in (0, 5, 1, 10, 15)]]
    write(tmp_path, [5] * 4, order=order)
    with pytest.raises(InputError, match=r"does not tell which image each row .* is; test_image_ids\.txt with"):
        read_split(str(tmp_path), "test", pairing="ids")
    (tmp_path / "test_image_ids.txt").write_text("0.jpg\n1.jpg\n2.jpg\n")
    with pytest.raises(InputError, match=r"test_image_ids\.txt: 3 lines for 4 rows"):
        read_split(str(tmp_path), "test", pairing="ids")
    (tmp_path / "test_image_ids.txt").write_text("0.jpg\n1.jpg\n2.jpg\n9.jpg\n")
    with pytest.raises(
        InputError, match=r"test_ids\.txt: line 5: an id that test_image_ids\.txt does not have \(5 such"
    ):
        read_split(str(tmp_path), "test", pairing="ids")
    (tmp_path / "test_ids.txt").unlink()
    with pytest.raises(InputError, match=r"test_ids\.txt: no such file; config\.data\.pairing=ids needs a line"):
        read_split(str(tmp_path), "test", pairing="ids")


@pytest.mark.parametrize("k", [1, 2, 5])
def test_repeats_are_found_in_a_large_file_too(tmp_path, monkeypatch, k):
    """The beginnings of all rows are compared then, and few rows as a whole."""
    captions = write(tmp_path, [k] * 9, repeats="captions", ids="image")
    monkeypatch.setattr(regions, "FULL_SCAN_BYTES", 0)
    monkeypatch.setattr(repeats, "SAMPLED", 3)
    monkeypatch.setattr(repeats, "HEAD_BYTES", 8)
    assert_pairs(read_split(str(tmp_path), "test"), [k] * 9, captions)


def test_padding_is_no_region(tmp_path):
    write(tmp_path, [2] * 3)
    features = np.load(tmp_path / "test_ims.npy")
    split = read_split(str(tmp_path), "test")
    images = np.arange(3)
    assert regions.read_regions(split, images)[1].all()
    padded = np.pad(features, ((0, 0), (0, 4), (0, 0)))
    padded[1, 1] = 0
    np.save(tmp_path / "test_ims.npy", padded)
    mask = regions.read_regions(read_split(str(tmp_path), "test"), images)[1]
    assert mask.sum(axis=1).tolist() == [2, 1, 2]
    padded[:, 3] = np.nan  # no region either, but not zero: a file says so
    np.save(tmp_path / "test_ims.npy", padded)
    with pytest.raises(InputError, match="row 0: NaN or Inf"):
        read_split(str(tmp_path), "test")
    np.save(tmp_path / "test_num_regions.npy", np.array([2, 2, 1]))
    found, mask = regions.read_regions(read_split(str(tmp_path), "test"), images)
    assert mask.sum(axis=1).tolist() == [2, 1, 1]
    assert not found[~mask].any()
    np.save(tmp_path / "test_num_regions.npy", np.array([2, 7, 1]))
    with pytest.raises(InputError, match=r"test_num_regions\.npy: row 1: must be a whole number from 1 to 6"):
        read_split(str(tmp_path), "test")


def test_labels_may_end_where_the_regions_end(tmp_path):
    write(tmp_path, [1] * 2)
    damage(tmp_path / "test_ims.npy", at((1, 1), 0.0))
    (tmp_path / "test_labels.json").write_text(json.dumps([["dog", "cat"], ["cat"]]))
    split = read_split(str(tmp_path), "test")
    assert split.label_names == ("cat", "dog")
    assert split.labels[0].tolist() == [1, 0]
    (tmp_path / "test_labels.json").write_text(json.dumps([["dog"], ["cat", ""]]))
    with pytest.raises(InputError, match=r"test_labels\.json: row 0: expected a list of 2 label names"):
        read_split(str(tmp_path), "test")


def test_check_reads_repeats_regions_and_padding_together(tmp_path):
    """Rows that repeat an image are not looked at again, and padding of any values is no defect."""
    write_all(tmp_path, repeats=5)
    for name in ("ims", "boxes"):
        pad = lambda x: np.pad(x, ((0, 0), (0, 2), (0, 0)), constant_values=np.nan)  # noqa: E731
        damage(tmp_path / f"test_{name}.npy", pad)
    np.save(tmp_path / "test_num_regions.npy", np.array([3, 1, 3, 3, 2, 3]))
    damage(tmp_path / "test_labels.json", lambda x: [names[: 1 if i // 5 == 1 else 3] for i, names in enumerate(x)])
    defects, splits = check(config_for(tmp_path))
    assert defects.lines == []
    assert describe(splits[2]).startswith("test: 6 images of 5 x 6 float32 (1 in 1, 2 in 1, 3 in 4 images), rows of")


def test_equal_first_regions_are_no_leak(tmp_path):
    """A detector may give the whole image of a grey picture first: all regions are compared."""
    write_all(tmp_path)
    train = np.load(tmp_path / "train_ims.npy")
    damage(tmp_path / "test_ims.npy", at((slice(None), 0), train[0, 0]))
    assert check(config_for(tmp_path))[0].lines == []


def test_check_says_how_many_images_have_how_many_regions_and_captions(tmp_path):
    write_all(tmp_path)
    damage(tmp_path / "dev_ims.npy", lambda x: at((slice(0, 2), 2), 0.0)(x))
    counts = [5, 5, 5, 5, 4, 6]
    lines = [f"dev{i}.jpg".encode() for i, n in enumerate(counts) for _ in range(n)]
    damage(tmp_path / "dev_ids.txt", lambda _: lines)
    defects, splits = check(config_for(tmp_path))
    assert defects.lines == []
    assert describe(splits[1]) == (
        "dev: 6 images of 3 x 6 float32 (2 in 2, 3 in 4 images), 30 captions (4 in 1, 5 in 4, 6 in 1 images, at most 7 "
        "words), with boxes, labels, edges"
    )


def test_content_decides_what_is_a_leak(tmp_path):
    write_all(tmp_path)
    (tmp_path / "test_ids.txt").write_text((tmp_path / "train_ids.txt").read_text())  # numbered alike, other images
    assert check(config_for(tmp_path))[0].lines == []
    train = np.load(tmp_path / "train_ims.npy")
    damage(tmp_path / "test_ims.npy", lambda x: at(4, train[2])(x).astype(np.float16))  # under another id, as float16
    (defect,) = check(config_for(tmp_path))[0].records
    assert (defect.kind, defect.path) == ("leak", str(tmp_path / "test_ims.npy"))
    assert (
        "1 images are in split train too (first: image 4, id train4.jpg, there image 2, id train2.jpg)" in defect.text
    )
    write_all(tmp_path)
    damage(tmp_path / "test_ims.npy", lambda x: at(4, x[1])(x))
    (defect,) = check(config_for(tmp_path))[0].records
    assert (defect.kind, defect.where) == ("twice", "")
    assert "earlier image: 1 of 6 (first: image 4, id test4.jpg, as image 1, id test1.jpg)" in defect.text


def test_a_few_images_that_published_data_have_twice_are_noted(tmp_path, monkeypatch):
    write_all(tmp_path)
    damage(tmp_path / "train_ims.npy", lambda x: at(4, x[1])(x))
    monkeypatch.setattr(together, "FEW_TWICE", 0.2)
    defects, _ = check(config_for(tmp_path))
    assert defects.lines == []
    assert defects.notes[0].startswith("train: images with the features of an earlier image: 1 of 6 (first: image 4")


def test_real_data_have_one_image_twice(f8k):
    defects, _ = check(config_for(f8k))
    assert defects.lines == []
    assert "train: images with the features of an earlier image: 1 of 3000 (first: image 674" in defects.notes[0]
