"""The caption files of the field, their splits, and the number of captions of an image."""

import json
import pathlib

import pytest

from itm_jax.errors import InputError
from itm_jax.vision.caption_files import read_items
from itm_jax.vision.items import Item, safe_name
from itm_jax.vision.splits import same_number, split_items

TWO = [("a.jpg", ["a dog", "a brown dog"], "train"), ("b.jpg", ["a cat", "two cats , one black"], "dev")]


def karpathy(images=TWO):
    return {
        "dataset": "f30k",
        "images": [
            {"filename": name, "split": split, "sentences": [{"raw": c, "tokens": c.split()} for c in captions]}
            for name, captions, split in images
        ],
    }


def coco(images=TWO):
    return {
        "images": [{"id": k, "file_name": name} for k, (name, _, _) in enumerate(images)],
        "annotations": [
            {"id": 9, "image_id": k, "caption": c} for k, (_, captions, _) in enumerate(images) for c in captions
        ],
    }


FORMS = {
    "karpathy.json": json.dumps(karpathy()),
    "coco.json": json.dumps(coco()),
    "results.token": "".join(f"{n}#{k}\t{c}\n" for n, cs, _ in TWO for k, c in enumerate(cs)),
    "captions.csv": "image,caption\n" + "".join(f'{n},"{c}"\n' for n, cs, _ in TWO for c in cs),
    "results.csv": "image_name| comment_number| comment\n"
    + "".join(f"{n}| {k}| {c}\n" for n, cs, _ in TWO for k, c in enumerate(cs)),
    "captions.tsv": "file_name\tsplit\ttext\n" + "".join(f"{n}\t{s}\t{c}\n" for n, cs, s in TWO for c in cs),
    "one.jsonl": "".join(json.dumps({"image": n, "caption": c, "split": s}) + "\n" for n, cs, s in TWO for c in cs),
    "lists.jsonl": "".join(json.dumps({"image": n, "captions": cs}) + "\n\n" for n, cs, _ in TWO),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_images_and_captions(tmp_path, name):
    path = tmp_path / name
    path.write_text("\ufeff" + FORMS[name] if name == "captions.csv" else FORMS[name], encoding="utf-8")
    items = read_items(path)
    assert [(i.image, list(i.captions)) for i in items] == [(n, cs) for n, cs, _ in TWO]
    with_splits = name in ("karpathy.json", "captions.tsv", "one.jsonl")
    assert [i.split for i in items] == (["train", "dev"] if with_splits else [None, None])


def test_names_of_splits_are_ours_and_folders_are_kept(tmp_path):
    path = tmp_path / "dataset_coco.json"
    images = [(f"{k}.jpg", ["a"], split) for k, split in enumerate(("restval", "val", "test", "train"))]
    value = karpathy(images)
    value["images"][0]["filepath"] = "val2014"
    path.write_text(json.dumps(value))
    items = read_items(path)
    assert [i.split for i in items] == ["train", "dev", "test", "train"]
    assert items[0].image == "val2014/0.jpg"


BAD = {
    "empty.json": ("", "empty"),
    "broken.json": ("{'images': []}", "not JSON"),
    "other.json": ('{"pictures": []}', "no list of images"),
    "neither.json": ('{"images": [{"id": 1}]}', "no sentences"),
    "header.csv": ("a.jpg,a dog\nb.jpg,a cat\n", "line 1: no header"),
    "short.csv": ("image,caption\na.jpg,a dog\nb.jpg\n", "line 3: 1 columns"),
    "comma.csv": ("image,caption\na.jpg,a dog, brown\n", "line 2: 3 columns"),
    "blank.csv": ("image,caption\na.jpg,\n", "line 2: a blank caption"),
    "noname.csv": ("image,caption\n,a dog\n", "line 2: the name of the image is missing"),
    "up.csv": ("image,caption\n../a.jpg,a dog\n", "line 2: '../a.jpg' is not the name of a file inside"),
    "root.csv": ("image,caption\n/etc/passwd,a dog\n", "line 2: '/etc/passwd' is not the name"),
    "windows.csv": ("image,caption\nc:\\a.jpg,a dog\n", "is not the name"),
    "odd.token": ("a.jpg#0\ta dog\nno tab here\n", "line 2: expected NAME.jpg#0"),
    "odd.jsonl": ('{"image": "a.jpg", "caption": "x"}\n[1, 2]\n', "line 2: expected an object"),
    "cut.jsonl": ('{"image": "a.jpg", "caption": "x"}\n{"image": ', "line 2: not JSON"),
    "number.jsonl": ('{"image": "a.jpg", "caption": 5}\n', "line 1: the caption is 5, expected text"),
    "half.jsonl": (
        '{"image": "a.jpg", "caption": "a \\ud83d"}\n',
        "line 1: the caption 'a \\ud83d' has an invalid character",
    ),
    "halfname.jsonl": ('{"image": "a\\ud83d.jpg", "caption": "x"}\n', "line 1: 'a\\ud83d.jpg' is not the name"),
    "quote.csv": ('image,caption\na.jpg,"a dog\nb.jpg,a cat\n', "line"),
    "lines.csv": ('image,caption\na.jpg,"a dog\nb.jpg,a cat"\n', "several lines"),
    "cell.csv": ("image,caption\na.jpg,nan\n", "line 2: the caption is 'nan', an empty cell"),
    "file.jsonl": ('{"image": "a.jpg", "caption": "a.jpg#0 a dog"}\n', "begins with the name of an image"),
    "twice.jsonl": ('{"images": []}\n', "line 1: the name of the image is missing"),
    "two.jsonl": (
        '{"image": "a.jpg", "caption": "x", "split": "train"}\n{"image": "a.jpg", "caption": "y", "split": "test"}\n',
        "line 2: a.jpg is in the split test here, but in train at line 1",
    ),
    "split.jsonl": ('{"image": "a.jpg", "caption": "x", "split": "my/split"}\n', "no plain word"),
    "orphan.json": (
        json.dumps({"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 2, "caption": "x"}]}),
        "annotations[0]: its image_id is not among the images",
    ),
    "twice.json": (
        json.dumps({"images": [{"id": 1, "file_name": "a.jpg"}] * 2, "annotations": []}),
        "images[1]: has the id 1 of an earlier image",
    ),
    "list.json": (json.dumps({"images": [{"id": [1], "file_name": "a"}], "annotations": [7]}), "annotations[0]"),
    "sentence.json": (
        json.dumps({"images": [{"filename": "a", "sentences": [{}]}]}),
        "sentences[0]: the caption is None, expected text",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_in_a_file_is_named_with_its_place(tmp_path, name):
    text, message = BAD[name]
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_items(path)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{path}: ")


def test_a_quotation_mark_in_a_table_with_bars_joins_no_lines(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text('image_name| comment_number| comment\na.jpg| 0| "big" dog\nb.jpg| 0| a "red cat\n')
    assert [(i.image, i.captions) for i in read_items(path)] == [("a.jpg", ('"big" dog',)), ("b.jpg", ('a "red cat',))]


def test_only_a_line_feed_ends_a_line(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(
        '{"image": "a.jpg", "caption": "a\u2028b\u0085c"}\r\n{"image": "b.jpg", "caption": "x"}\r\n'.encode()
    )
    assert [i.captions for i in read_items(path)] == [("a b c",), ("x",)]


def test_an_image_that_is_listed_twice(tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(karpathy([TWO[0], TWO[0]])))
    with pytest.raises(InputError, match=r"images\[1\]: a.jpg is listed twice \(first at images\[0\]\)"):
        read_items(path)


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"image,caption\na.jpg,\xff\xfe\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_items(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_items(tmp_path / "none.csv")


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "~/x", "a\\b", "a\nb", "", None, 5])
def test_names_that_leave_the_folder(name):
    with pytest.raises(InputError):
        safe_name(name, pathlib.Path("f"), "line 1")


def items(count, split=None, captions=2):
    return [Item(f"{k}.jpg", ("c",) * captions, split, f"line {k + 1}") for k in range(count)]


def test_splits_by_lists_by_draw_and_by_the_file(tmp_path):
    source = pathlib.Path("captions")
    lists = {"train": tmp_path / "t", "dev": tmp_path / "d"}
    lists["train"].write_text("0.jpg\n3\n")  # without the ending, as Flickr8k's lists may be
    lists["dev"].write_text("1.jpg\n\n")
    found = split_items(items(4), source, lists=lists, draw={}, seed=0)
    assert {k: [i.image for i in v] for k, v in found.items()} == {"train": ["0.jpg", "3.jpg"], "dev": ["1.jpg"]}
    drawn = split_items(items(50), source, lists={}, draw={"dev": 5, "test": 10}, seed=1)
    assert {k: len(v) for k, v in drawn.items()} == {"train": 35, "dev": 5, "test": 10}
    assert {i.image for v in drawn.values() for i in v} == {i.image for i in items(50)}
    assert drawn == split_items(items(50), source, lists={}, draw={"dev": 5, "test": 10}, seed=1)
    assert drawn != split_items(items(50), source, lists={}, draw={"dev": 5, "test": 10}, seed=2)
    usual = split_items(items(50), source, lists={}, draw={}, seed=0)
    assert {k: len(v) for k, v in usual.items()} == {"train": 40, "dev": 5, "test": 5}
    assert list(split_items(items(3, "train"), source, lists={}, draw={}, seed=0)) == ["train"]


def test_splits_that_cannot_be_made_are_named(tmp_path):
    source = pathlib.Path("captions")
    (tmp_path / "l").write_text("0.jpg\n9.jpg\n")
    (tmp_path / "twice").write_text("0.jpg\n0\n")
    (tmp_path / "empty").write_text("\n")
    make = lambda found, lists=(), draw=None: split_items(  # noqa: E731
        found, source, lists=dict(lists), draw=draw or {}, seed=0
    )
    with pytest.raises(InputError, match=r"line 2: 9\.jpg is not among"):
        make(items(3), {"dev": tmp_path / "l"})
    with pytest.raises(InputError, match="already"):
        make(items(3), {"dev": tmp_path / "twice"})
    with pytest.raises(InputError, match="empty"):
        make(items(3), {"dev": tmp_path / "empty"})
    with pytest.raises(InputError, match="cannot be read"):
        make(items(3), {"dev": tmp_path / "none"})
    with pytest.raises(InputError, match="has no split"):
        make([*items(2), Item("x.jpg", ("c",), "train", "line 9")])
    with pytest.raises(InputError, match="only 3"):
        make(items(3), draw={"dev": 3})
    with pytest.raises(InputError, match="says itself"):
        make(items(3, "train"), draw={"dev": 1})
    with pytest.raises(InputError, match="no effect beside --split_lists"):
        make(items(3), {"dev": tmp_path / "l"}, {"test": 1})
    with pytest.raises(InputError, match="train is what is left"):
        make(items(3), draw={"train": 1})
    with pytest.raises(InputError, match="two names of one split"):
        make(items(3), draw={"dev": 1, "val": 1})
    with pytest.raises(InputError, match="too few to draw from"):
        make(items(9))
    with pytest.raises(InputError, match="no image has a caption"):
        make([])
    (tmp_path / "short").write_text("1.jpg\n")
    folders = [Item(f"{folder}/1.jpg", ("c",), None, "line 1") for folder in ("a", "b")]
    with pytest.raises(InputError, match=r"1\.jpg is the name of 2 images"):
        make(folders, {"dev": tmp_path / "short"})
    assert list(make(folders[:1], {"val": tmp_path / "short"})) == ["dev"]


def test_the_number_of_captions():
    source = pathlib.Path("captions")
    mixed = [*items(3, captions=5), Item("x.jpg", ("a", "b"), None, "line 9")]
    with pytest.raises(InputError, match=r"1 have 2, 3 have 5.*--captions_per_image"):
        same_number(mixed, source, None)
    kept, few = same_number(mixed, source, 3)
    assert [len(i.captions) for i in kept] == [3, 3, 3]
    assert [i.image for i in few] == ["x.jpg"]
    assert same_number(items(3), source, None) == (items(3), [])
    with pytest.raises(InputError, match="at most 5"):
        same_number(mixed, source, 6)
    with pytest.raises(InputError, match="no image has a caption"):
        same_number([], source, 5)
