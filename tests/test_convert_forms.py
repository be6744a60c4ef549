"""Other forms of region features: bottom-up attention's TSV and npz, TERAN's folders, Karpathy's file, GSMN's boxes."""

import base64
import json

import numpy as np
import pytest
from PIL import Image
from support.commands import command

from itm_jax.data.forms.bottom_up import Row
from itm_jax.data.forms.write_precomp import Places
from itm_jax.data.precomp.reader import read_split
from itm_jax.errors import InputError
from itm_jax.vision.items import Item

NAMES = {
    "train": ["COCO_val2014_000000000042.jpg", "COCO_val2014_000000000007.jpg"],
    "dev": ["COCO_val2014_000000000100.jpg"],
}


@pytest.fixture
def made(tmp_path, rng):
    """Three images with 5, 3 and 8 regions, and Karpathy's file of their captions."""
    images = {n: rng.standard_normal((k, 6)).astype(np.float32) for n, k in zip((42, 7, 100), (5, 3, 8), strict=True)}
    corners = {n: rng.uniform(0, 50, (len(f), 2)).astype(np.float32) for n, f in images.items()}
    boxes = {n: np.concatenate([c, c + 40], axis=1) for n, c in corners.items()}  # pixels of an image of 100 x 200
    value = {"images": []}
    for split, names in NAMES.items():
        for name in names:
            sentences = [{"raw": f"caption {k} of {name}"} for k in range(5)]
            split_name = "val" if split == "dev" else "restval"
            value["images"].append(
                {"filepath": "val2014", "filename": name, "split": split_name, "sentences": sentences}
            )
    (tmp_path / "dataset_coco.json").write_text(json.dumps(value))
    return tmp_path, images, boxes


def line(name, features, boxes, /, **changes):
    values = {"image_id": name, "image_w": 100, "image_h": 200, "num_boxes": len(features)}
    values |= {k: base64.b64encode(v.tobytes()).decode() for k, v in (("boxes", boxes), ("features", features))}
    return "\t".join(str(v) for v in (values | changes).values()) + "\n"


def convert(path, *flags, word="bottom_up"):
    return command(
        word, f"--captions={path / 'dataset_coco.json'}", f"--out={path / 'out'}", *flags, module="itm_jax.convert"
    )


def check_arrays(path, images, boxes, regions):
    for split, numbers in {"train": (42, 7), "dev": (100,)}.items():
        found = np.load(path / "out" / f"{split}_ims.npy")
        assert found.shape == (len(numbers), regions, 6)
        read = read_split(str(path / "out"), split)
        for k, n in enumerate(numbers):
            count = min(len(images[n]), regions)
            np.testing.assert_array_equal(found[k, :count], images[n][:count])
            assert not found[k, count:].any()
            if boxes is not None:
                whole = boxes[n][:count] / np.float32([100, 200, 100, 200])
                np.testing.assert_allclose(read.boxes[k, :count], whole, atol=1e-6)
            assert read.captions[5 * k].startswith("caption 0 of COCO")
        if any(len(images[n]) < regions for n in numbers):
            np.testing.assert_array_equal(read.num_regions, [min(len(images[n]), regions) for n in numbers])
        else:
            assert not (path / "out" / f"{split}_num_regions.npy").exists()


@pytest.mark.parametrize("regions", [8, 4, 3])
def test_a_tsv_of_bottom_up_attention_gives_its_own_arrays(made, regions):
    path, images, boxes = made
    lines = [line(n, images[n], boxes[n]) for n in (100, 42, 7)]
    (path / "a.tsv").write_text(lines[0] + line(99999, images[7], boxes[7]))  # an image that no split has
    (path / "b.tsv").write_text("".join(lines[1:]))
    code, out, err = convert(path, f"--tsv={path / 'a.tsv'},{path / 'b.tsv'}", f"--regions={regions}")
    assert code == 0, err
    assert "train 2 images" in out
    check_arrays(path, images, boxes, regions)


def test_the_tsv_with_objects_and_attributes_is_read_too(made):
    path, images, boxes = made
    encode = lambda x: base64.b64encode(np.asarray(x).tobytes()).decode()  # noqa: E731
    with (path / "a.tsv").open("w") as file:
        for n, features in images.items():
            some = encode(np.zeros(len(features), np.float32))
            cells = [n, 200, 100, some, some, some, some, len(features), encode(boxes[n]), encode(features)]
            file.write("\t".join(map(str, cells)) + "\n")
    code, _, err = convert(path, f"--tsv={path / 'a.tsv'}", "--regions=8")
    assert code == 0, err
    check_arrays(path, images, boxes, 8)


