"""Questions to an index: it finds what the model finds, and what is no index of the model is refused."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from support.commands import command
from support.search import NAMES, SPLITS, TEXTS, best, ids_of

import itm_jax
from itm_jax.data.splits import read_unaltered
from itm_jax.errors import InputError
from itm_jax.hub import gallery as galleries
from itm_jax.search.build import build
from itm_jax.search.table import KEY, TABLE, open_table


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shortlist", [200, 8])
def test_a_text_finds_what_the_model_finds(made, name, shortlist):
    _, images, models, places = made
    index = itm_jax.search.open(places[name], models[name])
    assert len(index) == sum(SPLITS.values())
    for text in TEXTS:
        hits = index.query(text, top=4, shortlist=shortlist)
        ids, scores = best(models[name], images, text, 4)
        if name == "afa" or shortlist == 200:
            np.testing.assert_allclose([hit.score for hit in hits], scores, atol=1e-4)
            assert ids_of(hits)[0] == ids[0] or scores[0] - scores[1] < 1e-4
        assert len(hits) == 4
        alone = models[name].score([images / hit.id for hit in hits], [text])[:, 0]  # with any shortlist
        np.testing.assert_allclose([hit.score for hit in hits], alone, atol=1e-4)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        thumbnail = hits[0].thumbnail
        assert thumbnail is not None
        assert thumbnail[:2] == b"\xff\xd8"


@pytest.mark.parametrize("name", NAMES)
def test_an_image_finds_itself_and_like_does_not(made, name):
    _, images, models, places = made
    index = itm_jax.search.open(places[name], models[name])
    file = galleries.images_in(images)[3]
    for image in (images / file, Image.open(images / file)):
        hit = index.query(image=image, top=1)[0]
        assert hit.score == pytest.approx(1, abs=1e-4)
    hits = index.query(like=file, top=5)
    assert file not in ids_of(hits)
    assert len(hits) == 5
    with pytest.raises(InputError, match="has no image nothing"):
        index.query(like="nothing")
    with pytest.raises(InputError, match=r"top=0, shortlist=200: must be from 1 to 10,000"):
        index.query("red", top=0)
    with pytest.raises(InputError, match="pass one of text, image and like"):
        index.query("red", like=file)


def test_cosines_of_one_vector_by_hand(made):
    _, images, models, places = made
    names = galleries.images_in(images)
    [(_, rows)] = models["afa"].encode_images([images / name for name in names]).parts
    hits = itm_jax.search.open(places["afa"], models["afa"]).query(like=names[0], top=3)
    cosines = np.asarray(rows) @ np.asarray(rows)[0]
    expected = np.sort(cosines[1:])[::-1][:3]
    np.testing.assert_allclose([hit.score for hit in hits], expected, atol=1e-4)


def test_images_with_more_regions_than_the_training_had(made, tmp_path):
    """A data set may have more regions; the model scores all of them."""
    _, _, models, _ = made
    model = models["cpfean"]
    split = read_unaltered(model.config, "test")
    more = dataclasses.replace(
        split,
        features=np.concatenate([split.features, split.features[:, :3] * 2], axis=1),
        boxes=np.concatenate([split.boxes, split.boxes[:, :3]], axis=1),
        labels=None if split.labels is None else np.concatenate([split.labels, split.labels[:, :3]], axis=1),
    )
    build(model, galleries.of_split(model, more), str(tmp_path / "index"), dtype="float32")
    hits = itm_jax.search.open(tmp_path / "index", model).query("a red square", top=5)
    scores = model.score(model.encode_images(galleries.part_of(more, np.arange(5))), ["a red square"])[:, 0]
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(scores)[::-1], atol=1e-4)


def test_what_is_no_index_of_this_model_is_refused(made, tmp_path):
    import lancedb

    _, images, models, places = made
    with pytest.raises(InputError, match=r"built with .*cpfean .*, but the model is .*afa"):
        itm_jax.search.open(places["cpfean"], models["afa"])
    with pytest.raises(InputError, match=r"holds an index of .*cpfean .*not of .*afa"):
        build(models["afa"], galleries.of_images(models["afa"], images), places["cpfean"], dtype="float32")
    with pytest.raises(InputError, match="was begun with dtype 'float32', not 'float16'"):
        build(models["afa"], galleries.of_images(models["afa"], images), places["afa"])
    with pytest.raises(InputError, match=r"no such folder; build the index first"):
        itm_jax.search.open(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no index; build it first"):
        itm_jax.search.open(tmp_path / "empty")
    schema = dataclasses.replace(open_table(places["afa"])[1], format=2).schema()
    lancedb.connect(str(tmp_path / "later")).create_table(TABLE, schema=schema)
    with pytest.raises(InputError, match="of format 2, this version of itm_jax reads 1"):
        itm_jax.search.open(tmp_path / "later")
    for k, wrong in enumerate(({"width": "x"}, {"metadata": 3}, {"model": 5}, {"dtype": "foo"}, {"width": 0})):
        schema = open_table(places["afa"])[1].schema()
        record = json.loads(schema.metadata[KEY]) | wrong
        schema = schema.with_metadata({KEY: json.dumps(record)})
        lancedb.connect(str(tmp_path / f"wrong{k}")).create_table(TABLE, schema=schema)
        with pytest.raises(InputError, match="a table of something else"):
            itm_jax.search.open(tmp_path / f"wrong{k}")
    schema = (
        open_table(places["afa"])[1]
        .schema()
        .with_metadata(dataclasses.replace(open_table(places["afa"])[1], width=7).schema().metadata)
    )
    lancedb.connect(str(tmp_path / "narrow")).create_table(TABLE, schema=schema)
    with pytest.raises(InputError, match="its columns are not those of its record"):
        itm_jax.search.open(tmp_path / "narrow")
    lancedb.connect(str(tmp_path / "other")).create_table(TABLE, [{"id": "a", "vector": [0.0, 1.0]}])
    with pytest.raises(InputError, match="a table of something else"):
        itm_jax.search.open(tmp_path / "other")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="a file; an index is a folder"):
        itm_jax.search.open(tmp_path / "file")
    shutil.copytree(places["afa"], tmp_path / "damaged")
    for path in (tmp_path / "damaged").rglob("*.lance"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match=r"damaged: the index cannot be read"):
        itm_jax.search.open(tmp_path / "damaged", models["afa"]).query("red")


def test_the_index_of_somebody_else_brings_no_code(made, tmp_path, monkeypatch):
    """Its record says where its model is: neither a place beside the index, nor a run with code of its own, is loaded."""
    import lancedb

    root, _, models, places = made
    shutil.copytree(root / "afa", tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["model"]["name"] = "evil:Model"
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text("raise SystemExit('the code of the index ran')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    record = open_table(places["afa"])[1]
    for place, message in (
        ("run", "by a place in the present folder"),
        (str(tmp_path / "run"), "model.name=evil:Model"),
    ):
        schema = dataclasses.replace(record, model=place).schema()
        lancedb.connect("index").create_table(TABLE, schema=schema, mode="overwrite")
        with pytest.raises(InputError, match=rf"{message}.*pass it yourself \(--model="):
            itm_jax.search.open("index")
    assert len(itm_jax.search.open("index", str(root / "afa"))) == 0
    with pytest.raises(InputError, match="expected a list of texts"):
        itm_jax.search.open(places["afa"], models["afa"]).queries("dog")


def test_the_commands(made, tmp_path):
    root, images, models, _ = made
    search = lambda *flags: command(*flags, f"--index={tmp_path / 'index'}", module="itm_jax.search.__main__")  # noqa: E731
    code, _, err = search("build", f"--model={root / 'cpfean'}", f"--images={images}")
    assert code == 0, err
    total = sum(SPLITS.values())
    assert f"{total} images added, {total} in all" in err[-1]
    code, out, err = search("query", "--text=a red square", "--top=3")
    assert code == 0, err
    assert out.splitlines()[0] == f"a red square: 3 of {total} images"
    ids, _ = best(models["cpfean"], images, "a red square", 1)
    assert out.splitlines()[2].split() == ["rank", "score", "image"]
    assert re.fullmatch(rf" *1 +-?\d\.\d{{3}} +{ids[0]} *", out.splitlines()[4])
    (tmp_path / "queries.txt").write_text("\n".join(TEXTS))
    code, out, err = search("query", f"--queries={tmp_path / 'queries.txt'}", "--json")
    assert code == 0, err
    assert [json.loads(line)["query"] for line in out.splitlines()] == TEXTS
    assert len(json.loads(out.splitlines()[0])["hits"]) == 10
    code, out, err = search("query", f"--image={images / ids[0]}", "--top=1")
    assert ids[0] in out
    (tmp_path / "ids.txt").write_text(ids[0] + "\n")
    code, _, err = search("remove", f"--ids_from={tmp_path / 'ids.txt'}")
    assert code == 0, err
    code, out, _ = search("query", f"--like={galleries.images_in(images)[1]}", "--top=30")
    assert ids[0] not in out
    code, _, err = search("add", f"--data={root / 'out'}", "--split=test")
    assert code == 0, err
    for flags, message in {
        ("query",): "pass at least one of them, what to search for",
        ("remove",): "--ids, --ids_from: pass one of them",
        ("query", "--text=red", "--top=20000"): "top=20000, shortlist=200: must be from 1 to 10,000",
        ("remove", "--ids=nothing"): "has no image nothing",
        ("build", f"--model={root / 'cpfean'}"): "--images, --data: pass one of them",
        ("query", "--text=red", "--filter=nothing > 1"): "no condition on the columns",
        ("query", "--text= "): "empty; write at least one word",
        (
            "query",
            "--text=red",
            "--thumbnails=3",
        ): "--thumbnails: has no effect on query; leave it out (it is for build)",
        ("find",): "say one of build, add, remove, query, report, serve",
    }.items():
        code, _, err = search(*flags)
        assert code == 2
        assert message in err[-1], err
