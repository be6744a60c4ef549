"""Exported models: the same scores anywhere, and what is missing or damaged is named."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.checkpoint import write_checkpoint
from support.commands import command
from support.runs import shrunk

import itm_jax
from itm_jax.config.default import default_config
from itm_jax.config.model_fields import BERT_ARCHITECTURE
from itm_jax.errors import InputError
from itm_jax.hub.folder import checksums_of
from itm_jax.structs import Regions

CAPTIONS = ["a red square left of a green circle", "two dogs", "ein Hund, 🙂 文", "a blue star " * 30]
# In another process, from another directory: (folder, ...) -> scores.npy and fingerprint in each.
SCORE = """
import json, pathlib, sys
import numpy as np
import itm_jax
from itm_jax.structs import Regions
for folder in map(pathlib.Path, sys.argv[1:]):
    model = itm_jax.load(folder)
    given = np.load(folder / "given.npz")
    regions = Regions(given["features"], given["mask"], given["boxes"], given["labels"] if "labels" in given else None)
    np.save(folder / "scores.npy", model.score(regions, json.loads((folder / "captions.json").read_text())))
    (folder / "fingerprint.txt").write_text(model.fingerprint)
"""


def text_changes(kind, checkpoint):
    """Fields of the text encoder of a kind, for `shrunk`."""
    pretrained = {"model__text__pretrained": str(checkpoint), "data__max_tokens": 12}
    usual = default_config().model.text
    architecture = {f"model__text__{field}": usual[field] for field in (*BERT_ARCHITECTURE, "vocab")}
    return {
        "fine-tuned": pretrained | architecture,
        "frozen": pretrained | architecture | {"model__text__trainable": False},
        "small": {},
        "gru": {"model__text__encoder": "gru"},
    }[kind]


def changes_of(name, kind, checkpoint):
    """Fields of a model, for `shrunk`."""
    changes = text_changes(kind, checkpoint) | {"train__epochs": 1.0, "optim__decay_epochs": (), "model__name": name}
    if name == "cpfean":
        changes |= {"model__graph__heads": 2, "model__alignment__gamma": 1.0}
    return changes


def trained(tmp_path, name, kind):
    """A small trained model."""
    run = tmp_path / f"{name}-{kind}"
    itm_jax.train(shrunk(**changes_of(name, kind, write_checkpoint(tmp_path / "bert"))), run)
    return run


def regions_for(model, rng):
    """Random regions as the model takes them."""
    (r, f), names = model.shape, model.label_names
    labels = rng.integers(0, len(names), (5, r)).astype(np.int32) if names else None
    corners = np.sort(rng.uniform(0, 1, (5, r, 2, 2)), axis=2).reshape(5, r, 4).astype(np.float32)
    features = rng.standard_normal((5, r, f)).astype(np.float32)
    return Regions(features, np.arange(r)[None] < np.array([r, r, 2, 3, r])[:, None], corners, labels)


def moved(model, regions, folder, away):
    """Saves a model, and puts the folder with its inputs in another place."""
    model.save(folder)
    arrays = {k: v for k, v in vars(regions).items() if v is not None}
    np.savez(folder / "given.npz", **arrays)
    (folder / "captions.json").write_text(json.dumps(CAPTIONS))
    return shutil.move(folder, away)


PAIRS = [("cpfean", "frozen")]
OTHERS = [
    (name, kind)
    for name in ("afa", "cpfean", "scan")
    for kind in ("fine-tuned", "frozen", "small", "gru")
    if (name, kind) not in PAIRS
]


@pytest.mark.parametrize("pairs", [PAIRS, pytest.param(OTHERS, marks=pytest.mark.slow)], ids=["some", "others"])
def test_scores_are_the_same_in_another_place(tmp_path, rng, pairs):
    """Another process, another directory, no network, and the text encoder's checkpoint is gone."""
    expected, folders = [], []
    for name, kind in pairs:
        model = itm_jax.load(trained(tmp_path, name, kind))
        regions = regions_for(model, rng)
        folders.append(moved(model, regions, tmp_path / "saved", tmp_path / "away" / f"{name}-{kind}"))
        expected.append((model.score(regions, CAPTIONS), model.fingerprint))
        if regions.labels is not None and model.label_names:
            with pytest.raises(
                InputError, match=f"labels from .* to 999, but the model knows {len(model.label_names)} n"
            ):
                model.encode_images(dataclasses.replace(regions, labels=np.full_like(regions.labels, 999)))
        shutil.rmtree(tmp_path / "bert")
        shutil.rmtree(tmp_path / f"{name}-{kind}")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": os.path.dirname(os.path.dirname(itm_jax.__file__))}
    for key in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        environment[key] = "http://127.0.0.1:9"  # nothing answers there
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SCORE, *folders],
        cwd=tmp_path / "elsewhere",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for folder, (scores, fingerprint) in zip(folders, expected, strict=True):
        np.testing.assert_array_equal(np.load(os.path.join(folder, "scores.npy")), scores)
        with open(os.path.join(folder, "fingerprint.txt")) as file:
            assert file.read() == fingerprint
        for root, _, names in os.walk(folder):
            for file_name in names:
                with open(os.path.join(root, file_name), "rb") as file:
                    assert str(tmp_path).encode() not in file.read(), file_name


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model and its folder: SCAN with a BiGRU."""
    tmp_path = tmp_path_factory.mktemp("saved")
    model = itm_jax.load(trained(tmp_path, "scan", "gru"))
    model.save(tmp_path / "saved", license="apache-2.0", name="someone/scan")
    return model, tmp_path / "saved"


def test_a_model_without_an_extractor_takes_regions_alone(saved):
    model, folder = saved
    assert "regions only" in repr(model)
    with pytest.raises(InputError, match=r"no extractor.json.*pass regions"):
        model.encode_images(["a.jpg"])
    run = itm_jax.open_run(shrunk(**changes_of("scan", "gru", None)), folder.parent / "scan-gru")
    regions = run.data.regions(np.arange(4))
    np.testing.assert_allclose(model.score(regions, run.data.split.captions), run.scores().scores, atol=1e-6)


def test_half_the_size_in_bfloat16(saved, tmp_path, rng):
    model, folder = saved
    model.save(tmp_path / "half", dtype="bfloat16")
    sizes = [(f / "model.safetensors").stat().st_size for f in (tmp_path / "half", folder)]
    assert sizes[0] < 0.6 * sizes[1]
    half, regions = itm_jax.load(tmp_path / "half"), regions_for(model, rng)
    assert half.fingerprint != model.fingerprint
    np.testing.assert_allclose(half.score(regions, CAPTIONS), model.score(regions, CAPTIONS), atol=0.02)
    with pytest.raises(InputError, match="encode both with the same model"):
        half.score(model.encode_images(regions), CAPTIONS)
    with pytest.raises(InputError, match="dtype='int8': must be float32 or bfloat16"):
        model.save(tmp_path / "half", dtype="int8")


def test_an_exported_model_is_saved_again(saved, tmp_path):
    """Saved twice, it is the same; files of the user in the folder stay, those of an earlier export do not."""
    model, folder = saved
    model.save(tmp_path)
    (tmp_path / "results.json").write_text("{}")  # of an earlier export
    (tmp_path / "extractor.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("mine")
    itm_jax.load(folder).save(tmp_path, license="apache-2.0", name="someone/scan")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "results.json").exists()
    assert not (tmp_path / "extractor.json").exists()
    for path in folder.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes(), path.name
    assert itm_jax.load(tmp_path).fingerprint == model.fingerprint


def test_files_of_something_else_are_not_overwritten(saved, tmp_path):
    """A run, a BERT's checkpoint, a data set with an extractor.json, a project with a README."""
    model, _ = saved
    for name in (
        "config.json",
        "model.safetensors",
        "extractor.json",
        "vocab.txt",
        "results.json",
        "README.md",
        "text",
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("mine")
        with pytest.raises(InputError, match=f"has a {name} that is not of an export, and would be lost"):
            model.save(tmp_path)
        assert (tmp_path / name / name).read_text() == "mine"
        shutil.rmtree(tmp_path / name)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        model.save(tmp_path / "file")


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_arrays(folder, change):
    arrays = load_file(folder / "model.safetensors")
    change(arrays)
    save_file(arrays, folder / "model.safetensors")


def cut(path, size=1000):
    path.write_bytes(path.read_bytes()[:size])


DAMAGE = {  # of a copy
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"has no model\.safetensors, so it is not complete"),
    "no config": (lambda f: (f / "config.json").unlink(), r"has no config\.json"),
    "no text side": (lambda f: (f / "text" / "text.json").unlink(), r"has no text/text\.json"),
    "truncated weights": (
        lambda f: cut(f / "model.safetensors"),
        r"model\.safetensors: not the file that was exported",
    ),
    "another vocabulary": (lambda f: (f / "vocab.txt").write_text("a\nb\n"), r"vocab\.txt: not the file that was"),
    "config edited": (lambda f: edit_json(f / "config.json", seed=7), r"config\.json: not the file that was exported"),
    "array changed": (
        lambda f: edit_arrays(f, lambda a: a[min(a)].__setitem__(0, 7)),
        r"model\.safetensors: not the file that was exported",
    ),
    "record is no JSON": (lambda f: cut(f / "itm_jax.json", 20), r"itm_jax\.json: not JSON"),
    "record is a list": (lambda f: (f / "itm_jax.json").write_text("[]"), r"itm_jax\.json: has no valid format"),
    "record without sizes": (lambda f: edit_json(f / "itm_jax.json", regions="6"), "has no valid regions"),
    "no regions": (lambda f: edit_json(f / "itm_jax.json", regions=0), "has no valid regions"),
    "too many regions": (lambda f: edit_json(f / "itm_jax.json", regions=10**12), "has no valid regions"),
    "later format": (
        lambda f: edit_json(f / "itm_jax.json", format=7, itm_jax="9.1"),
        r"format 7, written by itm_jax 9\.1; this version .* reads format 1: take the version that wrote it",
    ),
    "other width in the record": (lambda f: edit_json(f / "itm_jax.json", feature_width=7), r"not the arrays of its"),
    "results written later": (lambda f: (f / "results.json").write_text("{}"), r"results\.json: not the file that was"),
}
HOSTILE = {  # with checksums that fit
    "results of something else": (lambda f: (f / "results.json").write_text("[]"), r"results\.json: not what an eval"),
    "no vocabulary": (lambda f: (f / "vocab.txt").unlink(), r"vocab\.txt"),
    "truncated weights": (lambda f: cut(f / "model.safetensors"), r"model\.safetensors: cannot be read as safetensors"),
    "empty weights": (lambda f: cut(f / "model.safetensors", 0), r"model\.safetensors: cannot be read as safetensors"),
    "config of a later version": (
        lambda f: edit_json(f / "config.json", new=1),
        "field new is unknown to this version",
    ),
    "array missing": (lambda f: edit_arrays(f, lambda a: a.pop(min(a))), r"not the arrays of its config \(missing "),
    "array too many": (
        lambda f: edit_arrays(f, lambda a: a.update({"other/x": np.zeros(2, np.float32)})),
        r"not the arrays of its config \(unexpected other/x\)",
    ),
    "an array in an array": (
        lambda f: edit_arrays(f, lambda a: a.update({f"{min(a)}/x": np.zeros(2, np.float32)})),
        "its files hold values that cannot be used|not the arrays",
    ),
    "integers": (
        lambda f: edit_arrays(f, lambda a: a.update({min(a): a[min(a)].astype(np.int32)})),
        "is int32.*not float32",
    ),
    "another text side": (lambda f: edit_json(f / "text" / "text.json", source="x"), "not the text side of config"),
    "wrong types": (lambda f: edit_json(f / "text" / "text.json", fingerprints=3), "damaged|cannot be used"),
    "code of its author": (
        lambda f: edit_json(f / "config.json", model={"name": "evil.module:Model"}),
        r"config\.model\.name=evil\.module:Model is Python code of its author, which is not imported",
    ),
}
CASES = [(kind, *case, False) for kind, case in DAMAGE.items()] + [(k, *case, True) for k, case in HOSTILE.items()]