def test_a_folder_of_npz_files_and_the_boxes_of_teran(made):
    path, images, boxes = made
    (path / "npz").mkdir()
    (path / "att").mkdir()
    (path / "box").mkdir()
    for n, features in images.items():
        odd = np.array([{"objects": 1}], dtype=object)  # pickled, as `info` in the published files; it is not read
        np.savez(path / "npz" / f"{n}.npz", x=features, bbox=boxes[n], image_w=100, image_h=200, info=odd)
        np.savez(path / "att" / f"{n}.npz", feat=features)
        np.save(path / "box" / f"{n}.npy", boxes[n])  # in pixels
    code, _, err = convert(path, f"--npz={path / 'npz'}", "--regions=8")
    assert code == 0, err
    check_arrays(path, images, boxes, 8)
    (path / "out").rename(path / "first")
    teran = [f"--npz={path / 'att'}", f"--box_dir={path / 'box'}", "--regions=8"]
    code, _, err = convert(path, *teran)
    assert code == 2
    assert "boxes in pixels; pass --images=DIR" in err[-1]
    for name in (name for names in NAMES.values() for name in names):
        (path / "images" / "val2014").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 200)).save(path / "images" / "val2014" / name)
    code, _, err = convert(path, *teran, f"--images={path / 'images'}")
    assert code == 0, err
    check_arrays(path, images, boxes, 8)
    (path / "out").rename(path / "second")
    code, _, err = convert(path, f"--npz={path / 'att'}", "--regions=8", "--dtype=float16")
    assert code == 0, err
    assert not (path / "out" / "train_boxes.npy").exists()
    assert np.load(path / "out" / "train_ims.npy").dtype == np.float16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": "AAAA*"}, "line 1: features: not base64"),
        ({"features": "AAAA"}, "3 bytes are no multiple of 5 rows"),
        ({"boxes": base64.b64encode(np.zeros(15, np.float32).tobytes()).decode()}, "boxes have 3 numbers"),
        ({"boxes": base64.b64encode(np.full(20, 900, np.float32).tobytes()).decode()}, "beyond the image"),
        ({"features": base64.b64encode(np.full(30, np.nan, np.float32).tobytes()).decode()}, "NaN"),
        ({"num_boxes": "five"}, "must be numbers"),
        ({"num_boxes": 0}, "num_boxes is 0"),
        ({"num_boxes": 10**9}, "num_boxes is 1000000000"),
        ({"image_w": -3}, "-3 x 200"),
        ({"extra": 1}, "7 columns"),
    ],
)
def test_a_damaged_line_is_named(made, change, message):
    path, images, boxes = made
    (path / "a.tsv").write_text(line(42, images[42], boxes[42], **change))
    code, _, err = convert(path, f"--tsv={path / 'a.tsv'}")
    assert code == 2
    assert message in err[-1]
    assert not (path / "out" / "train_ims.npy").exists()


def test_missing_and_double_images_are_named(made):
    path, images, boxes = made
    lines = {n: line(n, images[n], boxes[n]) for n in images}
    (path / "a.tsv").write_text(lines[42] + lines[100])
    code, _, err = convert(path, f"--tsv={path / 'a.tsv'}")
    assert code == 2
    assert "COCO_val2014_000000000007.jpg: no regions of this image were found" in err[-1]
    (path / "a.tsv").write_text(lines[42] * 2)
    code, _, err = convert(path, f"--tsv={path / 'a.tsv'}")
    assert code == 2
    assert "line 2: a second row" in err[-1]
    narrow = images | {7: images[7][:, :4].copy()}
    (path / "a.tsv").write_text("".join(line(n, narrow[n], boxes[n]) for n in (42, 7, 100)))
    code, _, err = convert(path, f"--tsv={path / 'a.tsv'}")
    assert code == 2
    assert "4 wide, earlier ones 6" in err[-1]
    (path / "a.tsv").write_text("".join(lines.values()))
    assert convert(path, f"--tsv={path / 'a.tsv'}")[0] == 0
    code, _, err = convert(path, f"--tsv={path / 'a.tsv'}")
    assert code == 2
    assert "exists already" in err[-1]
    code, _, err = convert(path)
    assert code == 2
    assert "pass one of them" in err[-1]
    code, _, err = convert(path, f"--tsv={path / 'none.tsv'}", f"--out={path / 'o2'}")
    assert code == 2
    assert "cannot be read" in err[-1]
    code, _, err = convert(path, f"--npz={path / 'out'}", f"--out={path / 'o3'}")
    assert code == 2
    assert "no .npz file" in err[-1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an intact .npz file"),
        (b"PK\x03\x04 cut", "not an intact .npz file"),
        ({"x": np.zeros((5, 6)), "bbox": np.zeros((5, 5)), "image_w": 1, "image_h": 1}, "expected (5, 4)"),
        ({"x": np.zeros((5, 6)), "bbox": np.zeros((5, 4)), "image_w": [1, 2], "image_h": 1}, "one number each"),
        ({"x": np.zeros((5, 6)), "bbox": np.zeros((5, 4))}, "without image_w and image_h"),
        ({"x": np.zeros(6)}, "no features [regions, width]"),
        ({"y": np.zeros((5, 6))}, "no features [regions, width]"),
    ],
)
def test_a_damaged_npz_is_named(made, content, message):
    path, _, _ = made
    (path / "npz").mkdir()
    if isinstance(content, bytes):
        (path / "npz" / "42.npz").write_bytes(content)
    else:
        np.savez(path / "npz" / "42.npz", **content)
    code, _, err = convert(path, f"--npz={path / 'npz'}")
    assert code == 2
    assert "42.npz" in err[-1]
    assert message in err[-1]


