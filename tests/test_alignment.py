"""Alignment: hand-computed cases, slow references, and independence of padding and of blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.models import fragments, region_gate

from itm_jax.modules.alignment import (
    cross_attention,
    global_score,
    late_interaction,
    over_captions,
    prominence,
    prominent_alignment,
    weigh,
    word_weights,
)
from itm_jax.modules.fusion import Fused, fuse
from itm_jax.structs import Fragments


def by_hand():
    """One pair: three regions, two words and a padded one; regions 0 and 1 name word 0, region 2 word 1."""
    s = jnp.array([[0.9, 0.1, 0.99], [0.8, 0.3, 0.99], [0.2, 0.5, 0.99]])[:, None][None]
    chosen = jnp.array([0, 0, 1])[None, :, None]
    gate = jnp.array([0.2, 0.1, 0.1])[None, :, None]
    fused = Fused(s, jnp.ones((1, 3, 1)), gate, gate / 0.4, chosen)
    captions = Fragments(jnp.zeros((1, 3, 2)), jnp.array([[True, True, False]]), jnp.array([[0.5, 1.0, 1.0]]))
    return fused, jnp.ones((1, 3), bool), captions


def test_prominence_by_hand():
    fused, _, captions = by_hand()
    # p = (0.75, 0.25): π = (1 + 2β p) / (2 (1 + β))
    np.testing.assert_allclose(prominence(fused, captions.mask, beta=1.0)[0, 0], [0.625, 0.375, 0], atol=1e-5)
    np.testing.assert_allclose(prominence(fused, captions.mask, beta=0.0)[0, 0], [0.5, 0.5, 0], atol=1e-6)
    nobody = fused.replace(relevance=jnp.zeros_like(fused.relevance))
    np.testing.assert_allclose(prominence(nobody, captions.mask, beta=3.0)[0, 0], [0.5, 0.5, 0], atol=1e-6)


def test_score_by_hand():
    fused, regions, captions = by_hand()
    words = 0.625 * 0.9 + 0.375 * 0.5
    of_regions = 0.5 * 0.9 + 0.25 * 0.8 + 0.25 * 0.5
    score = lambda sides, gamma=0.0: prominent_alignment(  # noqa: E731
        fused, regions, captions, beta=1.0, gamma=gamma, sides=sides
    )[0, 0]
    np.testing.assert_allclose(score("words"), words, atol=1e-5)
    np.testing.assert_allclose(score("regions"), of_regions, atol=1e-5)
    np.testing.assert_allclose(score("both"), (words + of_regions) / 2, atol=1e-5)
    # γ = 1: weights (0.625 / 2, 0.375), brought back to sum 1
    np.testing.assert_allclose(score("words", 1.0), (0.3125 * 0.9 + 0.375 * 0.5) / 0.6875, atol=1e-5)
    np.testing.assert_allclose(late_interaction(fused, regions, captions.mask)[0, 0], (0.9 + 0.5) / 2, atol=1e-5)


def test_global_score_is_the_cosine_of_the_means_of_valid_rows():
    images = Fragments(jnp.array([[[1.0, 0], [0, 1], [9, 9]]]), jnp.array([[True, True, False]]))
    words = jnp.array([[[1.0, 0], [1, 0], [0, 1]], [[1, 0], [0, 1], [1, 0]]])
    captions = Fragments(words, jnp.array([[True, True, False], [False, False, False]]))
    np.testing.assert_allclose(global_score(images, captions), [[0.5**0.5, 0]], atol=1e-6)


def test_a_prior_of_ones_changes_nothing():
    fused, _, captions = by_hand()
    weights = prominence(fused, captions.mask, beta=1.0)
    np.testing.assert_allclose(weigh(weights, jnp.ones((1, 3)), 2.0), weights, rtol=1e-5)


def test_weights_with_a_steep_prior_do_not_depend_on_padding():
    """Padding has a prior too, which may be the largest."""
    fused, _, captions = by_hand()
    weights = [
        word_weights(fused, captions.replace(weight=jnp.array([[0.7, 0.9, of_padding]])), beta=1.0, gamma=30.0)
        for of_padding in (0.0, 4.0)
    ]
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-5)
    np.testing.assert_allclose(jnp.sum(weights[1]), 1.0, rtol=1e-4)


def slow_scan(v, w, direction, temperature):
    """SCAN's score of one pair with the attended vectors formed, as in its paper, equations 2 to 6."""
    s = np.maximum(v @ w.T, 0.0)
    if direction == "i2t":
        s, v, w = s.T, w, v  # now columns query
    s = s / np.sqrt((s**2).sum(axis=1, keepdims=True) + 1e-12)
    a = np.exp(temperature * s)
    attended = (a / a.sum(axis=0)).T @ v
    return ((attended * w).sum(axis=1) / np.linalg.norm(attended, axis=1)).mean()


