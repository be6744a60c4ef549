"""`itm_jax.check` lists every defect, and only those: one thing wrong, one line."""

import json
import os
import pathlib
import pickle
import re
import shutil

import ml_collections
import numpy as np
import pytest
from absl import flags
from support.commands import command
from support.data_sets import SPLITS, config_for, write_all
from support.paths import ROOT
from support.precomp import Bytes, at, damage, line, pickled

from itm_jax.checks import run as check_run
from itm_jax.checks.run import check
from itm_jax.cli import commands
from itm_jax.config.default import default_config
from itm_jax.data.defects import SHOWN
from itm_jax.data.text.text_input import SCENES_VOCAB
from itm_jax.errors import InputError
from itm_jax.training import loop as training

pytestmark = pytest.mark.usefixtures("one_device")


SAYS = "checking the config, the data and the text encoder"


def header(old, new):
    """Replaces text in an .npy header, its length kept."""
    return Bytes(lambda x: x.replace(old, new + b" " * (len(old) - len(new)), 1))


words = " ".join(["word"] * 301).encode()
# file, what is done to it, where the defect is, of what kind it is
FILES = [
    ("train_ims.npy", None, "", "input"),
    ("train_ims.npy", Bytes(lambda _: b""), "", "damaged"),
    ("train_ims.npy", Bytes(lambda x: x[:-4]), "", "damaged"),
    ("train_ims.npy", Bytes(lambda x: x + b"1234"), "", "damaged"),
    ("train_ims.npy", header(b"(6, 3, 6), }        ", b"(7, 3, 6), }"), "", "damaged"),
    ("train_ims.npy", header(b"(6, 3, 6), }               ", b"(1000000000000000, 3, 6), }"), "", "damaged"),
    ("train_ims.npy", header(b"(6, 3, 6)", b"(6,-3, 6)"), "", "damaged"),
    ("train_ims.npy", pickled, "", "pickled"),
    ("train_ims.npy", Bytes(lambda _: pickle.dumps([1])), "", "damaged"),
    ("train_ims.npy", np.asfortranarray, "", "order"),
    ("train_ims.npy", lambda x: x[:, 0], "", "shape"),
    ("train_ims.npy", lambda x: x.astype(np.float64), "", "shape"),
    ("train_ims.npy", lambda x: x.astype(">f4"), "", "shape"),
    ("train_ims.npy", lambda x: x[:, :0], "", "shape"),
    ("train_ims.npy", at((2, 0, 1), np.nan), "row 2", "not-finite"),
    ("train_ims.npy", lambda x: at((5, 2, 5), -np.inf)(x.astype(np.float16)), "row 5", "not-finite"),
    ("train_ims.npy", at(4, 0.0), "row 4", "zero"),
    ("test_ims.npy", lambda x: np.concatenate([x, x], axis=2), "", "differs"),
    ("train_caps.txt", None, "", "unreadable"),
    ("train_caps.txt", Bytes(lambda _: b""), "", "empty"),
    ("train_caps.txt", line(29), "", "count"),
    ("train_caps.txt", lambda x: x[:3], "", "count"),
    ("train_caps.txt", line(6, b" \t"), "line 7", "blank"),
    ("train_caps.txt", line(2, b"caf\xe9 a b c d e"), "line 3", "encoding"),
    ("train_caps.txt", line(4, words), "line 5", "too-long"),
    ("train_caps.txt", line(4, "a \ufffd is lost in here".encode()), "line 5", "characters"),
    ("train_caps.txt", line(4, b"zero \0 is in this one"), "line 5", "characters"),
    ("train_caps.txt", line(4, b"two\rlines are here in one"), "line 5", "characters"),
    ("train_ids.txt", line(5), "", "count"),
    ("train_ids.txt", line(3, b"train1.jpg"), "line 4", "duplicate"),
    ("train_ids.txt", line(3, b""), "line 4", "blank"),
    ("train_ids.txt", line(0, b"\xffa.jpg"), "line 1", "encoding"),
    ("train_boxes.npy", lambda x: x[:3], "", "shape"),
    ("train_boxes.npy", lambda x: x[0], "", "shape"),
    ("train_boxes.npy", lambda x: x.astype(str), "", "shape"),
    ("train_boxes.npy", at((1, 2, 3), 1.2), "row 1", "value"),
    ("train_boxes.npy", at((2, 0, 0), np.nan), "row 2", "not-finite"),
    ("train_boxes.npy", lambda x: at(3, x[3][:, [2, 1, 0, 3]])(x), "row 3", "value"),
    ("train_img_sizes.npy", lambda _: np.full((4, 2), 500), "", "shape"),
    ("train_img_sizes.npy", lambda _: np.array([[5, 5], [0, 5]] * 3)[[0, 1, 0, 0, 0, 0]], "row 1", "value"),
    ("train_img_sizes.npy", pickled, "", "pickled"),
    ("train_labels.json", lambda x: x[1:], "", "count"),
    ("train_labels.json", lambda x: [*x[:3], x[3][:2], *x[4:]], "row 3", "value"),
    ("train_labels.json", lambda x: [x[0], ["a", 3, "b"], *x[2:]], "row 1", "value"),
    ("train_labels.json", lambda x: [x[0], ["a", "", "b"], *x[2:]], "row 1", "value"),
    ("train_labels.json", lambda x: {"0": x}, "", "value"),
    ("train_labels.json", Bytes(lambda x: x[:-5]), "", "damaged"),
    ("train_dependencies.json", lambda x: [x[0], [[0, 7]], *x[2:]], "entry 1", "value"),
    ("train_dependencies.json", lambda x: x[1:], "", "count"),
    ("train_dependencies.json", lambda x: [*x[:-1], [[0, 1, 2]]], "entry 29", "value"),
    ("train_box.npy", Bytes(lambda _: b"x"), "", "not-read"),
]  # fmt: skip