def test_captions_without_splits_are_refused(made):
    path, _, _ = made
    (path / "captions.csv").write_text("image,caption\na.jpg,a dog\nb.jpg,a cat\n")
    code, _, err = convert(path, f"--captions={path / 'captions.csv'}", word="karpathy")
    assert code == 2
    assert "line 2: a.jpg has no split; add the splits" in err[-1]


def test_rows_find_their_images_and_no_others():
    items = {
        "train": [
            Item("a/dog1.jpg", ("c",), None, "1", 7),
            Item("COCO_val2014_000000000042.jpg", ("c",), None, "2", 8),
        ],
        "dev": [Item("x/same.jpg", ("c",), None, "3", 9), Item("y/same.jpg", ("c",), None, "4", 10)],
    }
    places = Places(items)
    find = lambda name: places.find(Row(name, np.zeros((1, 2), np.float32), None, "row"))  # noqa: E731
    assert find("42") == ("train", 1)
    assert find("000042") == ("train", 1)
    assert find("dog1") == ("train", 0)
    assert find("7") == ("train", 0)  # its number in Karpathy's file
    assert find("cat1") is None  # another image with the same number
    assert find("99") is None
    with pytest.raises(InputError, match="2 images have this name"):
        find("same")


def test_files_that_are_there_are_not_overwritten(made):
    path, images, boxes = made
    assert convert(path, word="karpathy")[0] == 0
    assert convert(path, word="karpathy")[0] == 0  # the same content again
    (path / "out" / "dev_ids.txt").write_text("mine\n")
    code, _, err = convert(path, word="karpathy")
    assert code == 2
    assert "dev_ids.txt: exists already with other content" in err[-1]
    (path / "out" / "dev_ids.txt").unlink()
    (path / "out" / "train_labels.json").write_text("[]")
    (path / "a.tsv").write_text("".join(line(n, images[n], boxes[n]) for n in images))
    code, _, err = convert(path, f"--tsv={path / 'a.tsv'}")
    assert code == 2
    assert "train_labels.json: exists already" in err[-1]


def test_karpathys_file_alone_gives_captions_and_names(made):
    path, _, _ = made
    code, out, err = convert(path, word="karpathy")
    assert code == 0, err
    assert "dev 1 images" in out
    ids = (path / "out" / "train_ids.txt").read_text().split()
    assert ids == [f"val2014/{name}" for name in NAMES["train"]]
    assert len((path / "out" / "train_caps.txt").read_text().splitlines()) == 10


def test_boxes_of_gsmn_become_ours(tmp_path, rng):
    (tmp_path / "images").mkdir()
    for n, size in enumerate(((100, 50), (60, 80))):
        Image.new("RGB", size).save(tmp_path / "images" / f"{n}.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 90)).save(tmp_path / "images" / "2.jpg", exif=exif)
    boxes = rng.uniform(0, 40, (3, 4, 4)).astype(np.float64)
    np.save(tmp_path / "train_ims_bbx.npy", boxes)
    (tmp_path / "train_ids.txt").write_text("".join(f"{n}\n" * 5 for n in range(3)))
    flags = ["gsmn_boxes", f"--precomp={tmp_path}", f"--images={tmp_path / 'images'}"]
    code, _, err = command(*flags, module="itm_jax.convert")
    assert code == 0, err
    np.testing.assert_array_equal(np.load(tmp_path / "train_boxes.npy"), boxes.astype(np.float32))
    np.testing.assert_array_equal(np.load(tmp_path / "train_img_sizes.npy"), [[100, 50], [60, 80], [90, 40]])
    code, _, err = command(*flags, module="itm_jax.convert")
    assert code == 2
    assert "exists already" in err[-1]
    (tmp_path / "images" / "1.jpg").write_bytes(b"x")
    (tmp_path / "train_boxes.npy").unlink()
    (tmp_path / "train_img_sizes.npy").unlink()
    code, _, err = command(*flags, module="itm_jax.convert")
    assert code == 2
    assert "1.jpg: not an image" in err[-1]
