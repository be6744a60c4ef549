"""The search page: its answers without a browser, questions at once, and a person with a real browser."""

import base64
import concurrent.futures
import io
import json
import re
import shutil
import sys
import tempfile
import threading
import urllib.request

import pytest
from PIL import Image
from support.commands import command
from support.page import asked, others_than, served, visited
from support.paths import ROOT
from support.search import SPLITS, TEXTS, ids_of

import itm_jax
from itm_jax.hub import gallery as galleries
from itm_jax.search import build as building
from itm_jax.search.build import add, build
from itm_jax.search.metadata import read_metadata
from itm_jax.search.page_answers import PageAnswers

COLOURS = ("red", "blue", "green", "white", "black")


@pytest.fixture(scope="module")
def place(made, tmp_path_factory):
    """An index of the CPFEAN run with metadata."""
    _, images, models, _ = made
    folder = tmp_path_factory.mktemp("page")
    names = galleries.images_in(images)
    (folder / "years.csv").write_text("\n".join(["id,year", *(f"{n},{2000 + k}" for k, n in enumerate(names))]))
    items = galleries.of_images(models["cpfean"], images)
    build(models["cpfean"], items, str(folder / "index"), metadata=read_metadata(folder / "years.csv"))
    return folder / "index"


@pytest.fixture(scope="module")
def answers(made, place):
    return PageAnswers(itm_jax.search.open(place, made[2]["cpfean"]), 200, False)


def sent(path):
    """An image as the browser sends it."""
    return [{"name": path.name, "data": f"data:;base64,{base64.b64encode(path.read_bytes()).decode()}"}]


def ids_in(grid):
    return re.findall(r'data-do="like" data-id="([^"]*)"', grid)


def error_of(html):
    found = re.fullmatch(r'<p class="error" role="alert">(.*)</p>', html)
    assert found, html[:300]
    return found[1]


def test_the_page_finds_what_the_index_finds(made, answers):
    _, images, _, _ = made
    file = images / galleries.images_in(images)[3]
    for found, hits in (
        (answers.search(TEXTS[0], [], "", 12), answers.index.query(TEXTS[0], top=12)),
        (
            answers.search("", sent(file), "year > 2001", 12),
            answers.index.query(image=file, top=12, where="year > 2001"),
        ),
        (answers.like(file.name, "", 12), answers.index.query(like=file.name, top=12)),
    ):
        assert ids_in(found.grid) == ids_of(hits)
        titles = re.findall(r"<figcaption><b>(.*?)</b>", found.grid)
        assert titles == [f"{k}. {hit.score:.3f}" for k, hit in enumerate(hits, 1)]
        assert f"{len(hits)} of {sum(SPLITS.values())} images" in found.message
        picture = base64.b64decode(re.search(r'src="data:image/jpeg;base64,([^"]*)"', found.grid)[1])
        assert max(Image.open(io.BytesIO(picture)).size) <= 256
        assert found.grid.count('data-do="why"') == (len(hits) if found.text else 0)
    html = answers.why(file.name, TEXTS[0])
    assert f"{file.name}: what decided" in html
    assert "red in region" in html