def prepare(path, change):
    """Damages a file; one that is not there yet is made by the change."""
    if path.name == "test_ims.npy":
        for companion in ("boxes.npy", "labels.json"):
            path.with_name(f"test_{companion}").unlink()
    if path.name in ("train_box.npy", "train_img_sizes.npy"):
        if path.name == "train_box.npy":
            (path.parent / "train_boxes.npy").unlink()
            path.touch()
        elif not isinstance(change, Bytes) and change is not pickled:
            boxes = np.load(path.parent / "train_boxes.npy")
            np.save(path.parent / "train_boxes.npy", boxes * 5)
    damage(path, change)


@pytest.mark.parametrize(("file", "change", "where", "kind"), FILES, ids=[f"{i}-{f[0]}" for i, f in enumerate(FILES)])
def test_one_defect_of_a_file_is_one_record(tmp_path, monkeypatch, file, change, where, kind):
    monkeypatch.chdir(tmp_path)  # a pickle that is loaded leaves a trace here
    data = tmp_path / "data"
    write_all(data)
    prepare(data / file, change)
    defects, _ = check(config_for(data))
    [defect] = defects.records
    assert (defect.path, defect.where, defect.kind) == (str(data / file), where, kind)
    assert defect.text
    assert defects.lines == [" ".join(str(defect).split())]
    assert not (tmp_path / "unpickled").exists()


REPEATED = [
    ("dev_ims.npy", at(slice(5, 10), np.nan), ["row %d: NaN or Inf; extract it again" % r for r in range(5, 10)]),  # noqa: UP031
    ("dev_ims.npy", at((7, 1, 1), 9.0), ["rows 5..9: they have one id but different features (1 such groups)"]),
    (
        "dev_ids.txt",
        line(8, b"x"),
        [
            "line 10: an id that an earlier line has too (line 10: dev1.jpg, as line 6); every image needs an id of its own, "
            "and its lines must stand together; config.data.pairing=ids puts the captions of one id together"
        ],
    ),
]


