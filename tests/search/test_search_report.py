"""What a search loses is measured: the shortlist, the approximate index, and the recalls of a data set's captions."""

import json
import re

import numpy as np
import pytest
from support.commands import command
from support.search import SPLITS, TEXTS

import itm_jax
from itm_jax.data.splits import read_unaltered
from itm_jax.errors import InputError
from itm_jax.hub import gallery as galleries
from itm_jax.hub.encodings import Encodings
from itm_jax.search.build import build
from itm_jax.search.hits import Hit
from itm_jax.search.recall import approximate_recall, best_images, build_measured, list_recalls, recalls
from itm_jax.search.results_page import figure
from itm_jax.structs import Fragments


def random_gallery(model, rng, count):
    """Images of random unit vectors around 20 centres."""
    width, regions = int(model.config.model.width), model.shape[0]
    shape = (count, width) if model.config.model.name == "afa" else (count, regions, width)
    rows = rng.normal(size=(20, width))[rng.integers(20, size=shape[:-1])] + 0.3 * rng.normal(size=shape)
    rows = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)

    def encode(items):
        part = rows[items]
        if part.ndim == 3:
            part = Fragments(part, np.ones(part.shape[:2], bool))
        return Encodings("images", [(np.arange(len(items)), part)], model.fingerprint, "random"), None

    return galleries.Gallery("images", [str(k) for k in range(count)], encode)


@pytest.mark.parametrize("name", ["afa", "cpfean"])
def test_search_has_the_recalls_of_the_evaluation(made, tmp_path, name):
    """On the gallery of the test split, to the digit; only images of the split are in the index."""
    root, _, models, _ = made
    model = models[name]
    split = read_unaltered(model.config, "test")
    build(model, galleries.of_split(model, split), str(tmp_path / "index"), dtype="float32")
    index = itm_jax.search.open(tmp_path / "index", model)
    captions = model.encode_captions(split.captions)
    full = model.results["protocols"]["full"]
    assert recalls(index, split, captions) == {
        k: pytest.approx(full[k], abs=1e-9) for k in ("t2i_r1", "t2i_r5", "t2i_r10")
    }
    some = recalls(index, split, captions, where="id = 'no such image'")
    assert some == {"t2i_r1": 0, "t2i_r5": 0, "t2i_r10": 0}  # an image that is not found is no hit
    with pytest.raises(InputError, match=r"4 of its 4 images are not in the index, such as "):
        recalls(index, read_unaltered(model.config, "dev"), captions)
    flags = (f"--index={tmp_path / 'index'}", f"--data={root / 'out'}", "--split=test", "--lengths=1,5")
    code, out, err = command("report", *flags, module="itm_jax.search.__main__")
    assert code == 0, err
    rows = [
        re.findall(r"\d+\.\d", line)
        for line in out.splitlines()
        if line.lstrip().startswith(("search ", "results.json"))
    ]
    assert rows[0] == rows[1] == [f"{full[k]:.1f}" for k in ("t2i_r1", "t2i_r5", "t2i_r10")]
    code, out, err = command("report", *flags, "--json", module="itm_jax.search.__main__")
    assert [row["length"] for row in json.loads(out)["lists"]] == ([1, 5] if name == "cpfean" else [])
    if name == "afa":
        assert "it loses nothing" in command("report", *flags, module="itm_jax.search.__main__")[2][-1]


def test_the_recall_of_a_list_by_hand(made):
    """Lists by the sum of the best cosines, against the scores of all images."""
    _, images, models, places = made
    model = models["cpfean"]
    index = itm_jax.search.open(places["cpfean"], model)
    captions = model.encode_captions(TEXTS)
    names = galleries.images_in(images)
    encoded = model.encode_images([images / name for name in names])
    scores = model.score(encoded, captions)
    for k, found in enumerate(best_images(index, captions, 10)):
        np.testing.assert_allclose(
            scores[[names.index(x) for x in found], k], np.sort(scores[:, k])[:-11:-1], atol=1e-5
        )
    [(_, rows)] = encoded.parts
    best, top = [], []
    for k in range(len(TEXTS)):
        [(_, words)] = captions.item(k).parts
        cosines = np.einsum("ird,ld->irl", rows.rows, np.asarray(words.rows)[0][np.asarray(words.mask)[0]])
        listed = np.argsort(-cosines.max(axis=1).sum(axis=1))[:4]
        order = np.argsort(-scores[:, k])
        best.append(order[0] in listed)
        top.append(len(set(order[:10]) & set(listed)) / 10)
    [row] = list_recalls(index, captions, [4])
    assert (row.way, row.length, row.among) == ("exact", 4, 10)
    assert row.best == pytest.approx(np.mean(best))
    assert row.top == pytest.approx(np.mean(top))
    assert row.seconds > 0
    whole = list_recalls(index, captions, [sum(SPLITS.values())])[0]
    assert (whole.best, whole.top) == (1, 1)


