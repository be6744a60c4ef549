"""Search: the index finds what the model finds; it is changed, continued, and refuses what it cannot use."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from support.commands import command
from support.images import extracted_runs

import itm_jax
from itm_jax.data.splits import read_unaltered
from itm_jax.errors import InputError
from itm_jax.hub import gallery as galleries
from itm_jax.search import build as building
from itm_jax.search.build import add, build, remove
from itm_jax.search.metadata import read_metadata, types_of
from itm_jax.search.table import TABLE, open_table

pytest.importorskip("lancedb", reason="pip install -e '.[search]'")
SPLITS = {"train": 12, "dev": 4, "test": 5}
TEXTS = ["a red square", "blue left of green", "white"]
NAMES = ("afa", "cpfean")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder of the runs, folder of the images, {name: model}, {name: place of an index of all images})."""
    root = tmp_path_factory.mktemp("search")
    images = extracted_runs(root, SPLITS, NAMES)
    models = {name: itm_jax.load(root / name) for name in NAMES}
    places = {name: str(root / f"index-{name}") for name in NAMES}
    for name, model in models.items():
        assert build(model, galleries.of_images(model, images), places[name], dtype="float32") == sum(SPLITS.values())
    return root, images, models, places


def ids_of(hits):
    return [hit.id for hit in hits]


def best(model, images, text, top):
    """What a search without an index finds: the scores of all images."""
    names = galleries.images_in(images)
    scores = model.score([images / name for name in names], [text])[:, 0]
    order = np.argsort(-scores, kind="stable")[:top]
    return [names[k] for k in order], scores[order]


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
    with pytest.raises(InputError, match="top=0, shortlist=200: must be at least 1"):
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


def test_images_are_added_and_removed(made, tmp_path):
    _, images, models, _ = made
    names = galleries.images_in(images)
    for folder, some in (("first", names[:6]), ("more", names[4:9])):
        (tmp_path / folder).mkdir()
        for name in some:
            shutil.copy(images / name, tmp_path / folder / name)
    model, place = models["afa"], str(tmp_path / "index")
    assert build(model, galleries.of_images(model, tmp_path / "first"), place, thumbnails=0) == 6
    assert add(model, galleries.of_images(model, tmp_path / "more"), place) == 3  # two were there
    index = itm_jax.search.open(place, model)
    assert sorted(ids_of(index.query("red", top=20))) == names[:9]
    assert index.query("red", top=1)[0].thumbnail is None
    assert remove(place, [names[2], names[7]]) == 2
    index = itm_jax.search.open(place, model)
    assert sorted(ids_of(index.query("red", top=20))) == [n for n in names[:9] if n not in (names[2], names[7])]
    with pytest.raises(InputError, match=rf"has no image {names[2]}; 1 of 2 ids are unknown"):
        remove(place, [names[0], names[2]])
    assert len(itm_jax.search.open(place, model)) == 7