@pytest.mark.parametrize(("file", "change", "expected"), REPEATED)
def test_defects_of_repeated_rows_have_the_numbers_of_the_file(tmp_path, file, change, expected):
    write_all(tmp_path, repeats=5)
    assert check(config_for(tmp_path))[0].lines == []
    damage(tmp_path / file, change)
    assert check(config_for(tmp_path))[0].lines == [f"{tmp_path / file}: {x}" for x in expected]


def test_a_good_data_set_has_none_in_every_form(tmp_path):
    write_all(tmp_path / "precomp", repeats=5)
    for split in SPLITS:
        caps = tmp_path / "precomp" / f"{split}_caps.txt"
        caps.write_bytes(b"\xef\xbb\xbf" + caps.read_bytes().replace(b"\n", b"\r\n"))
    (tmp_path / "precomp" / "train_ims_bbx.npy").touch()
    defects, splits = check(config_for(tmp_path))
    assert defects.lines == []
    assert check_run.describe(splits[1]) == (
        "dev: 6 images of 3 x 6 float32, rows of one image read once, 30 captions (5 each, at most 7 words), with boxes, labels, edges"
    )


def test_many_defects_are_all_counted(tmp_path):
    write_all(tmp_path)
    damage(tmp_path / "train_caps.txt", lambda x: [b""] * len(x))
    damage(tmp_path / "dev_ims.npy", at((2, 0, 1), np.nan))
    damage(tmp_path / "test_labels.json", lambda x: x[1:])
    defects, _ = check(config_for(tmp_path))
    assert defects.count == 30 + 1 + 1
    assert len(defects.lines) == (SHOWN + 1) + 1 + 1
    assert f"{tmp_path / 'train_caps.txt'}: 10 more: blank; every line must be a caption" in defects.lines


def test_images_shared_by_splits_are_found_without_ids(tmp_path):
    write_all(tmp_path)
    for split in SPLITS:
        (tmp_path / f"{split}_ids.txt").unlink()
    train = np.load(tmp_path / "train_ims.npy")
    damage(tmp_path / "dev_ims.npy", lambda x: at(slice(1, 3), train[4:])(x))
    (said,) = check(config_for(tmp_path))[0].lines
    assert "dev_ims.npy: 2 images are in split train too (first: image 1, id 1, there image 4, id 4)" in said


def with_field(name, value):
    """A change of the config that `set_field` would refuse: the config is rebuilt from a dictionary."""

    def change(config):
        values = config.to_dict()
        *path, leaf = name.split(".")
        node = values
        for key in path:
            node = node[key]
        if value is None:
            del node[leaf]
        else:
            node[leaf] = value
        return ml_collections.ConfigDict(values)

    return change


CONFIGS = [
    (with_field("optim.wait_decay", 0.1), r"config\.optim\.wait_decay: no such field; the nearest known one is config\.optim\.weight_decay"),
    (with_field("data.bach_size", 8), r"config\.data\.bach_size: no such field; the nearest known one is config\.data\.batch_size"),
    (with_field("loss.margin", None), r"config\.loss\.margin: missing; start the config file from .*"),
    (with_field("data.batch_size", "128"), r"config\.data\.batch_size='128': must be an integer"),
    (with_field("optim.lr", True), r"config\.optim\.lr=True: must be a number"),
    (with_field("data.token_buckets", 24), r"config\.data\.token_buckets=24: must be a tuple"),
    (with_field("data.dir", 5), r"config\.data\.dir=5: must be a string"),
    (with_field("loss.tau", -1.0), r"config\.loss\.tau=-1\.0: must be greater than 0"),
    (with_field("model.selection", "sum"), r"config\.model\.selection='sum': must be one of max, mean, gpo"),
    (with_field("data.batch_size", 96), r"config\.data\.batch_size=96: more than the 30 pairs of .*train_ims\.npy \(config.*"),
    (with_field("data.dev_split", "train"), r"config\.data: train_split=train, dev_split=train, test_split=test: must be three different splits; .*"),
    (with_field("data.dev_split", "test"), r"config\.data\.dev_split='test': a run must not be selected on a split that reports"),
    (with_field("data.test_split", "testall"), r".*/data/testall_ims\.npy: no such file; splits found there: dev, test, train"),
    (with_field("data.dir", "/no/such/place"), r"/no/such/place: no such directory; set config\.data\.dir to the directory with .*_ims\.npy"),
    (with_field("model.text.vocab", "/no/vocab.txt"), r"/no/vocab\.txt: cannot be read \(No such file or directory\)"),
    (with_field("model.text.pretrained", "/no/bert"), r".*/no/bert.*"),
    (with_field("init_from", "/no/run"), r"/no/run: no checkpoints; train a run there first"),
    (with_field("data.max_tokens", 200), r"config\.data\.max_tokens=200: the text encoder has 128 positions; set it to at most this number"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), CONFIGS, ids=[c[1][:40] for c in CONFIGS])
