"""The demo page: its answers without a browser, what the server lets through, and both tabs in a real browser."""

import base64
import concurrent.futures
import dataclasses
import io
import json
import re
import signal
import socket
import struct
import sys
import tempfile
import urllib.request
import zlib

import numpy as np
import pytest
from PIL import Image
from support.commands import command
from support.images import extracted_runs
from support.page import asked, others_than, served, visited
from support.paths import ROOT

import itm_jax
from itm_jax.demo.answers import answers_of
from itm_jax.errors import InputError
from itm_jax.web.gate import refusal
from itm_jax.web.limits import MOST_BODY
from itm_jax.web.sentences import without_paths
from itm_jax.web.uploads import kept, shown_name

pytest.importorskip("gradio", reason="pip install -e '.[demo]'")
NAMES = ("cpfean", "afa", "vsepp")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A directory with a folder of images, their features by a small ViT, and small runs on them."""
    root = tmp_path_factory.mktemp("demo")
    extracted_runs(root, {"train": 8, "dev": 2, "test": 2}, NAMES, evaluated=False)
    return root


@pytest.fixture(scope="module")
def answers(root):
    """The functions behind the page of the CPFEAN run."""
    return answers_of(itm_jax.load(root / "cpfean"))


def sent(name, content):
    """A file as the browser sends it."""
    return {"name": name, "data": f"data:;base64,{base64.b64encode(content).decode()}"}


def picture(colour="red", other="blue", size=(40, 30), kind="PNG"):
    """The bytes of an image of two colours."""
    image = Image.new("RGB", size, colour)
    image.paste(other, (size[0] // 2, 0, *size))
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def bomb(width, height):
    """A PNG file of a few bytes that says that it has very many pixels."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def error_of(html):
    """The sentence of an answer that is an error."""
    found = re.fullmatch(r'<p class="error" role="alert">(.*)</p>', html)
    assert found, html[:300]
    return found[1]


def scores_in(html):
    return [float(x) for x in re.findall(r"-?\d+\.\d{3}", html)]


@pytest.mark.parametrize("name", NAMES)
def test_match_has_the_score_of_the_model_and_a_picture_where_there_is_something_to_show(root, name):
    model = itm_jax.load(root / name)
    html, score = answers_of(model).match([sent("a.png", picture())], "red  left of blue")
    image = Image.open(io.BytesIO(picture()))
    assert score == pytest.approx(float(model.score([image], ["red left of blue"])[0, 0]), abs=1e-4)
    assert f"score <b>{score:.3f}</b>" in html
    assert html.count("<img") == 1
    assert ("one vector of the image" in html) == (name == "vsepp")
    assert ("red in region" in html) == (name != "vsepp")
    assert str(root) not in html


def test_another_word_changes_the_picture_and_the_score_before_is_shown(answers):
    file = [sent("a.png", picture())]
    html, score = answers.match(file, "red left of blue")
    other, _ = answers.match(file, "red left of green", score)
    assert f"before: {score:.3f}" in other
    first, second = (re.search(r'src="([^"]*)"', x)[1] for x in (html, other))
    assert first != second
    assert answers.match(file, "red left of blue")[0] == html


def test_captions_and_images_are_ranked(answers):
    captions = ["red left of blue", "green right of white", "<b>black</b> & yellow"]
    html = answers.rank([sent("a.png", picture())], "\n\n".join(captions))
    expected = answers.model.score([Image.open(io.BytesIO(picture()))], captions)[0]
    np.testing.assert_allclose(scores_in(html), sorted(expected, reverse=True), atol=6e-4)
    places = [html.index(text) for text in ("red left", "green right", "&lt;b&gt;black&lt;/b&gt; &amp; yellow")]
    assert np.argsort(places).tolist() == np.argsort(-expected).tolist()
    pairs = [("red", "blue"), ("green", "white"), ("black", "orange"), ("purple", "red"), ("blue", "green")]
    files = [sent(f"{one}.png", picture(one, other)) for one, other in pairs]
    html = answers.rank(files, captions[0])
    images = [Image.open(io.BytesIO(picture(*pair))) for pair in pairs]
    expected = answers.model.score(images, captions[:1])[:, 0]
    order = re.findall(r"<figcaption>\S+ \S+ (\w+)\.png</figcaption>", html)
    assert order == [pairs[k][0] for k in np.argsort(-expected)]


