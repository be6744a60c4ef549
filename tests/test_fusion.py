"""Fusion: the factored form is the direct one, in scores and in gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.models import direct_rows, fragments, region_gate

from itm_jax.modules.alignment import prominent_alignment
from itm_jax.modules.fusion import FeatureGate, RegionGate, fuse, fuse_features
from itm_jax.modules.numerics import EPS
from itm_jax.structs import Fragments


def direct_score(v, w, gate, rounds, beta):
    """(score, margin) of one pair's valid regions and words by the direct form."""
    if not len(v) or not len(w):
        return jnp.zeros((), v.dtype), jnp.inf
    rows, g, j, margin = direct_rows(v, w, gate, rounds)
    s = (rows @ w.T) / jnp.sqrt(jnp.sum(rows * rows, axis=1, keepdims=True) + EPS**2)
    g = g**gate.power if rounds else g
    n, total = len(w), jnp.sum(g)
    p = jnp.stack([jnp.sum(jnp.where(j == k, g, 0.0)) for k in range(n)]) / total
    pi = (1 + beta * n * p) / (n * (1 + beta))
    return (jnp.sum(pi * s.max(axis=0)) + jnp.sum(g * s.max(axis=1)) / total) / 2, margin


def all_pairs(images, captions, of_pair):
    """`of_pair` on the valid rows of every pair, as [i t] arrays."""
    rows = []
    for i in range(len(images.rows)):
        v = images.rows[i][np.flatnonzero(images.mask[i])]
        rows.append([of_pair(v, captions.rows[t][np.flatnonzero(captions.mask[t])]) for t in range(len(captions.rows))])
    return jax.tree.map(lambda *x: jnp.stack(x), *[jax.tree.map(lambda *x: jnp.stack(x), *row) for row in rows])


@pytest.mark.parametrize("kind", ["region", "feature"])
def test_relevance_does_not_fade_with_the_gates(rng, kind):
    """With gates far below the precision of their sum, regions still differ as their logits do."""
    images, captions = fragments(rng, 2, 4, 8, np.float32), fragments(rng, 2, 3, 8, np.float32)
    gate, run = region_gate(rng, 8, np.float32)._replace(power=1.0), fuse
    if kind == "feature":
        u, z = (jnp.array(rng.standard_normal((8, 8)), jnp.float32) for _ in "uz")
        gate, run = FeatureGate(u, z, jnp.full(8, 3.0), jnp.zeros(8)), fuse_features
    fused = [run(images, captions, gate._replace(b=gate.b * 0 + b), rounds=1) for b in (-20.0, -40.0, -90.0)]
    relevance = [np.asarray(f.relevance) for f in fused]
    pairs = np.asarray(jnp.any(captions.mask, axis=1)[None] & jnp.any(images.mask, axis=1)[:, None])
    np.testing.assert_allclose(relevance[0].sum(axis=1)[pairs], 1.0, atol=1e-6)
    assert relevance[0].max() > 2 * relevance[0][relevance[0] > 0].min()
    for other in relevance[1:]:
        np.testing.assert_allclose(other, relevance[0], atol=1e-5)
    # where gates are large enough, it is their share
    plain = run(images, captions, gate._replace(b=gate.b * 0 - 1.0), rounds=1)
    total = np.asarray(plain.gate).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(plain.relevance, np.asarray(plain.gate) / np.where(total > 0, total, 1), atol=1e-5)


@pytest.mark.parametrize("rounds", [0, 1, 2, 3])
def test_factored_is_direct_in_scores_and_gradients(rng, rounds):
    with jax.enable_x64(True):
        images, captions = fragments(rng, 3, 4, 16, np.float64), fragments(rng, 4, 5, 16, np.float64)
        gate = region_gate(rng, 16, np.float64)
        weights = jnp.array(rng.standard_normal((3, 4)))

        def factored(v, w, gate):
            i, c = images.replace(rows=v), captions.replace(rows=w)
            scores = prominent_alignment(fuse(i, c, gate, rounds=rounds), i.mask, c, beta=1.0, gamma=0.0, sides="both")
            return jnp.sum(weights.astype(v.dtype) * scores), scores

        def direct(v, w, gate):
            of_pair = lambda v, w: direct_score(v, w, gate, rounds, 1.0)  # noqa: E731
            scores, margins = all_pairs(images.replace(rows=v), captions.replace(rows=w), of_pair)
            return jnp.sum(weights * scores), (scores, margins)

        arguments = (images.rows, captions.rows, gate)
        expected, (theirs, margins) = jax.jit(jax.grad(direct, argnums=(0, 1, 2), has_aux=True))(*arguments)
        assert float(margins.min()) > 1e-4  # else two words are as good as each other
        assert float(jnp.abs(theirs[:2, :3]).min()) > 0
        ours = jax.jit(jax.grad(factored, argnums=(0, 1, 2), has_aux=True))
        for dtype, tolerance in ((np.float64, 1e-9), (np.float32, 1e-5)):
            grads, scores = ours(*jax.tree.map(lambda x, dtype=dtype: x.astype(dtype), arguments))
            assert scores.dtype == dtype
            np.testing.assert_allclose(scores, theirs, atol=tolerance)
            for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(expected), strict=True):
                a, b = np.asarray(a, np.float64), np.asarray(b)
                assert np.linalg.norm(a - b) <= tolerance * max(1.0, np.linalg.norm(b))