def test_one_defect_of_a_config_gives_one_line(tmp_path, change, expected):
    write_all(tmp_path / "data")
    defects, _ = check(change(config_for(tmp_path / "data")))
    lines = (
        defects.lines
        if "no such directory" not in expected
        else list(dict.fromkeys(x.split(" with ")[0] for x in defects.lines))
    )
    assert len(lines) == 1, lines
    assert re.fullmatch(expected if len(defects.lines) == 1 else expected.split(" with ")[0], lines[0])


def test_text_side(tmp_path, checkpoint):
    data = tmp_path / "data"
    write_all(data)
    config = config_for(data, data__max_tokens=12, data__token_buckets=(8, 12), model__text__vocab=None)
    config.model.text = default_config().model.text
    config.model.text.pretrained = str(checkpoint)
    assert check(config.copy_and_resolve_references())[0].lines == []
    vocab = checkpoint / "vocab.txt"
    good = vocab.read_text()
    vocab.write_text(good.replace("[MASK]", "[MASC]"))
    (said,) = check(config.copy_and_resolve_references())[0].lines
    assert "[MASK]" in said
    assert str(checkpoint) in said
    vocab.write_text(good)
    (checkpoint / "model.safetensors").unlink()
    (said,) = check(config.copy_and_resolve_references())[0].lines
    assert "safetensors" in said
    (checkpoint / "config.json").write_text("{")
    (said,) = check(config.copy_and_resolve_references())[0].lines
    assert str(checkpoint / "config.json") in said
    (data / "dev_dependencies.json").unlink()
    damage(data / "dev_caps.txt", line(3, "\u200b".encode()))
    (said,) = check(config_for(data))[0].lines
    assert said == f"{data / 'dev_caps.txt'}: line 4: no token is left of the caption"


def test_workdir(tmp_path, monkeypatch):
    data, run = tmp_path / "data", tmp_path / "run"
    write_all(data)
    for split in SPLITS:
        (data / f"{split}_dependencies.json").unlink()
    config = config_for(data, train__epochs=1)
    assert check(config, run)[0].lines == []
    assert not run.exists()
    training.train(config_for(data, train__epochs=1), run)
    assert check(config_for(data, train__epochs=1), run)[0].lines == []
    (said,) = check(config_for(data, train__epochs=2), run)[0].lines
    assert "run: belongs to a run with another config (train.epochs: 1.0 -> 2.0)" in said
    (said,) = check(config_for(data, train__epochs=1, model__width=32, init_from=str(run)))[0].lines
    assert "a checkpoint of another architecture" in said
    newest = max((run / "checkpoints").iterdir(), key=lambda p: int(p.name))
    (newest / "meta" / "metadata").unlink()
    (said,) = check(config_for(data, train__epochs=1), run)[0].lines
    assert said.startswith(f"{newest}: damaged: meta/metadata cannot be read")
    shutil.rmtree(newest)

    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    (said,) = check(config_for(data, train__epochs=1), tmp_path / "new")[0].lines
    assert re.search(r"0\.00 GB are free, the checkpoints of this model take up to \d\.\d\d GB; make room", said)
    (said,) = check(config_for(data, train__epochs=1), data / "train_ims.npy")[0].lines
    assert said == f"{data / 'train_ims.npy'}: not a directory; take another --workdir"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(tmp_path):
    write_all(tmp_path / "data")
    (tmp_path / "data" / "train_caps.txt").chmod(0)
    (said,) = check(config_for(tmp_path / "data"))[0].lines
    assert said.endswith("train_caps.txt: cannot be read (Permission denied)")
    (tmp_path / "data").chmod(0)
    assert "cannot be read (Permission denied)" in check(config_for(tmp_path / "data"))[0].lines[0]
    (tmp_path / "data").chmod(0o700)