@pytest.mark.parametrize(
    ("files", "caption", "message"),
    [
        ([], "red", "choose an image"),
        (None, "red", "choose an image"),
        ("a.png", "red", "did not arrive"),
        ([{"name": "a.png", "data": "data:;base64,%%%"}], "red", "a.png: did not arrive"),
        ([{"name": "a.png", "data": {"path": "/etc/passwd"}}], "red", "a.png: empty"),
        ([sent("a.png", picture())] * 2, "red", "one image alone"),
        ([sent("a.png", picture())] * 21, "red", "21 images; choose at most 20"),
        ([sent("a.png", picture())], " \n ", "the caption is empty"),
        ([sent("a.png", picture())], None, "the caption is empty"),
        ([sent("a.png", picture())], ["red"], "the caption did not arrive"),
        ([sent("a.png", picture())], "x" * 50_000_000, "50,000,000 characters; write at most 1,000"),
        ([sent("notes.png", b"a text of mine")], "red", "notes.png: not an image"),
        ([sent("C:\\Users\\me\\notes.png", b"%PDF-1.4")], "red", "notes.png: PDF; only"),
        ([sent("../../etc/a.png", b"")], "red", "a.png: empty (0 bytes)"),
        ([sent("half.png", picture(size=(200, 200))[:150])], "red", "half.png: damaged"),
        ([sent("bomb.png", bomb(60_000, 60_000))], "red", "bomb.png: more than 80 million pixels"),
        ([sent("bomb.png", bomb(8_000, 8_000))], "red", "8,000 x 8,000 pixels; an image has at most 40 million"),
        ([sent("<i>.png", b"x" * 10_500_000)], "red", "&lt;i&gt;.png: 10.5 MB; an image has at most 10.0 MB"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_with_a_sentence(answers, files, caption, message):
    html, score = answers.match(files, caption)
    assert message in error_of(html)
    assert score is None
    assert not re.search(r"/\w", error_of(html)), "a path"


def test_mistakes_of_rankings(answers):
    one, two = [sent("a.png", picture())], [sent("a.png", picture()), sent("b.png", picture("green"))]
    assert "21 captions; write at most 20" in error_of(answers.rank(one, "red\n" * 21))
    assert "there is no caption" in error_of(answers.rank(one, "\n \n"))
    assert "2 images and 3 captions; send one image" in error_of(answers.rank(two, "red\nblue\ngreen"))
    large = [sent(f"{k}.png", b"x" * 9_000_000) for k in range(5)]
    assert "45.0 MB together; send at most 40.0 MB" in error_of(answers.rank(large, "red"))


def test_a_defect_is_no_secret_to_the_terminal_and_one_to_the_page(answers, monkeypatch, capsys):
    monkeypatch.setattr("itm_jax.demo.answers.draw_matching", lambda *_: 1 / 0)
    html, _ = answers.match([sent("a.png", picture())], "red")
    assert error_of(html) == "The library failed here. The terminal in which the page was started says where."
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_requests_at_once_do_not_mix(answers):
    pairs = [("red", "blue"), ("green", "white"), ("black", "orange"), ("purple", "yellow")]
    ask = lambda k: answers.match([sent(f"{k}.png", picture(*pairs[k]))], f"{pairs[k][0]} left of {pairs[k][1]}")  # noqa: E731
    alone = [ask(k) for k in range(4)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, [3, 2, 1, 0])) == alone[::-1]


def test_uploads_are_gone_after_the_request():
    with kept([sent("a.png", picture())]) as [upload]:
        assert upload.path.read_bytes() == picture()
        assert upload.pixels.shape == (30, 40, 3)
    assert not upload.path.parent.exists()


def test_names_and_paths():
    assert shown_name("/home/me/\x1b[31ma\nb.png") == "[31mab.png"
    assert shown_name("") == "the image"
    assert len(shown_name("x" * 500)) == 60
    text = "cpfean of /home/my user/runs/cpfean (0a1b)\n images: pixels by vit:/srv/vit, ../b/c, org/name; 1.5 and a.jpg: x"
    clean = "cpfean of cpfean (0a1b)\n images: pixels by vit:vit, c, name; 1.5 and a.jpg: x"
    assert without_paths(text, "/home/my user/runs/cpfean", ".") == clean


def test_words_of_the_user_stay_and_paths_go():
    clean = lambda text, *keep: without_paths(text, "/srv/my index", keep=keep)  # noqa: E731
    assert clean("/srv/my index: has no image /", "/") == "my index: has no image /"
    assert clean("/srv/my index: 10 images at 0, /tmp/x/a.jpg", "i", "0") == "my index: 10 images at 0, a.jpg"
    assert clean("'year / 2 > 3': no condition (/srv/x.rs)", "year / 2 > 3") == "'year / 2 > 3': no condition (x.rs)"


def test_facts_name_the_recipe_without_paths(answers, root):
    facts = "\n".join(answers.facts)
    assert facts.startswith("cpfean of cpfean (")
    assert "trained on mine: 5 regions, 16 wide" in facts
    assert "pixels by vit:vit, or regions" in facts
    assert "/" not in facts


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 0),
        ("GET", "/assets/index.js", {}, 0),
        ("POST", "/gradio_api/queue/join", {b"content-length": b"100"}, 0),
        ("POST", "/gradio_api/queue/join", {b"content-length": b"%d" % (MOST_BODY + 1)}, 413),
        ("POST", "/gradio_api/queue/join", {}, 411),
        ("POST", "/gradio_api/upload", {b"content-length": b"100"}, 404),
        ("GET", "/gradio_api/file=/etc/passwd", {}, 404),
        ("GET", "/openapi.json", {}, 404),
        ("GET", "/gradio_api/proxy=http://example.org", {}, 404),
        ("GET", "/", {b"host": b"evil.example:7860"}, 403),
        ("GET", "/", {b"host": b""}, 403),
    ],
)
def test_what_the_server_lets_through(method, path, headers, status):
    assert refusal(method, path, {b"host": b"127.0.0.1:7860"} | headers)[0] == status


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--model: missing; pass --model=DIR"),
        (["--model=nowhere"], "nowhere: no such directory; pass a run"),
        (["--model=ftp://bucket/run"], "ftp:// is not known; pass gs://"),
        (["--model=nowhere", "--port=70000"], "--port"),
    ],
)
def test_mistakes_of_the_command(arguments, message):
    code, _, err = command(*arguments, *["--port=0"] * ("70000" not in str(arguments)), module="itm_jax.demo.__main__")
    assert code == 2
    assert message in err[-1]


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = command("--model=nowhere", f"--port={port}", module="itm_jax.demo.__main__")
    assert (code, len(err)) == (2, 1)
    assert f"--port={port}: cannot be used (Address already in use); pass another one" in err[0]


