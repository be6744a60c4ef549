"""ECCV Caption and CxC: hand-made cases, a slow reference, the real ground truth, and what is wrong with files."""

import json

import numpy as np
import pytest
from support.paths import F8K

from itm_jax.errors import InputError, NonFiniteScoresError
from itm_jax.metrics.eccv import map_at_r, r_precision, read_truth, right_ranks, truth_metrics
from itm_jax.structs import Split

ECCV = F8K.parent / "eccv"


def test_by_hand():
    """Right items at places 1, 3 and 4 of five; the annotators named four, one of which is not in the gallery."""
    ranks = right_ranks(np.array([[5.0, 4.0, 3.0, 2.0, 1.0]]), np.array([[2, 0, 3, -1]]))
    assert ranks.tolist() == [[1, 3, 4, 9]]
    size = np.array([4])
    assert map_at_r(ranks, size) == pytest.approx(100 * (1 + 2 / 3 + 3 / 4) / 4)
    assert r_precision(ranks, size) == pytest.approx(75)
    assert map_at_r(ranks, np.array([3])) == pytest.approx(100 * (1 + 2 / 3) / 3)  # the third is beyond R


def test_a_tie_counts_against_the_query():
    scores = np.array([[1.0, 1.0, 0.0, 1.0]])
    assert right_ranks(scores, np.array([[0, 3]])).tolist() == [[2, 3]]
    assert right_ranks(np.zeros((1, 4)), np.array([[1, -1]])).tolist() == [[4, 6]]


def test_as_a_sort_would_have_it(rng):
    scores = rng.integers(0, 6, (40, 30)).astype(np.float32)  # with many ties
    right = np.full((40, 7), -1)
    for row in right:
        n = rng.integers(1, 8)
        row[:n] = rng.choice(30, n, replace=False)
    found = right_ranks(scores, right)
    for row, of, ranks in zip(scores, right, found, strict=True):
        own = set(of[of >= 0])
        order = sorted(range(30), key=lambda k: (-row[k], k in own))  # wrong ones first among equals
        expected = [place + 1 for place, k in enumerate(order) if k in own]
        assert ranks[: len(own)].tolist() == expected
        assert (ranks[len(own) :] > 30).all()


def write_truth(directory, images=4, **changed):
    """Ground truth for a split of so many images with five captions each; captions have ids from 100 on."""
    directory.mkdir(exist_ok=True)
    captions = np.arange(100, 100 + 5 * images)
    np.save(directory / "coco_test_ids.npy", captions)
    (directory / "coco_testall_ids.txt").write_text("\n".join(str(k // 5 + 1) for k in range(5 * images)))
    own = {str(k + 1): captions[5 * k : 5 * k + 5].tolist() for k in range(images)}
    files = {
        "eccv_image_to_caption": {"1": [*own["1"], 105]},
        "eccv_caption_to_image": {"100": [1, 2]},
        "cxc_image_to_caption": own,
        "cxc_caption_to_image": {str(c): [k + 1] for k in range(images) for c in captions[5 * k : 5 * k + 5].tolist()},
    }
    for name, content in (files | changed).items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    return directory


def split(images=4, **fields):
    features = np.zeros((images, 1, 1), np.float32)
    return Split("testall", features, ["a"] * 5 * images, 5, [str(k) for k in range(images)], source="files", **fields)


def test_both_directions_of_a_small_gallery(tmp_path):
    scores = np.zeros((4, 20), np.float32)
    scores[np.arange(20) // 5, np.arange(20)] = 1  # each image its own captions
    out = truth_metrics(scores, read_truth(write_truth(tmp_path / "truth"), split()))
    assert out["eccv"]["i2t_r1"] == out["eccv"]["t2i_r1"] == 100
    assert out["eccv"]["i2t_r_precision"] == pytest.approx(100 * 5 / 6)  # the sixth ties with all wrong ones
    assert out["eccv"]["t2i_map_r"] == pytest.approx(50)
    assert set(out["cxc"].values()) == {100.0}
    scores[0, 3] = np.nan
    with pytest.raises(NonFiniteScoresError):
        truth_metrics(scores, read_truth(tmp_path / "truth", split()))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "cxc_image_to_caption.json").unlink(), "cxc_image_to_caption.json: cannot be read"),
        (lambda d: (d / "eccv_image_to_caption.json").write_text("{"), "eccv_image_to_caption.json: not JSON"),
        (lambda d: (d / "eccv_image_to_caption.json").write_text('{"77": [100]}'), "77 is not an id of the split"),
        (lambda d: (d / "cxc_caption_to_image.json").write_text("[1]"), "must be an object of lists"),
        (lambda d: (d / "coco_testall_ids.txt").write_text("1 1 1"), "both must be the same multiple of 5"),
    ],
)
def test_what_is_wrong_with_the_files(tmp_path, spoil, message):
    spoil(write_truth(tmp_path))
    with pytest.raises(InputError, match=message):
        read_truth(tmp_path, split())


def test_another_split_is_refused(tmp_path):
    write_truth(tmp_path)
    with pytest.raises(InputError, match="test_split=testall"):
        read_truth(tmp_path, split(images=3))
    other = Split("testall", np.zeros((4, 1, 1)), ["a"] * 20, 5, ["4", "3", "2", "1"], source="files")
    with pytest.raises(InputError, match="in their order"):
        read_truth(tmp_path, other)


def test_the_real_ground_truth():
    if not ECCV.is_dir():
        pytest.skip(f"no ground truth at {ECCV}")
    truth = read_truth(ECCV, split(images=5000))
    assert [len(truth["eccv"][side].queries) for side in ("i2t", "t2i")] == [1261, 1332]
    assert [len(truth["cxc"][side].queries) for side in ("i2t", "t2i")] == [5000, 24972]
    scores = np.zeros((5000, 25000), np.float32)
    for side in ("i2t", "t2i"):
        of = truth["eccv"][side]
        for query, right in zip(of.queries, of.right, strict=True):
            pairs = (query, right[right >= 0]) if side == "i2t" else (right[right >= 0], query)
            scores[pairs] = 1
    out = truth_metrics(scores, truth)["eccv"]
    assert out["t2i_map_r"] == out["t2i_r_precision"] == out["i2t_r1"] == 100
    assert 99.9 < out["i2t_map_r"] < 100  # two right captions are a sixth of their image and in no gallery
    assert truth["eccv"]["t2i"].size.mean() == pytest.approx(8.47, abs=0.01)  # as published