def test_a_file_in_place_of_the_directory_and_the_reverse(tmp_path):
    write_all(tmp_path / "data")
    (tmp_path / "data" / "dev_caps.txt").unlink()
    (tmp_path / "data" / "dev_caps.txt").mkdir()
    (said,) = check(config_for(tmp_path / "data"))[0].lines
    assert said.endswith("dev_caps.txt: cannot be read (Is a directory)")
    said = check(config_for(tmp_path / "data" / "train_ims.npy"))[0].lines
    assert all(x.endswith("train_ims.npy: cannot be read (Not a directory)") for x in said)


def full(*_, **__):
    raise OSError(28, "No space left on device", "/full/file")


def test_a_full_disk_ends_with_one_line(tmp_path, monkeypatch, capsys):
    def train_on_a_full_disk():
        monkeypatch.setattr(pathlib.Path, "open", full)
        write_all(tmp_path / "data")
        training.train(config_for(tmp_path / "data"), tmp_path / "run")

    monkeypatch.setattr(commands, "parse_flags", lambda own, argv: list(argv))
    assert commands.run(train_on_a_full_disk, flags.FlagValues(), ["main"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: /full/file: no space left on the disk")
    monkeypatch.undo()

    def library_message():
        raise ValueError("RESOURCE_EXHAUSTED: Error writing: [OS error 28: No space left on device]")

    monkeypatch.setattr(commands, "parse_flags", lambda own, argv: list(argv))
    assert commands.run(library_message, flags.FlagValues(), ["main"]) == 2
    assert capsys.readouterr().err == "error: no space left on the disk; make room, the same command continues\n"

    def read_only():
        raise OSError(30, "Read-only file system", "run/.lock")

    assert commands.run(read_only, flags.FlagValues(), ["main"]) == 2
    said = capsys.readouterr().err
    assert (
        said
        == "error: run/.lock: the disk can only be read now; make it writable, and start the same command again to continue\n"
    )


def test_the_command(tmp_path):
    write_all(tmp_path)
    small = [f"--config.data.dir={tmp_path}", "--config.data.batch_size=8", f"--config.model.text.vocab={SCENES_VOCAB}"]
    module = "itm_jax.check"
    code, out, err = command("--config=configs/afa_f30k.py", *small, "--config.model.text.pretrained=", module=module)
    assert (code, err) == (0, [SAYS])
    assert out.splitlines()[0].startswith("train: 6 images of 3 x 6 float32, 30 captions (5 each")
    damage(tmp_path / "dev_ims.npy", at((2, 0, 1), np.nan))
    damage(tmp_path / "test_caps.txt", line(6, b""))
    code, out, err = command("--config=configs/afa_f30k.py", *small, "--config.model.text.pretrained=", module=module)
    assert (code, err) == (2, [SAYS, "error: 2 defects"])
    assert out.splitlines() == [
        f"{tmp_path}/dev_ims.npy: row 2: NaN or Inf; extract it again",
        f"{tmp_path}/test_caps.txt: line 7: blank; every line must be a caption",
    ]
    code, out, err = command(
        "--config=configs/afa_f30k.py", *small, "--config.model.text.pretrained=", "--json", module=module
    )
    assert code == 2
    records = [json.loads(line) for line in out.splitlines()]
    assert [(r["where"], r["kind"]) for r in records] == [("row 2", "not-finite"), ("line 7", "blank")]
    code, out, err = command("--config=quickstart", module=module)
    assert (code, err) == (0, [SAYS])
    assert out.splitlines()[3:] == ["no defects in scenes: 3 splits, 3,000 images, 15,000 captions"]
    code, out, err = command(f"--config={ROOT}/configs/quickstart.py", "--config.sead=1", module=module)
    assert (code, out, err) == (2, "", ["error: config.sead: no such field; the nearest known one is config.seed"])


def test_data_altered_on_purpose_are_checked_as_they_are_read(tmp_path):
    write_all(tmp_path)
    changes = {"data__alter__regions": 9, "data__batch_size": 2}
    defects, _ = check(config_for(tmp_path, **changes))
    assert len([x for x in defects.lines if "config.data.alter.regions=9" in x]) == 3
    small = {"data__train_share": 0.5, "data__alter__regions": 2, "data__batch_size": 4, "train__epochs": 0.5}
    workdir = tmp_path / "run"
    training.train(config_for(tmp_path, **small), workdir)
    defects, splits = check(config_for(tmp_path, **small), workdir)
    assert defects.lines == []
    assert [s.features.shape[:2] for s in splits] == [(3, 2), (6, 2), (6, 2)]


def test_cut_captions_unseparated_words_and_unknown_pieces_are_noted(tmp_path):
    write_all(tmp_path)
    damage(tmp_path / "dev_caps.txt", lambda x: ["两只狗在雪地里玩耍".encode()] * 30)
    (tmp_path / "dev_dependencies.json").unlink()
    defects, _ = check(config_for(tmp_path, data__max_tokens=8, data__token_buckets=(8,)))
    assert defects.lines == []
    assert [note.split(": ")[0] for note in defects.notes] == ["train", "dev", "dev", "dev", "dev", "test"]
    assert "30 of 30 captions have more than config.data.max_tokens=8 tokens and are cut" in defects.notes[0]
    assert "no spaces between words" in defects.notes[2]
    assert "100% of the word pieces are [UNK]" in defects.notes[3]
    assert "100% of the captions are captions of other images too" in defects.notes[4]


def test_damaged_features_are_one_defect_for_a_bigru_too(tmp_path):
    write_all(tmp_path)
    (tmp_path / "train_ims.npy").write_bytes(b"")
    defects, _ = check(config_for(tmp_path, model__text__encoder="gru", model__text__vocab=None))
    assert [defect.kind for defect in defects.records] == ["damaged"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("trainval_36.tsv", "features of bottom-up attention"),
        ("train_ims.npz", r"features in an \.npz file"),
        ("dataset_flickr8k.json", "Karpathy's captions and splits"),
        ("train_feats.npy", "an array with another name"),
        ("1000268201.jpg", "images, without features"),
    ],
)
def test_other_forms_of_features_are_named(tmp_path, name, says):
    (tmp_path / name).touch()
    (line, *_) = check(config_for(tmp_path))[0].lines
    assert re.search(rf"train_ims\.npy: no such file; {re.escape(name)} found there: {says}.*docs/data\.md", line)


@pytest.mark.parametrize("line", ["1000268201_693b08cb0e.jpg#0\tA child in a dress", "a.png,A child", "b.JPG|a|b"])
def test_names_of_image_files_are_no_words(tmp_path, line):
    write_all(tmp_path)
    damage(tmp_path / "train_caps.txt", lambda x: [x[0], line.encode(), *x[2:]])
    (tmp_path / "train_dependencies.json").unlink()
    (defect,) = check(config_for(tmp_path))[0].records
    assert (defect.where, defect.kind) == ("line 2", "file-name")
    with pytest.raises(InputError, match=r"train_caps\.txt: line 2: begins with the name of an image, which would"):
        training.train(config_for(tmp_path), tmp_path / "run")


def test_ground_truth_is_checked_before_training(tmp_path):
    write_all(tmp_path)
    config = config_for(tmp_path, eval__ground_truth=str(tmp_path / "none"), data__batch_size=2)
    defects, _ = check(config)
    assert any(str(tmp_path / "none") in x for x in defects.lines)
    with pytest.raises(InputError, match="none"):
        training.train(config, tmp_path / "run", check_test=True)