def test_a_model_of_features_alone_says_what_to_do(answers):
    with pytest.raises(InputError, match=r"no extractor.json.*extract features with python -m itm_jax.extract"):
        answers_of(dataclasses.replace(answers.model, extractor=None))


@pytest.fixture(scope="module")
def page(root):
    """The page of the CPFEAN run: its process, its address, and what it said."""
    with served("itm_jax.demo", f"--model={root / 'cpfean'}") as page:
        yield page


def test_the_server_answers_this_machine_without_paths(page, root):
    _, address, said = page
    assert "trained on mine: 5 regions, 16 wide" in "".join(said)
    for path in ("/", "/config", "/theme.css", "/manifest.json", "/gradio_api/upload", "/monitoring", "/nothing"):
        status, content = asked(address + path)
        assert (status == 200) == (path in ("/", "/config", "/theme.css", "/manifest.json")), path
        for place in (str(root), str(ROOT), sys.prefix, tempfile.gettempdir() + "/"):
            assert place not in content, f"{place} in {path}"
    assert asked(address, Host="evil.example") == (403, "open the page as http://127.0.0.1")
    assert 'analytics_enabled":false' in asked(address + "/config")[1]


def test_the_stream_of_answers_has_no_paths(page, root):
    """What the browser gets for a pair, and for a mistake, word for word."""
    _, address, _ = page
    config = json.loads(asked(address + "/config")[1])
    [match] = [event["id"] for event in config["dependencies"] if len(event["inputs"]) == 3]
    for content, expected in ((picture(), "score <b>"), (b"a text", "a.png: not an image")):
        body = {"data": [[sent("a.png", content)], "red", None], "fn_index": match, "session_hash": "test"}
        request = urllib.request.Request(f"{address}/gradio_api/queue/join", json.dumps(body).encode())
        request.add_header("content-type", "application/json")
        urllib.request.urlopen(request, timeout=60).close()
        status, stream = asked(f"{address}/gradio_api/queue/data?session_hash=test")
        assert status == 200
        assert expected in stream
        for place in (str(root), str(ROOT), sys.prefix, tempfile.gettempdir() + "/"):
            assert place not in stream