@pytest.mark.parametrize("rounds", [1, 2])
def test_feature_gate_is_the_direct_form(rng, rounds):
    images, captions = fragments(rng, 3, 4, 8, np.float32), fragments(rng, 4, 5, 8, np.float32)
    u, z = (jnp.array(rng.standard_normal((8, 8)), jnp.float32) for _ in range(2))
    gate = FeatureGate(u, z, jnp.array(rng.standard_normal(8), jnp.float32), jnp.full(8, 0.3))
    fused = jax.jit(lambda i, c: fuse_features(i, c, gate, rounds=rounds, gram=True))(images, captions)
    for i in range(2):
        for t in range(3):
            v, w = (np.asarray(x.rows[k])[np.asarray(x.mask[k])] for x, k in ((images, i), (captions, t)))
            first = None
            for _ in range(rounds):
                cosine = v @ w.T / np.linalg.norm(v, axis=1, keepdims=True)
                j = cosine.argmax(axis=1)
                g = 1 / (
                    1
                    + np.exp(
                        -(
                            v @ np.asarray(u)
                            + w[j] @ np.asarray(z)
                            + np.asarray(gate.c) * cosine.max(axis=1)[:, None]
                            + 0.3
                        )
                    )
                )
                first = g.mean(axis=1) if first is None else first
                v = v + g * w[j]
            regions, words = (np.asarray(x) for x in (images.mask[i], captions.mask[t]))
            np.testing.assert_allclose(np.asarray(fused.products[i, :, t])[np.ix_(regions, words)], v @ w.T, atol=2e-5)
            np.testing.assert_allclose(np.asarray(fused.gate[i, :, t])[regions], first, atol=1e-5)
            np.testing.assert_allclose(np.asarray(fused.gram[i, :, :, t])[np.ix_(regions, regions)], v @ v.T, atol=5e-5)
    assert not np.asarray(fused.gate[-1]).any()
    assert not np.asarray(fused.gate[:, :, -1]).any()


def test_a_feature_gate_without_features_is_a_region_gate(rng):
    images, captions = fragments(rng, 3, 4, 8, np.float32), fragments(rng, 4, 5, 8, np.float32)
    scalar = RegionGate(jnp.zeros(8), jnp.zeros(8), jnp.array(2.0), jnp.array(-0.5))
    feature = FeatureGate(jnp.zeros((8, 8)), jnp.zeros((8, 8)), jnp.full(8, 2.0), jnp.full(8, -0.5))
    a = fuse(images, captions, scalar, rounds=2, gram=True)
    b = fuse_features(images, captions, feature, rounds=2, gram=True)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_products_of_fused_regions_with_each_other(rng, rounds):
    images, captions = fragments(rng, 3, 5, 16, np.float32), fragments(rng, 3, 4, 16, np.float32)
    gate = region_gate(rng, 16, np.float32)
    fused = fuse(images, captions, gate, rounds=rounds, gram=True)
    for i in range(2):
        for t in range(2):
            v, w = (np.asarray(x.rows[k])[np.asarray(x.mask[k])] for x, k in ((images, i), (captions, t)))
            rows = np.asarray(direct_rows(v, w, gate, rounds)[0])
            regions = np.asarray(images.mask[i])
            np.testing.assert_allclose(
                np.asarray(fused.gram[i, :, :, t])[np.ix_(regions, regions)], rows @ rows.T, atol=1e-5
            )
            np.testing.assert_allclose(np.asarray(fused.square[i, :, t])[regions], (rows**2).sum(1), atol=1e-5)


def test_ties_go_to_the_lowest_word():
    images = Fragments(jnp.array([[[1.0, 0.0]]]), jnp.ones((1, 1), bool))
    words = jnp.array([[[0.0, 1.0], [0.6, 0.8], [0.6, -0.8]]])
    fused = fuse(images, Fragments(words, jnp.ones((1, 3), bool)), None, rounds=0)
    assert fused.chosen.tolist() == [[[1]]]
    fused = fuse(images, Fragments(words, jnp.array([[True, False, True]])), None, rounds=0)
    assert fused.chosen.tolist() == [[[2]]]


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_power_of_the_gate_weighs_regions(rng, power):
    images, captions = fragments(rng, 3, 5, 8, np.float32), fragments(rng, 4, 4, 8, np.float32)
    scalar = RegionGate(jnp.zeros(8), jnp.zeros(8), jnp.array(6.0), jnp.array(-3.0), jnp.array(power))
    feature = FeatureGate(jnp.zeros((8, 8)), jnp.zeros((8, 8)), jnp.full(8, 6.0), jnp.full(8, -3.0), jnp.array(power))
    fused = fuse(images, captions, scalar, rounds=1)
    gates = np.asarray(fused.gate)
    weights = np.where(gates > 0, np.maximum(gates, 1e-30) ** power, 0)
    total = weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(fused.relevance, np.divide(weights, total, where=total > 0, out=0 * weights), atol=1e-6)
    np.testing.assert_allclose(fuse_features(images, captions, feature, rounds=1).relevance, fused.relevance, atol=1e-5)
