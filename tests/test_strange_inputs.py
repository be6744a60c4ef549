"""Inputs that people have and that once gave a number: each is refused or named, by file and line."""

import json
import re
import shutil

import numpy as np
import pytest
from support.data_sets import SPLITS, config_for, write_all
from support.precomp import at, damage

from itm_jax.checks.run import check
from itm_jax.data.precomp.reader import read_split
from itm_jax.data.text.text_input import SCENES_VOCAB
from itm_jax.errors import InputError
from itm_jax.training import loop as training

pytestmark = pytest.mark.usefixtures("one_device")


FORMS = {
    "header": (lambda x: [b"caption", *x[:-1]], "header", "line 1"),
    "quotes": (lambda x: [b'"%s"' % line for line in x], "quotes", "line 1"),
    "columns": (lambda x: [b"%d,%d,%s" % (i // 5, i % 5, line) for i, line in enumerate(x)], "table", "line 1"),
    "tabs": (lambda x: [b"%d\t%s" % (1000 + i // 5, line) for i, line in enumerate(x)], "table", "line 1"),
    "tokens": (lambda x: [b"10_abc#%d\t%s" % (i % 5, line) for i, line in enumerate(x)], "file-name", "line 1"),
    "json": (lambda x: [json.dumps({"image": i, "caption": "a"}).encode() for i, _ in enumerate(x)], "json", "line 1"),
    "lists": (lambda x: [str(line.decode().split()).encode() for line in x], "json", "line 1"),
    "bytes": (lambda x: [str(line).encode() for line in x], "bytes", "line 1"),
    "empty cells": (lambda x: [line if i % 3 else b"nan" for i, line in enumerate(x)], "blank", "line 1"),
}


@pytest.mark.parametrize("form", FORMS)
def test_lines_that_are_no_captions_are_refused(tmp_path, form):
    change, kind, where = FORMS[form]
    write_all(tmp_path)
    damage(tmp_path / "test_caps.txt", change)
    (tmp_path / "test_dependencies.json").unlink()
    first = check(config_for(tmp_path))[0].records[0]
    assert (first.kind, first.where, first.path) == (kind, where, str(tmp_path / "test_caps.txt"))
    with pytest.raises(InputError, match=rf"test_caps\.txt: {where}: "):
        read_split(str(tmp_path), "test")


def test_captions_that_only_look_strange_are_read(tmp_path):
    write_all(tmp_path)
    lines = [
        "2,000,000 balloons in the sky",
        '"hello" says a man',
        "a sign says nan",
        "no #1 fan",
        "b 'quoted' text",
        "[cat] sits",
    ]
    damage(tmp_path / "test_caps.txt", lambda x: [line.encode() for line in lines] * 5)
    (tmp_path / "test_dependencies.json").unlink()
    assert list(read_split(str(tmp_path), "test").captions) == lines * 5


def test_boxes_that_are_fractions_already_and_sizes_that_are_wrong(tmp_path):
    write_all(tmp_path)
    sizes = tmp_path / "test_img_sizes.npy"
    np.save(sizes, np.tile([640, 480], (6, 1)))
    (defect,) = check(config_for(tmp_path))[0].records
    assert "they are fractions already; correct or remove test_img_sizes.npy" in defect.text
    damage(tmp_path / "test_boxes.npy", lambda x: x * 300)
    np.save(sizes, np.tile([64000, 48000], (6, 1)))
    (defect,) = check(config_for(tmp_path))[0].records
    assert re.search(r"none reaches beyond 0\.00\d+ of its image", defect.text)


def test_boxes_and_nan_of_padding_are_not_looked_at(tmp_path):
    write_all(tmp_path)
    for split in SPLITS:
        damage(tmp_path / f"{split}_ims.npy", at((slice(None), 2), np.nan))
        np.save(tmp_path / f"{split}_num_regions.npy", np.full(6, 2))
        damage(
            tmp_path / f"{split}_boxes.npy", at((slice(None), 2), {"train": -1.0, "dev": np.nan, "test": 7.0}[split])
        )
    defects, splits = check(config_for(tmp_path))
    assert defects.lines == []
    assert not splits[0].boxes[:, 2].any()
    damage(tmp_path / "test_boxes.npy", at((1, 1), -1.0))  # a valid region
    assert [x.where for x in check(config_for(tmp_path))[0].records] == ["row 1"]


def test_large_and_small_features_are_not_mistaken_for_each_other(tmp_path):
    for change in (lambda x: np.abs(x) * 1e5 + 7e4, lambda x: x * 1e-9):
        write_all(tmp_path)
        for split in SPLITS:
            damage(tmp_path / f"{split}_ims.npy", change)
        assert check(config_for(tmp_path))[0].lines == []


def test_an_image_without_regions_stops_every_command(tmp_path):
    write_all(tmp_path)
    damage(tmp_path / "train_ims.npy", at(2, 0.0))
    with pytest.raises(InputError, match=r"train_ims\.npy: row 2: all features are zero"):
        training.train(config_for(tmp_path), tmp_path / "run")


@pytest.mark.parametrize(
    "companion", ["ids.txt", "boxes.npy", "labels.json", "dependencies.json", "num_regions.npy", "img_sizes.npy"]
)
def test_a_broken_link_is_not_a_missing_file(tmp_path, companion):
    write_all(tmp_path)
    path = tmp_path / f"test_{companion}"
    path.unlink(missing_ok=True)
    path.symlink_to("/nowhere")
    assert any("a link to /nowhere, which does not exist" in x for x in check(config_for(tmp_path))[0].lines)


def test_files_that_are_not_read_are_named(tmp_path):
    write_all(tmp_path)
    (tmp_path / "precomp").mkdir()
    (tmp_path / "test_ids.txt").rename(tmp_path / "precomp" / "test_ids.txt")
    np.save(tmp_path / "dev_num_boxes.npy", np.full(6, 2))
    (tmp_path / "train_ids.txt").rename(tmp_path / "train_IDS.txt")
    lines = check(config_for(tmp_path))[0].lines
    assert len(lines) == 3
    assert any(f"test_ids.txt: not read, because the features of test are in {tmp_path}" in x for x in lines)
    assert any("dev_num_boxes.npy: not read; should its name be dev_num_regions.npy?" in x for x in lines)
    assert any("train_IDS.txt: not read; should its name be train_ids.txt?" in x for x in lines)


def test_captions_of_another_split_are_a_leak(tmp_path):
    write_all(tmp_path)
    shutil.copy(tmp_path / "train_caps.txt", tmp_path / "test_caps.txt")
    (defect,) = check(config_for(tmp_path))[0].records
    assert defect.kind == "leak"
    assert "6 images have all captions of images in split train" in defect.text


def test_ids_of_rows_that_contradict_the_order(tmp_path):
    write_all(tmp_path)
    (tmp_path / "test_image_ids.txt").write_text("".join(f"test{i}.jpg\n" for i in (3, 1, 0, 5, 4, 2)))
    for pairing in ("order", "ids"):
        (first, *_) = check(config_for(tmp_path, data__pairing=pairing))[0].records
        assert (first.path, first.where, first.kind) == (str(tmp_path / "test_image_ids.txt"), "line 1", "differs")


def test_a_split_of_another_scale_is_named(tmp_path):
    write_all(tmp_path)
    damage(tmp_path / "test_ims.npy", lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True) / 10)
    (defect,) = check(config_for(tmp_path))[0].records
    assert defect.kind == "differs"
    assert re.match(r"its features are 0\.0\d+ times as large as those of .*train_ims\.npy; extract both", defect.text)


def test_labels_that_training_never_sees_and_edges_from_1_are_noted(tmp_path):
    write_all(tmp_path)
    (tmp_path / "test_labels.json").write_text(json.dumps([["zebra", "yak", "emu"]] * 6))
    for split in SPLITS:
        (tmp_path / f"{split}_dependencies.json").write_text(json.dumps([[[1, 2], [4, 3]]] * 30))
    model = {"model__name": "cpfean", "model__graph__heads": 2, "model__words__graph": "sparse"}
    defects, _ = check(config_for(tmp_path, **model))
    assert defects.lines == []
    assert "test: 100% of the labels are names that train lacks" in defects.notes
    assert sum("no dependency edge names word 0" in note for note in defects.notes) == 3


def test_a_vocabulary_with_a_word_twice_is_refused(tmp_path):
    data = tmp_path / "data"
    write_all(data)
    vocab = tmp_path / "twice.txt"
    vocab.write_text(SCENES_VOCAB.read_text() + "red\n")
    (said,) = check(config_for(data, model__text__vocab=str(vocab)))[0].lines
    assert re.search(r"twice\.txt: line \d+ repeats 'red' of line \d+; every word needs one line", said)


def test_a_training_split_of_one_image_is_refused(tmp_path):
    write_all(tmp_path)
    with pytest.raises(InputError, match=r"1 image to train on \(config\.data\.train_share\)"):
        training.train(config_for(tmp_path, data__train_share=0.01, data__batch_size=2), tmp_path / "run")