def test_a_person_uses_both_tabs(page, root, tmp_path):
    """Match, another word, another picture; a ranking; wrong uploads. Nothing but this machine is asked for anything."""
    _, address, _ = page
    images = sorted((root / "data" / "images").iterdir())
    (tmp_path / "notes.png").write_text("no image")
    (tmp_path / "large.png").write_bytes(b"x" * 10_000_001)
    with visited(address) as (view, expect, urls):
        expect(view.get_by_text("trained on mine: 5 regions")).to_be_visible()
        answer = view.locator(".answer:visible")
        view.locator("input[type=file]:visible").set_input_files(images[0])
        view.get_by_label("Caption", exact=True).fill("red left of green")
        view.get_by_role("button", name="Match").click()
        expect(answer.locator(".score")).to_be_visible()
        first = answer.locator("img").get_attribute("src")
        view.get_by_label("Caption", exact=True).fill("red left of blue")
        view.get_by_role("button", name="Match").click()
        expect(answer.get_by_text("before:")).to_be_visible()
        assert answer.locator("img").get_attribute("src") != first
        view.locator("input[type=file]:visible").set_input_files(tmp_path / "notes.png")
        view.get_by_role("button", name="Match").click()
        expect(answer.get_by_text("notes.png: not an image")).to_be_visible()
        view.locator("input[type=file]:visible").set_input_files(tmp_path / "large.png")
        expect(view.get_by_text("large.png: more than 10 MB")).to_be_visible()
        view.get_by_role("tab", name="Rank").click()
        view.locator("input[type=file]:visible").set_input_files(images[0])
        view.get_by_label("Captions, one in a line").fill("red left of green\nblue\nwhite")
        view.get_by_role("button", name="Rank").click()
        expect(answer.locator("tr")).to_have_count(4)
        view.locator("input[type=file]:visible").set_input_files(images[:3])
        view.get_by_label("Captions, one in a line").fill("red left of green")
        view.get_by_role("button", name="Rank").click()
        expect(answer.locator("figure")).to_have_count(3)
        page_text = view.locator("body").inner_text()
    assert not others_than(address, urls)
    for place in (str(root), str(ROOT), str(tmp_path), tempfile.gettempdir() + "/"):
        assert place not in page_text


def test_ctrl_c_ends_the_page_with_a_line(page):
    """The last test of this page."""
    process, _, _ = page
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read().splitlines()
    assert process.wait(30) == 130
    assert rest == ["error: the page was ended by Ctrl-C"]