@pytest.mark.parametrize(("kind", "change", "message", "seal"), CASES, ids=[f"{c[0]}-{c[3]}" for c in CASES])
def test_a_damaged_folder_is_named(saved, tmp_path, kind, change, message, seal):
    del kind
    shutil.copytree(saved[1], tmp_path / "copy")
    change(tmp_path / "copy")
    if seal:
        edit_json(tmp_path / "copy" / "itm_jax.json", sha256=checksums_of(tmp_path / "copy"))
    with pytest.raises(InputError, match=message) as error:
        itm_jax.load(tmp_path / "copy")
    assert str(tmp_path / "copy") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_of_others_decides_no_place(saved, tmp_path):
    """Nothing is written or read where its config says."""
    shutil.copytree(saved[1], tmp_path / "copy")
    values = json.loads((tmp_path / "copy" / "config.json").read_text())
    values["data"] |= {"cache_dir": str(tmp_path / "theirs"), "dir": str(tmp_path / "theirs")}
    values["init_from"] = str(tmp_path / "theirs")
    (tmp_path / "copy" / "config.json").write_text(json.dumps(values))
    edit_json(tmp_path / "copy" / "itm_jax.json", sha256=checksums_of(tmp_path / "copy"))
    config = itm_jax.load(tmp_path / "copy").config
    assert (config.data.cache_dir, config.data.dir, config.init_from) == (None, ".", None)


