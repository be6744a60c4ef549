"""`itm_jax.load`: a trained model for images and captions of your own."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
from PIL import Image
from support.images import extracted_runs

import itm_jax
from itm_jax.errors import InputError
from itm_jax.hub import pixels
from itm_jax.hub.encodings import Encodings
from itm_jax.structs import Regions

SPLITS = {"train": 12, "dev": 4, "test": 5}


@pytest.fixture(scope="module")
def extracted(tmp_path_factory):
    """A folder of images, their features by a small ViT, and runs on them: a CPFEAN and an AFA with a BiGRU."""
    root = tmp_path_factory.mktemp("extracted")
    return root, extracted_runs(root, SPLITS)


@pytest.fixture(scope="module")
def models(extracted):
    """The two models, loaded once."""
    return {name: itm_jax.load(extracted[0] / name) for name in ("cpfean", "afa")}


@pytest.mark.parametrize("name", ["cpfean", "afa"])
def test_scores_are_those_of_the_run(extracted, models, name):
    root, images = extracted
    model = models[name]
    run = itm_jax.open_run(model.config, root / name)
    paths = [images / image for image in run.data.split.ids]
    encoded = model.encode_images(paths), model.encode_captions(run.data.split.captions)
    assert [len(x) for x in encoded] == [SPLITS["test"], 2 * SPLITS["test"]]
    scores = model.score(*encoded)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, run.scores().scores, atol=1e-3)  # features are rounded to float16
    # one by one, as PIL images and as arrays; and captions in another order
    alone = np.concatenate([model.score([Image.open(path)], run.data.split.captions) for path in paths])
    np.testing.assert_allclose(alone, scores, atol=1e-3)
    arrays = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    np.testing.assert_allclose(model.score(arrays, run.data.split.captions[::-1]), scores[:, ::-1], atol=1e-3)
    assert model.score(str(images / "000.png").split(), ["red " * 100, "Ein rotes Bild, 🙂 文"]).shape == (1, 2)


def test_regions_in_place_of_images(extracted, models):
    root, _ = extracted
    model = models["cpfean"]
    run = itm_jax.open_run(model.config, root / "cpfean")
    batch = run.data.regions(np.arange(SPLITS["test"]))
    labels = None if batch.labels is None else np.asarray(batch.labels) - 1
    regions = Regions(batch.features, batch.mask, batch.boxes, labels)
    np.testing.assert_allclose(model.score(regions, run.data.split.captions), run.scores().scores, atol=1e-6)
    with pytest.raises(InputError, match=r"features 3 wide, but .* was trained on 16"):
        model.encode_images(dataclasses.replace(regions, features=batch.features[..., :3]))
    with pytest.raises(InputError, match=r"boxes of shape \[5, 4\]; expected \[5, 5, 4\]"):
        model.encode_images(dataclasses.replace(regions, boxes=[[0, 0, 1, 1]] * 5))
    for boxes in (np.asarray(batch.boxes) * 500, np.full_like(batch.boxes, np.nan)):
        with pytest.raises(InputError, match=r"boxes must be \(x1, y1, x2, y2\) from 0 to 1"):
            model.encode_images(dataclasses.replace(regions, boxes=boxes))
    broken = np.array(batch.features, np.float32)
    broken[1, 0, 0] = np.nan
    with pytest.raises(InputError, match="a feature is not a finite number"):
        model.encode_images(dataclasses.replace(regions, features=broken))
    with pytest.raises(InputError, match="boxes are missing"):
        model.encode_images(dataclasses.replace(regions, boxes=None))


def test_encodings_of_two_models_do_not_mix(extracted, models):
    root, images = extracted
    one, other = models["cpfean"], models["afa"]
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == itm_jax.load(root / "cpfean").fingerprint
    captions = other.encode_captions(["a red square"])
    pictures = one.encode_images([images / "000.png"])
    assert isinstance(pictures, Encodings)
    assert repr(captions) == f"<1 captions, encoded by {root / 'afa'} ({other.fingerprint})>"
    with pytest.raises(InputError, match=f"captions encoded by .*afa .*but the model is .*cpfean .{one.fingerprint}"):
        one.score(pictures, captions)
    with pytest.raises(InputError, match="these are captions, where images are expected"):
        other.score(captions, captions)


def test_a_model_explains_a_pair_and_tells_its_recipe(extracted, models):
    root, images = extracted
    model = models["cpfean"]
    caption = "red left of green"
    seen = model.explain(images / "000.png", caption)
    assert seen.words == caption.split()
    assert seen.score == pytest.approx(float(model.score([images / "000.png"], [caption])[0, 0]), abs=1e-3)
    said = repr(model)
    results = json.loads((root / "cpfean" / "results.json").read_text())
    assert "trained on mine: 5 regions, 16 wide" in said
    assert "pixels by vit:" in said
    assert f"rSum {results['protocols']['full']['rsum']:.1f} on mine test" in said


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        ([], "at least one"),
        ("a red square", "expected a list"),
        (["red", "  "], "caption 1: empty"),
        ([None], "caption 0: a NoneType, expected text"),
        (["half \ud800"], "caption 0: has half a character"),
        (["x" * 50_000_000], "caption 0: 50,000,000 characters"),
    ],
)
def test_captions_that_cannot_be_encoded_are_named(models, captions, message):
    with pytest.raises(InputError, match=message):
        models["afa"].encode_captions(captions)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "at least one"),
        ("000.png", "expected a list"),
        (["nowhere.png"], "nowhere.png: no such file"),
        ([pathlib.Path("/")], "a directory, expected an image"),
        ([3], "image 0: a int; expected a path, a PIL image or a uint8 array"),
        ([np.zeros((4, 4))], r"image 0: an array of float64 \[4, 4\]; expected uint8"),
    ],
)
def test_images_that_cannot_be_used_are_named(models, images, message):
    with pytest.raises(InputError, match=message):
        models["afa"].encode_images(images)


def test_another_extractor_is_refused(extracted, tmp_path):
    """The weights of the backbone changed since the features were extracted."""
    import shutil

    root, images = extracted
    shutil.copytree(root / "afa", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "extractor.json").read_text())
    shutil.copytree(root / "vit", tmp_path / "vit")
    (tmp_path / "vit" / "preprocessor_config.json").write_text('{"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}')
    record["source"]["backbone"] = f"vit:{tmp_path / 'vit'}"
    (tmp_path / "run" / "extractor.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="not the extractor of the features that the model was trained on"):
        itm_jax.load(tmp_path / "run").encode_images([images / "000.png"])


def test_a_backbone_of_the_hub_is_that_of_the_training(models, monkeypatch):
    """The revision that extractor.json recorded, unless another place is passed."""
    asked = []

    def load_backbone(name, sizes):
        asked.append((name, sizes))
        raise InputError("not here")

    monkeypatch.setattr(pixels, "load_backbone", load_backbone)
    extractor = models["afa"].extractor
    record = {**extractor.record, "source": {"backbone": "vit:user/vit", "boxes": "layout", "revision": "0" * 40}}
    for given in (None, "vit:mine"):
        with pytest.raises(InputError, match="not here; if its weights lie elsewhere"):
            pixels.load_reader(dataclasses.replace(extractor, record=record), given)
    sizes = tuple(record["identity"]["preprocessing"]["sizes"])
    assert asked == [(f"vit:user/vit@{'0' * 40}", sizes), ("vit:mine", sizes)]


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such directory; pass a run, an exported folder, or USER/NAME"):
        itm_jax.load("nowhere")
    with pytest.raises(InputError, match=r"no config\.json; pass the directory of a run"):
        itm_jax.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json"):
        itm_jax.load(tmp_path)


def test_a_saved_model_reads_images(extracted, models, tmp_path):
    """The extractor travels by name; its results stand in the model card."""
    root, images = extracted
    for name in ("cpfean", "afa"):
        model = models[name]
        model.save(tmp_path / name)
        copy = itm_jax.load(tmp_path / name, backbone=f"vit:{root / 'vit'}")
        paths = [images / "000.png", images / "001.png"]
        np.testing.assert_array_equal(copy.score(paths, ["a red square"]), model.score(paths, ["a red square"]))
        assert copy.fingerprint == model.fingerprint
        assert copy.results == model.results
        for path in (tmp_path / name).rglob("*"):
            assert not path.is_file() or str(root).encode() not in path.read_bytes(), path
        with pytest.raises(InputError, match=r'vit: .*if its weights lie elsewhere, pass .*backbone="KIND:DIR"'):
            itm_jax.load(tmp_path / name).encode_images(paths)


def test_the_model_card_says_the_results(models, tmp_path):
    """Its numbers are those of results.json, and the hub's own reader reads its metadata."""
    from huggingface_hub import ModelCard

    model = models["cpfean"]
    model.save(tmp_path / "saved", license="apache-2.0", name="someone/small-cpfean")
    text = (tmp_path / "saved" / "README.md").read_text()
    card = ModelCard(text)
    full = model.results["protocols"]["full"]
    assert card.data.license == "apache-2.0"
    assert {r.metric_type: r.metric_value for r in card.data.eval_results} == {
        key: round(value, 2) for key, value in full.items() if key == "rsum" or key[4:6] in ("r1", "r5") or "r10" in key
    }
    assert {r.dataset_name for r in card.data.eval_results} == {"mine"}
    assert f"| {full['i2t_r1']:.1f} | {full['i2t_r5']:.1f} |" in text
    assert f"| {full['rsum']:.1f} |" in text
    assert f"| training data | `mine`, {SPLITS['train']} images |" in text
    assert 'itm_jax.load("someone/small-cpfean")' in text
    model.save(tmp_path / "without")
    assert "has not stated a licence" in (tmp_path / "without" / "README.md").read_text()
    itm_jax.load(tmp_path / "saved").save(tmp_path / "again", dtype="bfloat16")
    itm_jax.load(tmp_path / "again").save(tmp_path / "third")  # what the first said is still true
    third = (tmp_path / "third" / "README.md").read_text()
    assert "apache-2.0" in third
    assert "before the weights were rounded to bfloat16" in third


def test_no_path_of_the_machine_is_exported(models, tmp_path):
    """Boxes of a file: the model takes regions alone, its card says so, and the file's folder stays private."""
    extractor = models["afa"].extractor
    record = json.loads(json.dumps(extractor.record))
    record["source"] = {"backbone": "vit:/home/me/secret/vit", "boxes": "/home/me/secret/boxes.jsonl"}
    model = dataclasses.replace(models["afa"], extractor=dataclasses.replace(extractor, record=record))
    model.save(tmp_path / "saved")
    for path in (tmp_path / "saved").rglob("*"):
        assert not path.is_file() or b"secret" not in path.read_bytes(), path
    said = json.loads((tmp_path / "saved" / "extractor.json").read_text())["source"]
    assert said == {"backbone": "vit:vit", "boxes": "boxes.jsonl"}
    assert "regions only (the boxes of its training come from a file" in repr(model)
    assert "a.jpg" not in (tmp_path / "saved" / "README.md").read_text()
