"""Metrics on hand-written matrices and against loops."""

import jax.numpy as jnp
import numpy as np
import pytest

from itm_jax.errors import InputError
from itm_jax.metrics import retrieval
from itm_jax.metrics.retrieval import chance_rsum, protocols, query_ranks, retrieval_metrics
from itm_jax.scoring import score_matrix


def slow_ranks(scores, owner):
    """Rank by loops: wrong items scored at least as high as the best right one."""
    image = [
        sum(scores[i, t] >= max(scores[i, owner == i]) for t in np.flatnonzero(owner != i)) for i in range(len(scores))
    ]
    caption = [
        sum(scores[i, t] >= scores[owner[t], t] for i in range(len(scores)) if i != owner[t])
        for t in range(scores.shape[1])
    ]
    return image, caption


def test_hand_written():
    scores = np.array([[0.9, 0.1, 0.8, 0.2], [0.3, 0.4, 0.5, 0.6]], np.float32)
    m = retrieval_metrics(scores, np.array([0, 0, 1, 1]))
    # image 0: own best .9, first; image 1: own best .6, first. Captions 0: first; 1: .1 < .4; 2: .5 < .8; 3: first.
    assert m["i2t_r1"] == 100
    assert m["t2i_r1"] == 50
    assert m["t2i_medr"] == 1  # ranks 0, 1, 1, 0: floor(0.5) + 1
    assert m["t2i_meanr"] == 1.5
    assert m["rsum"] == pytest.approx(550)


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_equals_loops_with_ties_and_uneven_captions(rng, kind, monkeypatch):
    monkeypatch.setattr(retrieval, "CHUNK_BYTES", 256)  # several blocks, the last one ragged
    owner = np.array([0, 0, 1, 2, 2, 2, 3, 4, 4, 0])
    scores = rng.integers(0, 4, (5, 10)).astype(np.float32)
    image, caption = query_ranks(kind(scores), owner)
    slow_image, slow_caption = slow_ranks(scores, owner)
    assert image.tolist() == slow_image
    assert caption.tolist() == slow_caption


def test_constant_scores_are_the_worst():
    m = retrieval_metrics(np.ones((20, 100), np.float32), np.arange(100) // 5)
    assert m["i2t_r1"] == m["t2i_r1"] == m["rsum"] == 0
    assert m["t2i_medr"] == 20


def test_five_folds():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((5000, 5000), dtype=np.float32)
    scores[np.arange(5000), np.arange(5000)] += 3.0
    out = protocols(scores, np.arange(5000))
    folds = [retrieval_metrics(scores[a : a + 1000, a : a + 1000], np.arange(1000)) for a in range(0, 5000, 1000)]
    for key in ("rsum", "i2t_r1", "t2i_medr"):
        assert out["5fold_1k"][key] == pytest.approx(np.mean([f[key] for f in folds]))
    assert out["5fold_1k"]["rsum"] > out["full"]["rsum"]
    assert set(protocols(scores[:1000, :1000], np.arange(1000))) == {"full"}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_scores_are_refused(bad):
    scores = np.zeros((3, 3), np.float32)
    scores[1, 2] = bad
    with pytest.raises(InputError, match="NaN or Inf"):
        retrieval_metrics(scores, np.arange(3))


def test_wrong_shapes_and_owners_are_refused():
    with pytest.raises(InputError, match="expected"):
        retrieval_metrics(np.zeros((3, 4)), np.arange(3))
    with pytest.raises(InputError, match="each of the 3 images"):
        retrieval_metrics(np.zeros((3, 3)), np.array([0, 0, 1]))


def test_chance(rng):
    simulated = np.mean(
        [retrieval_metrics(rng.standard_normal((40, 200)), np.arange(200) // 5)["rsum"] for _ in range(60)]
    )
    assert chance_rsum(40, 5) == pytest.approx(simulated, rel=0.1)


@pytest.mark.parametrize("tile", [1, 3, 5, 100])
def test_tiles_do_not_matter(rng, tile):
    images = {"v": rng.standard_normal((7, 4)).astype(np.float32), "m": rng.random(7).astype(np.float32)}
    captions = rng.standard_normal((11, 4)).astype(np.float32)
    score = lambda i, t: (i["v"] * i["m"][:, None]) @ t.T  # noqa: E731
    out = score_matrix(score, images, captions, tile=tile)
    assert isinstance(out, np.ndarray)
    np.testing.assert_allclose(out, (images["v"] * images["m"][:, None]) @ captions.T, rtol=1e-5, atol=1e-6)


def test_tile_and_sizes_are_checked():
    with pytest.raises(ValueError, match="tile"):
        score_matrix(lambda i, t: i @ t.T, np.ones((2, 2)), np.ones((2, 2)), tile=0)
    with pytest.raises(ValueError, match="different numbers"):
        score_matrix(lambda i, t: i, (np.ones((2, 2)), np.ones(3)), np.ones((2, 2)), tile=2)


def test_float64_scores_are_ranked_as_float32():
    scores = np.array([[0.9, 0.9 - 1e-12, 0.1, 0.1], [0.1, 0.1, 0.9, 0.8]])
    owner = np.array([0, 0, 1, 1])
    for a, b in zip(query_ranks(scores, owner), query_ranks(scores.astype(np.float32), owner), strict=True):
        assert a.tolist() == b.tolist()
    assert query_ranks(scores, owner)[0].tolist() == [0, 0]
