"""Embeddings in files: they are the encodings, and vector databases read them as docs/models.md says."""

import ast
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from support.commands import command
from support.images import extracted_runs
from support.paths import ROOT

import itm_jax

pytest.importorskip("pyarrow", reason="pip install -e '.[vectors]'")
SPLITS = {"train": 12, "dev": 4, "test": 5}


@pytest.fixture(scope="module")
def extracted(tmp_path_factory):
    """A folder of images, their features by a small ViT, and runs on them: a CPFEAN and an AFA with a BiGRU."""
    root = tmp_path_factory.mktemp("extracted")
    return root, extracted_runs(root, SPLITS, evaluated=False)


@pytest.fixture(scope="module")
def models(extracted):
    """The two models, loaded once."""
    return {name: itm_jax.load(extracted[0] / name) for name in ("cpfean", "afa")}


@pytest.mark.parametrize("name", ["cpfean", "afa"])
def test_embeddings_are_the_encodings(extracted, models, tmp_path, name):
    """Images of a folder, images of a data set, and captions, in both forms of file."""
    pq = pytest.importorskip("pyarrow.parquet")
    root, images = extracted
    model = models[name]
    captions = tmp_path / "captions.txt"
    captions.write_text("a red square\nblue above green and " + "red " * 10 + "\n文 🙂\n")
    export = lambda *flags: command("embeddings", f"--model={root / name}", *flags, module="itm_jax.export")  # noqa: E731
    code, _, err = export(f"--images={images}", f"--out={tmp_path / 'a.parquet'}")
    assert code == 0, err
    code, _, err = export(f"--data={root / 'out'}", f"--out={tmp_path / 'b.npy'}")
    assert code == 0, err
    code, _, err = export(f"--captions={captions}", f"--out={tmp_path / 'c.parquet'}", "--dtype=float16")
    assert code == 0, err
    table, texts = (pq.read_table(tmp_path / f"{x}.parquet") for x in "ac")
    assert json.loads(table.schema.metadata[b"itm_jax"])["fingerprint"] == model.fingerprint
    ids = table["id"].to_pylist()
    assert ids == sorted(path.name for path in images.iterdir() if path.suffix == ".png")
    about = json.loads((tmp_path / "b.ids.json").read_text())
    assert about["fingerprint"] == model.fingerprint
    assert [f"{x}" for x in about["ids"]] == list(itm_jax.open_run(model.config, root / name).data.split.ids)
    [(_, rows)] = model.encode_images([images / x for x in ids]).parts
    saved = np.load(tmp_path / "b.npy")
    if name == "afa":
        np.testing.assert_allclose(np.array(table["vector"].to_pylist()), rows, atol=1e-6)
        np.testing.assert_allclose(saved, rows[[ids.index(x) for x in about["ids"]]], atol=1e-3)
        scores = np.array(table["vector"].to_pylist()) @ np.array(texts["vector"].to_pylist()).T
        np.testing.assert_allclose(scores, model.score([images / x for x in ids], texts["text"].to_pylist()), atol=2e-3)
    else:
        mask = np.load(tmp_path / "b.mask.npy")
        assert mask.shape == saved.shape[:2]
        for k, vectors in enumerate(table["vectors"].to_pylist()):
            np.testing.assert_allclose(np.array(vectors), rows.rows[k][rows.mask[k]], atol=1e-6)
        assert [len(x) for x in texts["vectors"].to_pylist()] == [3, 14, 2]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"out": "x.csv", "images": "IMAGES"}, r"x\.csv: must end in \.parquet or \.npy"),
        ({"out": "x.npy"}, "pass one of them"),
        ({"out": "x.npy", "images": "IMAGES", "captions": "c.txt"}, "pass one of them"),
        ({"out": "x.npy", "images": "nowhere"}, "nowhere: no such directory"),
        ({"out": "x.npy", "captions": "BLANK"}, "line 2 is empty"),
        ({"out": "x.npy", "images": "EMPTY"}, "no image files"),
        ({"out": "x.npy", "data": "OUT", "split": "val"}, "val"),
        ({"out": "x.npy", "captions": "nowhere.txt"}, r"nowhere\.txt: cannot be read as text"),
        ({"out": "nowhere/x.npy", "images": "IMAGES"}, "nowhere: no such directory"),
        ({"out": "x.npy", "images": "IMAGES", "dtype": "bfloat16"}, "is for models"),
        ({"images": "IMAGES"}, "--out"),
    ],
)
def test_what_cannot_be_encoded_is_named(extracted, tmp_path, flags, message):
    root, images = extracted
    (tmp_path / "empty").mkdir()
    (root / "blank.txt").write_text("red\n \nblue\n")
    places = {"IMAGES": images, "EMPTY": tmp_path / "empty", "OUT": root / "out", "BLANK": root / "blank.txt"}
    given = [f"--{k}={places.get(v, v)}" for k, v in flags.items()]
    code, _, err = command("embeddings", f"--model={root / 'afa'}", *given, module="itm_jax.export", cwd=tmp_path)
    assert code == 2
    assert re.search(message, err[-1]), err
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