def test_mistakes_are_answered_with_a_sentence(made, answers):
    root, images, models, places = made
    file = images / galleries.images_in(images)[3]
    for found, message in (
        (answers.search(" ", [], "", 12), "the caption is empty"),
        (answers.search("red", sent(file), "", 12), "ask with one of them"),
        (answers.search("x" * 2000, [], "", 12), "write at most 1,000"),
        (answers.search("red", [], "year > ", 12), "no condition on the columns id, year"),
        (answers.search("red", [], "", 1_000_000), "choose 12, 24, 48 images"),
        (answers.search("", sent(file) * 2, "", 12), "choose one image alone"),
        (answers.search("", [{"name": "a.png", "data": "data:;base64,"}], "", 12), "a.png: empty"),
        (answers.search(["red"], [], "", 12), "did not arrive"),
        (answers.like("../../etc/passwd", "", 12), "has no image ../../etc/passwd"),
        (answers.search("red", [], "year / 0 > 3", 12), "&#x27;year / 0 &gt; 3&#x27;: no condition on the columns"),
        (answers.like(None, "", 12), "has no image"),
    ):
        assert found.grid == ""
        assert message in error_of(found.message)
        assert str(root) not in found.message
    assert "the caption is empty" in error_of(answers.why(file.name, ""))
    assert "has no image nothing" in error_of(answers.why("nothing", "red"))
    one = PageAnswers(itm_jax.search.open(places["afa"], models["afa"]), 200, False)
    assert 'data-do="why"' not in one.search("red", [], "", 12).grid
    assert "what the index keeps does not say what decided" in error_of(one.why(file.name, "red"))


def test_a_question_during_an_addition_sees_whole_parts(made, tmp_path, monkeypatch):
    _, images, models, _ = made
    model, place = models["afa"], str(tmp_path / "index")
    names = galleries.images_in(images)
    build(model, galleries.Gallery("images", names[:3], galleries.of_images(model, images).encode), place)
    monkeypatch.setattr(galleries, "PART", 2)
    monkeypatch.setattr(building, "IMAGES", 4)
    seen, done = [], threading.Event()

    def ask():
        index = itm_jax.search.open(place, model)
        while not done.is_set():
            seen.append(len(index.query("red", top=50)))

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask) for _ in range(2)]
        while len(seen) < 4:
            assert not any(x.done() for x in asking)
        add(model, galleries.of_images(model, images), place)
        done.set()
        [x.result() for x in asking]
    assert set(seen) <= {3, *range(3, len(names), 4), len(names)}
    assert min(seen) == 3


def test_mistakes_of_the_command(made, tmp_path):
    _, _, _, places = made
    run = lambda *flags: command("serve", *flags, "--port=0", module="itm_jax.search.__main__")  # noqa: E731
    for flags, message in {
        (f"--index={tmp_path / 'nothing'}",): "no such folder; build the index first",
        (f"--index={places['afa']}", "--approximate"): "has no approximate index",
        (f"--index={places['afa']}", "--text=red"): "--text: has no effect on serve",
        (f"--index={places['afa']}", "--model=nowhere"): "nowhere: no such directory",
    }.items():
        code, _, err = run(*flags)
        assert code == 2
        assert message in err[-1]


@pytest.fixture(scope="module")
def page(place):
    pytest.importorskip("gradio", reason="pip install -e '.[demo]'")
    with served("itm_jax.search", "serve", f"--index={place}") as page:
        yield page


def test_fifty_questions_at_once(page, answers):
    """Each gets its own answer."""
    _, address, _ = page
    config = json.loads(asked(address + "/config")[1])
    [search] = [event["id"] for event in config["dependencies"] if len(event["inputs"]) == 4]
    texts = [f"{a} {b}" for a in COLOURS for b in ("square", "left", "of green", "circle", "and white")] * 2

    def ask(k):
        body = {"data": [texts[k], [], "", 12], "fn_index": search, "session_hash": f"s{k}"}
        request = urllib.request.Request(f"{address}/gradio_api/queue/join", json.dumps(body).encode())
        request.add_header("content-type", "application/json")
        urllib.request.urlopen(request, timeout=120).close()
        _, stream = asked(f"{address}/gradio_api/queue/data?session_hash=s{k}")
        messages = [json.loads(line.removeprefix("data:")) for line in stream.splitlines() if line.startswith("data:")]
        [done] = [message for message in messages if message["msg"] == "process_completed"]
        return done["output"]["data"], stream

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        got = list(pool.map(ask, range(50)))
    for text, (data, stream) in zip(texts, got, strict=True):
        assert f"“{text}”" in data[0]
        assert ids_in(data[1]) == ids_in(answers.search(text, [], "", 12).grid)
        for path in (str(ROOT), sys.prefix, tempfile.gettempdir() + "/"):
            assert path not in stream