@pytest.mark.parametrize("name", ["afa", "cpfean"])
def test_the_approximate_index_is_measured_and_used_on_request(made, tmp_path, rng, name, capsys):
    _, _, models, _ = made
    model, place = models[name], str(tmp_path / "index")
    build(model, random_gallery(model, rng, 300), place)
    index = itm_jax.search.open(place, model)
    with pytest.raises(InputError, match="has no approximate index; build it first"):
        index.query("red", approximate=True)
    before = index.query("red", top=5)
    recall = build_measured(place, model)
    assert recall > 0.6
    assert f"100 images of the gallery as questions it finds {recall:.1%} of the 10 nearest" in capsys.readouterr().err
    assert index.query("red", top=5) == before  # exact unless it is asked for
    found = index.query("red", top=5, approximate=True)
    assert len({hit.id for hit in found}) == 5  # which ones: the index learns from a random start
    rows = list_recalls(index, model.encode_captions(["red"]), [20])
    assert [row.way for row in rows] == (["approximate"] if name == "afa" else ["exact", "approximate"])
    code, _, err = command("add", f"--index={place}", "--approximate", module="itm_jax.search.__main__")  # once more
    assert code == 0, err
    assert "approximate index built in" in err[-1]
    assert 0 <= approximate_recall(index, ["0", "1"]) <= 1


@pytest.mark.parametrize("regions", [1, 3])
def test_the_benchmark_finds_what_brute_force_finds(regions):
    pytest.importorskip("faiss", reason="pip install -e '.[vectors]'")
    flags = ("search", "--images=300", f"--regions={regions}", "--joint=16", "--repeats=2")
    code, out, err = command(*flags, module="itm_jax.bench.__main__")
    assert code == 0, err
    figures = dict(line.split() for line in out.splitlines())
    assert float(figures["exact_recall_at_10"]) == 1
    assert float(figures["approximate_recall_at_10"]) > 0.3
    assert int(figures["bytes_on_disk"]) > int(figures["bytes_of_vectors"]) == 300 * regions * 16 * 2


def test_too_few_vectors_for_an_approximate_index(made, tmp_path):
    _, _, models, places = made
    with pytest.raises(InputError, match="needs at least 256 vectors, the index has about 21; search exactly"):
        build_measured(places["afa"], models["afa"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--lengths=a"], "--lengths=a: must be whole numbers from 1 on"),
        (["--lengths=0"], "--lengths=0: must be whole numbers from 1 on"),
        ([], "--queries, --data: pass one of them"),
        (["--queries=x", "--lengths=20000"], "--lengths=20000: a list has at most 10,000 images"),
        (["--queries=nothing.txt"], "nothing.txt: cannot be read as text"),
        (["--queries=nothing.txt", "--shortlist=7"], "--split, --shortlist: have no effect with --queries"),
        (["--top=3"], "--top: has no effect on report"),
    ],
)
def test_wrong_flags_of_the_report(made, flags, message):
    code, _, err = command("report", f"--index={made[3]['afa']}", *flags, module="itm_jax.search.__main__")
    assert code == 2
    assert message in err[-1]


@pytest.mark.parametrize("name", ["afa", "cpfean"])
def test_a_page_of_answers(made, tmp_path, name):
    """All pictures are inside; a model of fragments has a picture of what decided for each image of a text."""
    _, images, _, places = made
    file = tmp_path / "found.html"
    image = images / galleries.images_in(images)[0]
    flags = (f"--index={places[name]}", "--text=a <b>red</b> square", f"--image={image}", "--top=3")
    code, _, err = command("query", *flags, f"--html={file}", module="itm_jax.search.__main__")
    assert code == 0, err
    html = file.read_text()
    assert "a &lt;b&gt;red&lt;/b&gt; square" in html
    assert "<b>red</b>" not in html
    assert html.count('alt="image ') == 6
    assert html.count("what decided</summary>") == (3 if name == "cpfean" else 0)
    assert html.count("red in region") == (3 if name == "cpfean" else 0)
    assert "src=" in html
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    assert str(tmp_path) not in html
    code, _, err = command("query", *flags, "--html=found.txt", module="itm_jax.search.__main__")
    assert (code, "must end in .html" in err[-1]) == (2, True)


@pytest.mark.parametrize("picture", [b"", b"no picture", b"\xff\xd8\xff\xe0 cut"])
def test_a_damaged_thumbnail_is_no_picture(picture):
    hit = Hit("a.jpg", 0.5, {}, picture)
    assert "no picture in the index" in figure(hit, 1)


def test_an_image_is_explained_from_what_the_index_holds(made):
    _, images, models, places = made
    index = itm_jax.search.open(places["cpfean"], models["cpfean"])
    name = galleries.images_in(images)[2]
    seen = index.explain(name, TEXTS[0])
    expected = models["cpfean"].explain(images / name, TEXTS[0])
    assert seen.matching.words == expected.words
    np.testing.assert_allclose(seen.matching.cosines, expected.cosines, atol=1e-5)
    assert seen.matching.score == pytest.approx(expected.score, abs=1e-5)
    boxes = models["cpfean"].reader.split([images / name]).boxes
    np.testing.assert_allclose(seen.boxes, boxes[0], atol=1e-6)
    assert seen.thumbnail is not None
    with pytest.raises(InputError, match="what the index keeps does not say what decided"):
        itm_jax.search.open(places["afa"], models["afa"]).explain(name, TEXTS[0])
    with pytest.raises(InputError, match="has no image nothing"):
        index.explain("nothing", TEXTS[0])
    with pytest.raises(TypeError, match="unknown best; known are top, where, shortlist, approximate"):
        index.query("red", best=3)