RECIPES = re.findall(
    r"<!-- recipe: (.*?) -->\n```python\n(.*?)```", (ROOT / "docs" / "models.md").read_text(), re.DOTALL
)


@pytest.mark.parametrize(("name", "code"), RECIPES, ids=[name for name, _ in RECIPES])
def test_a_database_reads_the_embeddings(extracted, models, tmp_path, name, code):
    """The recipes of docs/models.md, run as they stand: they find what the model finds."""
    pytest.importorskip({"qdrant": "qdrant_client"}.get(name.split()[0], name.split()[0]))
    root, images = extracted
    run = root / ("afa" if name.endswith("single") else "cpfean")
    captions = ["red left of green", "a blue circle"]
    (tmp_path / "captions.txt").write_text("\n".join(captions))
    for flags in (
        [f"--images={images}", "--out=images.parquet"],
        ["--captions=captions.txt", "--out=captions.parquet"],
    ):
        exit_code, _, err = command("embeddings", f"--model={run}", *flags, module="itm_jax.export", cwd=tmp_path)
        assert exit_code == 0, err
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in images.iterdir() if path.suffix == ".png")
    scores = models[run.name].score([images / x for x in names], captions)
    for caption, column, line in zip(captions, scores.T, done.stdout.splitlines(), strict=True):
        assert line.startswith(caption)
        found = ast.literal_eval(line.removeprefix(caption).strip())
        assert set(found) <= set(names)
        if name.endswith("single"):
            np.testing.assert_allclose([column[names.index(x)] for x in found], np.sort(column)[::-1][:5], atol=1e-5)


def test_damaged_images_are_left_out_on_request(extracted, tmp_path):
    root, images = extracted
    shutil.copytree(images, tmp_path / "images")
    names = sorted(path.name for path in images.iterdir())
    (tmp_path / "images" / names[2]).write_bytes(b"no image")
    export = lambda *flags: command("embeddings", f"--model={root / 'afa'}", *flags, module="itm_jax.export")  # noqa: E731
    for out in ("a.parquet", "a.npy"):
        flags = (f"--images={tmp_path / 'images'}", f"--out={tmp_path / out}")
        code, _, err = export(*flags)
        assert code == 2
        assert names[2] in err[-1]
        code, _, err = export(*flags, "--on_error=skip")
        assert code == 0, err
        assert f"{len(names) - 1} images" in err[-1]
    assert json.loads((tmp_path / "a.ids.json").read_text())["ids"] == names[:2] + names[3:]
    assert len(np.load(tmp_path / "a.npy")) == len(names) - 1
    for name in names:
        (tmp_path / "images" / name).write_bytes(b"no image")
    code, _, err = export(f"--images={tmp_path / 'images'}", f"--out={tmp_path / 'b.npy'}", "--on_error=skip")
    assert (code, "no image can be used" in err[-1]) == (2, True)