@pytest.mark.parametrize(("direction", "temperature"), [("t2i", 9.0), ("i2t", 4.0)])
def test_cross_attention_equals_the_slow_reference(rng, direction, temperature):
    images, captions = fragments(rng, 4, 6, 8, np.float32), fragments(rng, 5, 7, 8, np.float32)
    v, w = images.rows, captions.rows
    gram = jnp.einsum("ird,isd->irs", v, v) if direction == "t2i" else jnp.einsum("tld,tmd->tlm", w, w)
    scores = cross_attention(
        jnp.einsum("ird,tld->irtl", v, w),
        gram,
        images.mask,
        captions.mask,
        direction=direction,
        temperature=temperature,
    )
    for i in range(4):
        for t in range(5):
            own = [np.asarray(x.rows[k])[x.mask[k]] for x, k in ((images, i), (captions, t))]
            expected = slow_scan(*own, direction, temperature) if all(map(len, own)) else 0.0
            np.testing.assert_allclose(scores[i, t], expected, atol=1e-5)


def test_cross_attention_to_fused_regions_equals_the_slow_reference(rng):
    images, captions = fragments(rng, 3, 5, 8, np.float32), fragments(rng, 3, 4, 8, np.float32)
    gate = region_gate(rng, 8, np.float32)
    fused = fuse(images, captions, gate, rounds=2, gram=True)
    scores = cross_attention(fused.products, fused.gram, images.mask, captions.mask, direction="t2i", temperature=9.0)
    from support.models import direct_rows

    for i in range(2):
        for t in range(2):
            v, w = (np.asarray(x.rows[k])[x.mask[k]] for x, k in ((images, i), (captions, t)))
            rows = np.asarray(direct_rows(v, w, gate, 2)[0])
            np.testing.assert_allclose(scores[i, t], slow_scan(rows, w, "t2i", 9.0), atol=1e-5)


@pytest.mark.parametrize("rounds", [0, 2])
def test_scores_do_not_depend_on_padding_or_blocks_and_nothing_scores_zero(rng, rounds):
    images, captions = fragments(rng, 4, 6, 16, np.float32), fragments(rng, 7, 5, 16, np.float32)
    gate = region_gate(rng, 16, np.float32)

    def score(i, c):
        return prominent_alignment(fuse(i, c, gate, rounds=rounds), i.mask, c, beta=1.0, gamma=0.0, sides="both")

    def wider(x, n):
        junk = jnp.array(rng.standard_normal((x.rows.shape[0], n, 16)), jnp.float32)
        return Fragments(jnp.concatenate([x.rows, junk], axis=1), np.pad(x.mask, ((0, 0), (0, n))))

    whole = score(images, captions)
    assert np.abs(whole[:-1, :-1]).min() > 0
    assert not np.asarray(whole[-1]).any()
    assert not np.asarray(whole[:, -1]).any()
    np.testing.assert_allclose(score(wider(images, 3), wider(captions, 2)), whole, atol=1e-6)
    for block in (1, 4 * 6 * 5 * 3, 1 << 20):
        np.testing.assert_allclose(over_captions(score, images, captions, block=block), whole, atol=1e-6)
    grads = [
        jax.grad(lambda v, b=b: jnp.sum(over_captions(score, images.replace(rows=v), captions, block=b) ** 2))(
            images.rows
        )
        for b in (4 * 6 * 5 * 3, 1 << 20)
    ]
    np.testing.assert_allclose(*grads, atol=1e-5)
    assert not np.asarray(grads[0][-1]).any()
    assert np.isfinite(grads[0]).all()