def test_a_killed_build_is_continued(made, tmp_path, monkeypatch):
    """The rows that were written stay; the same call writes the others, and the index opens in between."""
    _, images, models, places = made
    model, place = models["afa"], str(tmp_path / "index")
    monkeypatch.setattr(building, "PARTS", 2)
    monkeypatch.setattr(galleries, "PART", 2)
    calls, as_table = [], building._as_table

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return as_table(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(building, "_as_table", killed)
        with pytest.raises(KeyboardInterrupt):
            build(model, galleries.of_images(model, images), place, dtype="float32")
    assert len(itm_jax.search.open(place, model)) == 4
    assert build(model, galleries.of_images(model, images), place, dtype="float32") == sum(SPLITS.values()) - 4
    whole = itm_jax.search.open(places["afa"], model)
    for text in TEXTS:
        one, other = (index.query(text, top=5) for index in (itm_jax.search.open(place, model), whole))
        np.testing.assert_allclose([h.score for h in one], [h.score for h in other], atol=1e-6)
    assert build(model, galleries.of_images(model, images), place, dtype="float32") == 0


def test_filters_by_metadata(made, tmp_path):
    _, images, models, _ = made
    names = galleries.images_in(images)
    file = tmp_path / "metadata.csv"
    lines = [f"{name},{2000 + k},{'Oslo' if k % 2 else 'OFallon'},{k / 2}" for k, name in enumerate(names)]
    file.write_text("\n".join(["id,year,place,size", *lines]) + "\n")
    model, place = models["afa"], str(tmp_path / "index")
    build(model, galleries.of_images(model, images), place, metadata=read_metadata(file))
    assert dict(open_table(place)[1].metadata) == {"year": "int64", "place": "string", "size": "double"}
    index = itm_jax.search.open(place, model)
    hits = index.query("red", top=30, where="year >= 2010 AND place = 'Oslo'")
    assert sorted(ids_of(hits)) == [name for k, name in enumerate(names) if k >= 10 and k % 2]
    assert all(hit.metadata["year"] >= 2010 and hit.metadata["size"] >= 5 for hit in hits)
    assert index.query("red", where="year > 3000") == []
    for wrong in ("yeer > 3", "year >", "drop table images", "year > 3; drop table images", ""):
        with pytest.raises(InputError, match="no condition on the columns id, year, place, size"):
            index.query("red", where=wrong)
    with pytest.raises(InputError, match=r"its columns of metadata are year \(int64\), .*those of --metadata are none"):
        add(model, galleries.of_images(model, images), place)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,year\na,1\n", "has no column id"),
        ("id,vector\na,1\n", "a column cannot have the name 'vector'"),
        ("id,a b\na,1\n", "a column cannot have the name 'a b'"),
        ("id,year,year\na,1,2\n", "two columns have the name 'year'"),
        ("id,_distance\na,1\n", "a column cannot have the name '_distance'"),
        ("id,year\n", "has no lines below"),
        ("id,year\na\n", "line 2: has another number of values"),
        ("id,year\na,1,2\n", "line 2: has another number of values"),
        ("id,year\na,1\nb,2\na,3\n", "the id a has two lines"),
    ],
)
def test_metadata_that_cannot_be_used_is_named(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_metadata(tmp_path / "x.csv")
    with pytest.raises(InputError, match="cannot be read as CSV"):
        read_metadata(tmp_path / "nothing.csv")


def test_a_refused_build_leaves_nothing_behind(made, tmp_path):
    """The corrected command finds no settings of the refused one."""
    _, images, models, _ = made
    model, place = models["afa"], str(tmp_path / "index")
    items = galleries.of_images(model, images)
    with pytest.raises(InputError, match=r"no line in --metadata; 21 images have none"):
        build(model, items, place, metadata={"other": {"year": 1}})
    with pytest.raises(InputError, match=r"a\.png: two images with this id"):
        build(model, dataclasses.replace(items, ids=["a.png", "b.png", "a.png"]), place)
    assert build(model, items, place) == sum(SPLITS.values())


def test_columns_have_the_types_of_their_values(tmp_path):
    """Codes stay text, an empty cell is no value, and numbers beyond 64 bits are no integers."""
    header, lines = "id,large,small,code,gap,grouped", [f"a,{2**70},1,0150,,1_000", f"b,3,{-(2**63)},7,2.5,3"]
    (tmp_path / "x.csv").write_text("\n".join([header, *lines]) + "\n")
    values = read_metadata(tmp_path / "x.csv")
    types = {"large": "double", "small": "int64", "code": "string", "gap": "double", "grouped": "string"}
    assert types_of(values) == types
    assert values["a"] == {"large": float(2**70), "small": 1, "code": "0150", "gap": None, "grouped": "1_000"}
    (tmp_path / "more.csv").write_text("gap,id,code,grouped,small,large\n7,c,12,,3,4\n")
    more = read_metadata(tmp_path / "more.csv", types)  # in the types of the index, and in any order
    assert more["c"] == {"gap": 7.0, "code": "12", "grouped": None, "small": 3, "large": 4.0}
    (tmp_path / "wrong.csv").write_text("gap,id,code,grouped,small,large\n7,c,12,,3,4\n7,d,12,,many,4\n")
    with pytest.raises(InputError, match="line 3: small is no int64, as in the index"):
        read_metadata(tmp_path / "wrong.csv", types)
    with pytest.raises(InputError, match=r"its columns are large, small.*; the index has year \(int64\)"):
        read_metadata(tmp_path / "x.csv", {"year": "int64"})


def test_an_open_index_sees_what_is_written_and_an_id_stays_unique(made, tmp_path, monkeypatch):
    """Also where two processes build the same index: the second finds an id that it did not know."""
    _, images, models, _ = made
    model, place = models["afa"], str(tmp_path / "index")
    items = galleries.of_images(model, images)
    first = dataclasses.replace(items, ids=items.ids[:6])
    build(model, first, place, thumbnails=0)
    index = itm_jax.search.open(place, model)
    assert len(index.query("red", top=30)) == 6
    with monkeypatch.context() as patch:
        patch.setattr(building, "_ids", lambda table: set())
        build(model, items, place, thumbnails=0)
    assert len(index) == sum(SPLITS.values())
    found = ids_of(index.query("red", top=30))
    assert sorted(found) == sorted(items.ids)


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
    items = galleries.Gallery("images", split.ids, lambda rows: model.encode_images(galleries.part_of(more, rows)))
    build(model, items, str(tmp_path / "index"), dtype="float32")
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
    assert re.fullmatch(rf" +1 +-?\d\.\d{{3}}  {ids[0]}", out.splitlines()[1])
    (tmp_path / "queries.txt").write_text("\n".join(TEXTS))
    code, out, err = search("query", f"--queries={tmp_path / 'queries.txt'}", "--json")
    assert code == 0, err
    assert [json.loads(line)["query"] for line in out.splitlines()] == TEXTS
    assert len(json.loads(out.splitlines()[0])["hits"]) == 10
    code, out, err = search("query", f"--image={images / ids[0]}", "--top=1")
    assert ids[0] in out
    code, _, err = search("remove", f"--ids={ids[0]}")
    assert code == 0, err
    code, out, _ = search("query", f"--like={galleries.images_in(images)[1]}", "--top=30")
    assert ids[0] not in out
    code, _, err = search("add", f"--data={root / 'out'}", "--split=test")
    assert code == 0, err
    for flags, message in {
        ("query",): "pass at least one of them, what to search for",
        ("remove",): "--ids: missing",
        ("remove", "--ids=nothing"): "has no image nothing",
        ("build", f"--model={root / 'cpfean'}"): "--images, --data: pass one of them",
        ("query", "--text=red", "--filter=nothing > 1"): "no condition on the columns",
        ("query", "--text= "): "empty; write at least one word",
        (
            "query",
            "--text=red",
            "--thumbnails=3",
        ): "--thumbnails: has no effect on query; leave it out (build takes it)",
        ("find",): "say one of build, add, remove, query",
    }.items():
        code, _, err = search(*flags)
        assert code == 2
        assert message in err[-1], err