def test_an_interrupted_export_is_no_model(saved, tmp_path, monkeypatch):
    """Killed before the last file, it is no model; the same call then writes a whole one."""
    from itm_jax.hub import write as module

    model, _ = saved
    model.save(tmp_path / "saved")
    write = module.write_whole

    def killed(path, content):
        if path.name == "README.md":
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_whole", killed)
        with pytest.raises(KeyboardInterrupt):
            model.save(tmp_path / "saved")
    with pytest.raises(InputError, match="its export was interrupted"):
        itm_jax.load(tmp_path / "saved")
    model.save(tmp_path / "saved")
    assert itm_jax.load(tmp_path / "saved").fingerprint == model.fingerprint


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--out=x"], "--run"),
        (["--run=RUN"], "--out"),
        (["--run=nowhere", "--out=x"], "nowhere"),
        (["--run=RUN", "--out=x", "--dtype=float16"], "is for embeddings"),
        (["--run=RUN", "--out=x", "--push=name"], "must be USER/NAME"),
        (["--run=RUN", "--out=RUN"], "that is not of an export, and would be lost"),
        (["models", "--run=RUN"], "say one of model, embeddings"),
        (["--run=RUN", "--out=x", "--split=dev"], "--split: has no effect on model"),
        (["embeddings", "--model=RUN", "--out=x.npy", "--push=a/b"], "--push: has no effect on embeddings"),
        (["--run=RUN", "--out=x", "--private"], "--private: has no effect without --push"),
    ],
)
def test_a_wrong_command_is_refused(saved, tmp_path, flags, message):
    run = saved[1].parent / "scan-gru"
    given = [flag.replace("RUN", str(run)) for flag in flags]
    code, _, err = command(*given, module="itm_jax.export", cwd=tmp_path)
    assert code == 2
    assert message in err[-1]
    assert list(tmp_path.iterdir()) == []
