"""Pictures: what they show is what the model computed; the command writes them and names mistakes."""

import dataclasses
import re

import jax.numpy as jnp
import matplotlib.image
import ml_collections
import numpy as np
import pytest
from support.commands import command
from support.data_sets import config_for, write_all
from support.runs import fragment_config, shrunk

from itm_jax.config.fields import read_json
from itm_jax.errors import InputError
from itm_jax.evaluation.ensemble import evaluate_ensemble
from itm_jax.evaluation.open_run import open_run
from itm_jax.metrics.retrieval import protocols
from itm_jax.modules.aggregation import aggregate, merged_pairs
from itm_jax.structs import Split
from itm_jax.training import loop as training
from itm_jax.viz.alignment import draw_matching
from itm_jax.viz.curves import draw_training, recall_curve
from itm_jax.viz.describe import explanations, pair_table
from itm_jax.viz.explain import Matching, Shares, explain, winning_rows
from itm_jax.viz.explore import look_at, scores, with_captions, word_effects
from itm_jax.viz.images import pictures_of, read_names
from itm_jax.viz.retrieval import chosen_queries, draw_caption_query, draw_image_query, margins, shown_queries

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A workdir of a short run for each of three models."""
    found = {}
    for name, config in (
        ("cpfean", fragment_config(train__epochs=0.1, model__words__graph="sparse")),
        ("late", fragment_config(train__epochs=0.1, model__name="late")),
        ("afa", shrunk(train__epochs=0.1, model__aggregation__ratio=0.3)),
    ):
        found[name] = tmp_path_factory.mktemp(name)
        training.train(config, found[name])
    return found


@pytest.mark.parametrize("name", ["cpfean", "late"])
def test_a_matching_is_what_the_model_scores(runs, name):
    opened = open_run(read_json(runs[name] / "config.json"), runs[name])
    whole = opened.scores().scores
    for caption, found in zip((0, 7), explain(opened, np.array([0, 7])), strict=True):
        assert found.score == pytest.approx(whole[caption // 5, caption], abs=1e-5)
        written = opened.data.split.captions[caption].split()
        assert [w for w in found.words if not w.startswith("##")][:2] == [w.lower() for w in written[:2]]
        assert found.cosines.shape == (6, len(found.words))
        best = found.cosines.max(axis=0)
        assert np.array_equal(found.cosines[found.region_of_word, np.arange(len(best))], best)
        if name == "late":
            assert found.gate is None
            assert found.score == pytest.approx(best.mean(), abs=1e-5)
        else:
            assert ((found.gate > 0) & (found.gate < 1)).all()
            assert found.prominence.sum() == pytest.approx(1.0, abs=1e-4)
            of_regions = (found.gate * found.cosines.max(axis=1)).sum() / found.gate.sum()
            assert found.score == pytest.approx(((found.prominence * best).sum() + of_regions) / 2, abs=1e-4)


def test_merged_pairs_are_those_that_aggregation_merges(rng):
    rows = rng.standard_normal((3, 11, 6)).astype(np.float32)
    mask = np.arange(11)[None] < np.array([11, 7, 1])[:, None]
    into, cosine = (np.asarray(x) for x in merged_pairs(jnp.asarray(rows), jnp.asarray(mask), ratio=0.3))
    assert (into >= 0).sum(axis=1).tolist() == [3, 2, 0]
    unit = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    out, valid = aggregate(jnp.asarray(rows), jnp.asarray(mask), ratio=0.3)
    for b in range(3):
        groups = {k: [k] for k in range(11) if mask[b, k] and into[b, k] < 0}
        for k in np.flatnonzero(into[b] >= 0):
            groups[into[b, k]].append(int(k))
            assert cosine[b, k] == pytest.approx(unit[b, k] @ unit[b, into[b, k]], abs=1e-5)
        means = np.array([unit[b, group].mean(axis=0) for group in groups.values()])
        left = np.asarray(out[b])[np.asarray(valid[b])]
        assert len(left) == len(means)
        assert np.abs(left[:, None] - means[None]).max(axis=-1).min(axis=1).max() < 1e-5
        winners = winning_rows(unit[b], mask[b], into[b])
        of_group = dict(zip(groups, means, strict=True))
        values = [of_group[k][d] for d, k in enumerate(winners)]
        np.testing.assert_allclose(values, left.max(axis=0), atol=1e-5)


def test_afa_shows_the_parts_of_its_score_and_single_vectors_have_nothing_to_show(runs):
    opened = open_run(read_json(runs["afa"] / "config.json"), runs["afa"])
    [found] = explain(opened, np.array([3]))
    assert len(found.merged_regions) == 1  # 30% of 6 regions
    assert found.merged_regions[0][2] >= -1
    assert found.words[0] == "[CLS]"
    assert found.shares.shape == (6, len(found.words))
    assert np.nansum(found.shares) == pytest.approx(found.score, abs=1e-5)
    assert found.score == pytest.approx(opened.scores().scores[0, 3], abs=1e-5)
    source, destination, _ = found.merged_regions[0]
    assert not found.shares[source].any()  # it is a part of the region that it was merged into
    assert found.shares[destination].any()
    config = ml_collections.ConfigDict(opened.config)
    config.model.name = "vsepp"
    with pytest.raises(InputError, match="nothing to show"):
        explain(dataclasses.replace(opened, config=config), np.array([0]))


@pytest.mark.parametrize(("name", "form"), [("cpfean", "png"), ("afa", "svg")])
def test_the_command_writes_a_report_that_needs_nothing_beside_it(runs, name, form, tmp_path):
    code, out, err = command(
        f"--run={runs[name]}", "--count=2", "--queries=1", f"--format={form}", f"--out={tmp_path / 'out'}",
        module="itm_jax.visualize",
    )  # fmt: skip
    assert code == 0, err
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert {f"training.{form}", f"recall.{form}", f"test-000000.{form}", f"test-000010.{form}", "report.html"} <= names
    assert f"i2t-000000.{form}" in names
    assert f"{len(names) - 1} pictures" in out
    page = (tmp_path / "out" / "report.html").read_text()
    sources = re.findall(r"(?:src|href)=[\"']([^\"']{0,30})", page)
    assert len(sources) > 4  # curves, pairs, photographs
    assert all(s.startswith(("data:image/", "#")) for s in sources)
    assert "All fields of the config" in page
    assert "What the parts of the model do" in page
    if form == "png":
        pixels = matplotlib.image.imread(tmp_path / "out" / "test-000000.png")
        assert pixels.std() > 0.05


def test_queries_that_are_shown_and_what_they_found():
    """Four images with a caption each: the first two are found, the second by more; the others last and next to last."""
    scores = np.array([[0.6, 0.5, 0, 0], [0.1, 0.9, 0, 0], [0.3, 0.2, 0.2, 0.2], [0.4, 0.3, 0.2, 0.1]])
    owner = np.arange(4)
    assert margins(scores, owner, of_images=True).round(6).tolist() == [0.1, 0.8, -0.1, -0.3]
    ranks = np.array([0, 0, 3, 3])
    margin = margins(scores, owner, of_images=True)
    assert chosen_queries(ranks, margin, owner, 2) == {"best": [1, 0], "worst": [3, 2], "spread": [0, 3]}
    one_image = chosen_queries(ranks, margin, np.array([7, 7, 8, 9]), 2)
    assert one_image == {"best": [1], "worst": [3, 2], "spread": [0, 3]}  # one of its captions is enough
    found = shown_queries(scores, owner, (ranks, ranks), 2)["i2t", "worst"][1]
    assert (found.query, found.rank) == (2, 3)
    assert found.items.tolist() == [0, 1, 3, 2]  # among equals the right one is last
    assert found.right.tolist() == [False, False, False, True]


def test_captions_are_drawn_as_they_are_written(tmp_path):
    """Dollar signs and backslashes are no formulas."""
    captions = ["a sign says $5 or 2 for $9", r"price $10 #1 & $20 \frac $x_1"]
    split = Split("test", np.zeros((2, 1, 1)), captions, 1, ["a$1", "b"])
    scores = np.array([[0.2, 0.9], [0.8, 0.1]])
    found = shown_queries(scores, np.arange(2), (np.ones(2, int), np.ones(2, int)), 1)
    draw_caption_query(tmp_path / "t.png", split, found["t2i", "worst"][0], lambda _: None)
    draw_image_query(tmp_path / "i.png", split, found["i2t", "worst"][0], lambda _: None)
    pair = Matching(["$5", r"$\x"], np.full((1, 2), 0.5), None, None, 0.5)
    draw_matching(tmp_path / "a.png", np.full((4, 4, 3), 0.5), np.array([[0, 0, 1, 1.0]]), captions[1], pair)
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("t.png", "i.png", "a.png"))


def test_recall_at_every_k():
    assert recall_curve(np.array([0, 0, 2, 200]), up_to=4).tolist() == [50, 50, 75, 75]


def test_mistakes_are_named(runs, tmp_path):
    for arguments, message in (
        ([], "--run: missing"),
        ([f"--run={tmp_path}"], "is this the workdir of a run"),
        ([f"--run={runs['cpfean']}", "--captions=20"], "--captions=20: must be indices below 20"),
    ):
        code, _, err = command(*arguments, module="itm_jax.visualize")
        assert code == 2
        assert message in err[-1]
    config = read_json(runs["cpfean"] / "config.json")
    opened = open_run(config, runs["cpfean"])
    config.data.source = "precomp"
    with pytest.raises(InputError, match="--images: missing"):
        pictures_of(config, opened.data.split, None).read(0)
    with pytest.raises(InputError, match="no such file"):
        pictures_of(config, opened.data.split, tmp_path).read(0)
    (tmp_path / f"{opened.data.split.ids[0]}.jpg").write_text("no image")
    with pytest.raises(InputError, match=r"not an image|damaged"):
        pictures_of(config, opened.data.split, tmp_path).read(0)


def test_files_of_images_are_found_by_id_mapping_or_pattern(tmp_path):
    features = np.zeros((3, 1, 1), np.float32)
    split = Split("test", features, ["a"] * 3, 1, ["17", "522418", "x.png"])
    for number, name in enumerate(("COCO_val2014_000000000017.jpg", "x.png", "17.png")):
        matplotlib.image.imsave(tmp_path / name, np.full((4, 5, 3), 0.1 * number, np.float32))
    config = shrunk()
    config.data.source = "precomp"
    shade = lambda image: round(float(np.mean(image / (255 if image.dtype == np.uint8 else 1))), 1)  # noqa: E731
    plain = pictures_of(config, split, tmp_path)
    assert [shade(plain.read(i)) for i in (0, 2)] == [0.4, 0.3] or plain.read(0).shape[:2] == (4, 5)
    by_pattern = pictures_of(config, split, tmp_path, pattern="COCO_val2014_{id:012d}.jpg")
    assert by_pattern.read(0).shape == (4, 5, 3)
    assert by_pattern.get(1) is None
    assert by_pattern.get_or_grey(1).shape[2] == 3
    assert by_pattern.note().startswith(
        f"Missing pictures: 1 (first: {tmp_path}/COCO_val2014_000000522418.jpg: no such"
    )
    with pytest.raises(InputError, match=r"--image_name=COCO_val2014_\{id:012d\}\.jpg: does not fit the id x\.png"):
        by_pattern.read(2)
    for pattern in ("one.jpg", "{image}.jpg", "{id.name}.jpg", "{id:q}.jpg", "{id"):
        with pytest.raises(InputError, match=r"does not fit the id 17; write \{id\}"):
            pictures_of(config, split, tmp_path, pattern=pattern).read(0)
    with_zeros = Split("test", features, ["a"] * 3, 1, ["0017", "2", "3"])  # an id is text, and keeps its zeros
    with pytest.raises(InputError, match=r"x0017\.png: no such file"):
        pictures_of(config, with_zeros, tmp_path, pattern="x{id}.png").read(0)
    mapped = pictures_of(config, split, tmp_path, names={"522418": "x.png"})
    mapped.check_some()
    assert mapped.read(1).shape[:2] == (4, 5)
    with pytest.raises(InputError, match=r"a17: no such file, and none of the 3 images is there; name the files with"):
        pictures_of(config, split, tmp_path, pattern="a{id}").check_some()
    for content, message in (("[]", "must hold an object"), ("{", "must be a JSON object"), ('{"1": 2}', "must hold")):
        (tmp_path / "names.json").write_text(content)
        with pytest.raises(InputError, match=message):
            read_names(tmp_path / "names.json")


def test_a_missing_picture_does_not_lose_the_report(tmp_path):
    data, run, images = tmp_path / "data", tmp_path / "run", tmp_path / "images"
    write_all(data)
    (data / "test_ids.txt").write_text("".join(f"{i}\n" for i in range(6)))
    training.train(config_for(data, model__name="late", train__epochs=0.5), run)
    images.mkdir()
    for i in range(4):
        matplotlib.image.imsave(images / f"f_{i:03d}.png", np.zeros((8, 8, 3)))
    (images / "f_004.png").write_text("no image")
    arguments = [f"--run={run}", "--queries=2", "--count=6", "--image_name=f_{id:03d}.png"]
    code, out, err = command(*arguments, f"--images={images}", module="itm_jax.visualize")
    assert code == 0, err
    assert re.search(r"Missing pictures: 2 \(first: .*f_00[45]\.png: (no such file|cannot be read)", out)
    assert "Missing pictures: 2" in (run / "report.html").read_text()
    code, _, err = command(*arguments[:-1], module="itm_jax.visualize")
    assert code == 2
    assert "report.html: shows the images, and a report without --images would replace it; pass --images=DIR" in err[-1]
    code, _, err = command(*arguments[:-1], f"--out={tmp_path / 'other'}", module="itm_jax.visualize")
    assert code == 0, err
    page = (tmp_path / "other" / "report.html").read_text()
    assert "What the model sees in pairs is not shown: --images is missing" in page
    for given, message in (
        ([*arguments, f"--images={images / 'none'}"], "none: no such directory"),
        ([*arguments[:-1], f"--images={images}"], "none of the 6 images is there"),
        ([*arguments, f"--images={images}", "--image_names=x.json"], "both say the names of the image files"),
        (arguments, "--images: missing; pass --images=DIR, the directory of the image files that are named"),
    ):
        code, _, err = command(*given, module="itm_jax.visualize")
        assert code == 2
        assert message in err[-1]


@pytest.mark.parametrize("name", ["cpfean", "late", "afa"])
def test_no_picture_is_cut_off(runs, name, tmp_path):
    """Nothing is drawn at the edges of a picture, however long its caption is."""
    opened = open_run(read_json(runs[name] / "config.json"), runs[name])
    [seen] = explain(opened, np.array([3]))
    caption = " ".join(["a very long caption with extraordinarily-long-words-in-it"] * 5)
    boxes = np.array([[0.0, 0.0, 1.0, 1.0]] * 6)
    draw_matching(tmp_path / "pair.png", np.zeros((60, 200, 3)), boxes, caption, seen)
    pixels = matplotlib.image.imread(tmp_path / "pair.png")[..., :3]
    edges = np.concatenate([pixels[:3].ravel(), pixels[-3:].ravel(), pixels[:, :3].ravel(), pixels[:, -3:].ravel()])
    assert edges.min() > 0.95
    assert pixels.min() < 0.1
    words = pair_table(seen)
    assert [row[0] for row in words.rows] == seen.words
    assert all(len(row) == len(words.headings) for row in words.rows)


def test_closed_gates_are_said_and_not_drawn():
    opened = Matching(["a"], np.full((2, 1), 0.5), np.array([0.0, 0.4]), np.ones(1), 0.5)
    closed = dataclasses.replace(opened, gate=np.array([0.001, 0.0023]))
    assert any(line.startswith("gate: ") for line in explanations([closed, opened]))
    assert explanations([closed])[-1].startswith("The gates are not shown: the largest of them is 0.0023, so")


def test_two_runs_are_compared_on_one_split(runs, tmp_path):
    both = f"--compare={runs['cpfean']},{runs['late']}"
    code, out, err = command(both, f"--out={tmp_path}", "--queries=2", module="itm_jax.visualize")
    assert code == 0, err
    page = (tmp_path / "comparison.html").read_text()
    assert f"written: {tmp_path / 'comparison.html'}" in out
    assert "second minus first" in page
    assert page.count(" puts a right answer first") == 4  # two sections, each in the contents too
    matrices = [open_run(read_json(runs[n] / "config.json"), runs[n]).ranks().ranks["full"] for n in ("cpfean", "late")]
    alone = ((matrices[0].captions == 0) & (matrices[1].captions > 0)).sum()
    assert f"text to image: {alone} of 20 queries" in page
    for arguments, message in (
        ([both], "--out=DIR"),
        ([both.rsplit(",", 1)[0], f"--out={tmp_path}"], "takes two runs"),
    ):
        code, _, err = command(*arguments, module="itm_jax.visualize")
        assert code == 2
        assert message in err[-1]


def test_a_word_that_raises_the_score_nowhere_takes_no_region():
    seen = Shares(["a", "b"], np.array([[0.1, 0.0], [0.2, -0.1], [np.nan, np.nan]]), [], [], 0.2)
    assert seen.region_of_word.tolist() == [1, -1]
    assert pair_table(seen).rows == [("a", "1", "0.300", "0.200"), ("b", "none", "-0.100", "")]


def test_the_end_of_the_warm_up_is_marked(tmp_path):
    lines = [{"step": k, "loss": 10.0 - k, "epoch": k / 4} for k in range(1, 9)]
    pictures = []
    for warmup in (0.0, 1.0, 5.0):  # none, at step 4, and later than the last step
        draw_training(tmp_path / "x.png", lines, warmup)
        pictures.append((tmp_path / "x.png").read_bytes())
    assert pictures[0] == pictures[2] != pictures[1]


def test_an_ensemble_mixes_models_of_any_kind(runs, tmp_path):
    members = [runs[name] for name in ("afa", "cpfean", "late")]
    content, path = evaluate_ensemble(read_json(runs["afa"] / "config.json"), members, tmp_path / "both")
    assert path == tmp_path / "both" / "results.json"
    assert [m["model"] for m in content["members"]] == ["afa", "cpfean", "late"]
    matrices = [open_run(read_json(run / "config.json"), run).scores().scores for run in members]
    assert content["protocols"] == protocols(sum(matrices) / 3, np.arange(20) // 5)


def test_captions_of_ones_own(runs):
    """A caption written out again has the score it has in the split; leaving a word out is another caption."""
    config = read_json(runs["late"] / "config.json")
    opened = open_run(config, runs["late"])
    written = opened.data.split.captions[7]
    whole = opened.scores().scores
    two = scores(with_captions(opened, [1, 0], [written, "a red ball"]))
    np.testing.assert_allclose(two[:, 0], whole[[1, 0], 7], atol=1e-5)
    assert look_at(opened, 1, written).score == pytest.approx(whole[1, 7], abs=1e-5)
    words = written.split()
    effects = word_effects(opened, 1, written)
    assert [word for word, _ in effects] == words
    less = scores(with_captions(opened, [1], [" ".join(words[1:])]))[0, 0]
    assert effects[0][1] == pytest.approx(whole[1, 7] - less, abs=1e-5)
    assert word_effects(opened, 1, "ball") == []
    for images, captions, message in (([4], ["a"], "image 4"), ([0], [" "], "an empty caption")):
        with pytest.raises(InputError, match=message):
            with_captions(opened, images, captions)
    sparse = open_run(read_json(runs["cpfean"] / "config.json"), runs["cpfean"])
    with pytest.raises(InputError, match="no dependency edges"):
        look_at(sparse, 0, "a ball")