@pytest.fixture(scope="module")
def hostile(made, tmp_path_factory):
    """An index with names that would be code or markup, of images and in their metadata."""
    _, images, models, _ = made
    folder = tmp_path_factory.mktemp("hostile")
    names = ["${document.title='run'}.png", "a\\u.png", "<img src=x onerror=document.title='run'>.png", "`'\"&.png"]
    (folder / "images").mkdir()
    for name, file in zip(names, galleries.images_in(images), strict=False):
        shutil.copy(images / file, folder / "images" / name)
    lines = [f'"{name.replace(chr(34), 2 * chr(34))}","${{document.title=1}}</p>\\u"' for name in names]
    (folder / "notes.csv").write_text("\n".join(["id,note", *lines]))
    items = galleries.of_images(models["cpfean"], folder / "images")
    build(models["cpfean"], items, str(folder / "index"), metadata=read_metadata(folder / "notes.csv"))
    return folder, sorted(names)


def test_names_of_images_are_no_code(hostile):
    """Neither in the grid, nor where a file is chosen; all names are shown as they are."""
    pytest.importorskip("gradio", reason="pip install -e '.[demo]'")
    folder, names = hostile
    with (
        served("itm_jax.search", "serve", f"--index={folder / 'index'}") as (_, address, _),
        visited(address) as (view, expect, _),
    ):
        view.get_by_label("Text", exact=True).fill("red")
        view.get_by_role("button", name="Search").click()
        figures = view.locator(".found figure")
        expect(figures).to_have_count(4)
        shown = "\n".join(figures.all_inner_texts())
        assert all(name in shown for name in names)
        assert shown.count("${document.title=1}</p>\\u") == 4
        view.get_by_role("button", name="more like this").first.click()
        expect(figures).to_have_count(3)
        view.get_by_label("Text", exact=True).fill("")
        for name in names:
            view.locator("input[type=file]").set_input_files(folder / "images" / name)
            expect(view.locator(".chosen figcaption")).to_have_text(re.sub(r"[\\`${}]", "_", name))
        view.get_by_role("button", name="Search").click()
        expect(figures).to_have_count(4)
        assert view.title() == "Search in index"


def test_a_person_searches(page, made):
    """A text, why an image was found, more like one, an image, a filter. Nothing but this machine is asked for anything."""
    _, address, said = page
    assert f"{sum(SPLITS.values())} images" in "".join(said)
    _, images, _, _ = made
    with visited(address) as (view, expect, urls):
        expect(view.get_by_text("Nothing leaves this machine")).to_be_visible()
        view.get_by_label("Text", exact=True).fill("a red square")
        view.get_by_role("button", name="Search").click()
        figures = view.locator(".found figure")
        expect(figures).to_have_count(12)
        view.get_by_role("button", name="what decided").first.click()
        expect(view.locator(".answer img")).to_be_visible()
        first = figures.first.locator("figcaption").inner_text().split()[2]
        view.get_by_role("button", name="more like this").first.click()
        expect(view.get_by_text(f"like {first}")).to_be_visible()
        assert first not in figures.first.locator("figcaption").inner_text()
        expect(view.get_by_role("button", name="what decided")).to_have_count(0)
        view.get_by_label("Text", exact=True).fill("")
        view.locator("input[type=file]").set_input_files(images / first)
        view.get_by_label("Filter by year (int64)").fill("year >= 2015")
        view.get_by_role("button", name="Search").click()
        expect(figures).to_have_count(6)
        view.get_by_label("Filter by year (int64)").fill("yeer > 1")
        view.get_by_role("button", name="Search").click()
        expect(view.get_by_text("no condition on the columns id, year")).to_be_visible()
    assert not others_than(address, urls)
