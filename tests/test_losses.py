"""Losses on hand-computed cases, against loops, and the plateau that the collapse alarm compares with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itm_jax.config.default import default_config
from itm_jax.config.derived import complete
from itm_jax.config.sections import Loss, read_section
from itm_jax.losses.matching import matching_loss
from itm_jax.losses.negatives import excluded_pairs, hardest_negative, mixup_negatives
from itm_jax.losses.triplet import triplet_loss


def slow_triplet(scores, margin, hardest, same):
    """Loops over queries."""
    total, b = 0.0, len(scores)
    for s, out in ((scores, same), (scores.T, same.T)):
        for i in range(b):
            costs = [max(0.0, margin - s[i, i] + s[i, j]) for j in range(b) if j != i and not out[i, j]]
            total += (max(costs) if hardest else sum(costs)) if costs else 0.0
    return total


def unit(rng, b, d):
    """Random unit rows."""
    x = rng.standard_normal((b, d)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_hand_computed():
    scores = jnp.array([[0.9, 0.8], [0.1, 0.5]])
    # rows: [.2-.9+.8]=.1, [.2-.5+.1]=0; columns: [.2-.9+.1]=0, [.2-.5+.8]=.5
    np.testing.assert_allclose(triplet_loss(scores, margin=0.2, hardest=True), 0.6, atol=1e-6)


@pytest.mark.parametrize("hardest", [True, False])
def test_equals_loops(rng, hardest):
    scores = rng.standard_normal((7, 7)).astype(np.float32)
    image = np.array([0, 0, 1, 2, 2, 2, 3])
    same = image[:, None] == image[None, :]
    for mask in (None, same, rng.random((7, 7)) < 0.4):
        ours = triplet_loss(
            jnp.array(scores), margin=0.2, hardest=hardest, same_image=None if mask is None else jnp.array(mask)
        )
        theirs = slow_triplet(scores, 0.2, hardest, np.zeros((7, 7), bool) if mask is None else mask)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("hardest", [True, False])
def test_queries_without_negatives_add_nothing(hardest):
    scores = jnp.ones((3, 3))
    assert triplet_loss(scores, margin=0.2, hardest=hardest, same_image=jnp.ones((3, 3), bool)) == 0
    assert triplet_loss(jnp.ones((1, 1)), margin=0.2, hardest=hardest) == 0


def test_bfloat16_scores_are_summed_in_float32():
    assert triplet_loss(jnp.ones((4, 4), jnp.bfloat16), margin=0.2, hardest=True).dtype == jnp.float32


@pytest.mark.parametrize("normalize", [False, True])
def test_mixup_is_between_its_ends_and_nearer_the_negative(rng, normalize):
    p, n = (jnp.array(unit(rng, 500, 8)) for _ in range(2))
    mixed = mixup_negatives(jax.random.key(0), p, n, tau=1.0, normalize=normalize)
    to_p, to_n = np.sum(np.asarray(mixed * p), 1), np.sum(np.asarray(mixed * n), 1)
    assert (to_n >= to_p - 1e-5).all()
    if normalize:
        np.testing.assert_allclose(np.linalg.norm(mixed, axis=1), 1.0, atol=1e-5)
    else:  # a score with it is the mean of the two scores, with the weights of the mixture
        weight = np.asarray((mixed - n) * (p - n)).sum(1) / np.square(np.asarray(p - n)).sum(1)
        assert (weight >= -1e-5).all()
        assert (weight <= 0.5 + 1e-5).all()
        query = unit(rng, 500, 8)
        scores = [np.sum(query * np.asarray(x), axis=1) for x in (mixed, p, n)]
        np.testing.assert_allclose(scores[0], weight * scores[1] + (1 - weight) * scores[2], atol=1e-5)
    free = mixup_negatives(jax.random.key(0), p, n, tau=1.0, fold=False, normalize=normalize)
    nearer_p = np.mean(np.sum(np.asarray(free * p), 1) > np.sum(np.asarray(free * n), 1))
    assert 0.4 < nearer_p < 0.6


def test_tau_shapes_the_weights(rng):
    p, n = jnp.array(unit(rng, 2000, 8)), jnp.array(unit(rng, 2000, 8))
    spread = [
        float(jnp.std(jnp.sum(mixup_negatives(jax.random.key(1), p, n, tau=tau, fold=False) * (p - n), axis=1)))
        for tau in (0.2, 1.0, 20.0)
    ]
    assert spread[0] > spread[1] > spread[2]


def test_excluded_pairs():
    image = jnp.array([0, 0, 1, 2])
    masked = np.asarray(excluded_pairs(image, same_image="mask", num_negatives=0))
    assert masked.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert np.array_equal(excluded_pairs(image, same_image="keep", num_negatives=0), np.eye(4, dtype=bool))
    few = ~np.asarray(excluded_pairs(jnp.arange(8), same_image="mask", num_negatives=3))
    assert (few.sum(0) == 3).all()
    assert (few.sum(1) == 3).all()


def test_hardest_negative_ignores_the_excluded():
    scores = jnp.array([[9.0, 1.0, 2.0], [5.0, 9.0, 4.0]])
    excluded = jnp.array([[True, False, False], [True, True, False]])
    assert hardest_negative(scores, excluded).tolist() == [2, 2]


def loss_config(**fields):
    """The loss section with some fields changed."""
    config = default_config()
    config.loss.update(fields)
    return read_section(Loss, complete(config).loss)


def afa_loss(key, x, t, excluded, **kw):
    """The loss of single vectors."""
    return matching_loss(key, x @ t.T, x, t, excluded, **kw)


def slow_afa(x, t, soft):
    """The four terms with t⁻ and x⁻ the hardest negatives; soft(positive, negative) gives t̃ or x̃."""
    total = 0.0
    for q, g in ((x, t), (t, x)):
        for i in range(len(q)):
            negative = max((j for j in range(len(q)) if j != i), key=lambda j: q[i] @ g[j])
            total += max(0.0, 0.2 - q[i] @ g[i] + q[i] @ g[negative])
            if soft:
                total += max(0.0, 0.1 - q[i] @ g[i] + q[i] @ soft(g[i], g[negative]))
    return total


def test_the_loss_with_the_negative_itself_equals_loops(rng):
    x, t = unit(rng, 6, 4), unit(rng, 6, 4)
    args = (jax.random.key(0), jnp.array(x), jnp.array(t), jnp.eye(6, dtype=bool))
    for kind, soft in (("hardest", lambda p, n: n), ("none", None)):
        loss, _ = afa_loss(*args, warmup=jnp.array(False), config=loss_config(soft_negatives=kind))
        np.testing.assert_allclose(loss, slow_afa(x, t, soft), rtol=1e-5)


def test_half_margin_terms_draw_a_weight_per_direction(rng):
    x, t = jnp.array(unit(rng, 6, 4)), jnp.array(unit(rng, 6, 4))
    losses = [
        float(
            afa_loss(jax.random.key(s), x, t, jnp.eye(6, dtype=bool), warmup=jnp.array(False), config=loss_config())[0]
        )
        for s in range(3)
    ]
    assert len(set(losses)) == 3
    floor = slow_afa(np.asarray(x), np.asarray(t), None)
    assert all(value >= floor for value in losses)


@pytest.mark.parametrize("fields", [{}, {"tau": 0.2}, {"fold": False}, {"normalize_mix": True}])
def test_every_field_of_the_mixture_reaches_the_loss(rng, fields):
    """The loss has the mixture of these fields, with the weights that the same keys draw, and another one without."""
    x, t = unit(rng, 6, 4), unit(rng, 6, 4)
    args = (jax.random.key(0), jnp.array(x), jnp.array(t), jnp.eye(6, dtype=bool))
    loss, _ = afa_loss(*args, warmup=jnp.array(False), config=loss_config(**fields))
    tau, fold, normalize = fields.get("tau", 1.0), fields.get("fold", True), fields.get("normalize_mix", False)
    expected = slow_afa(x, t, None)
    for key, (q, g) in zip(jax.random.split(jax.random.key(0)), ((x, t), (t, x)), strict=True):
        weights = np.asarray(jax.random.beta(key, tau, tau, (6, 1), dtype=jnp.float32))[:, 0]
        for i, drawn in enumerate(weights):
            weight = min(drawn, 1 - drawn) if fold else drawn
            mixed = weight * g[i] + (1 - weight) * g[max((j for j in range(6) if j != i), key=lambda j: q[i] @ g[j])]
            mixed = mixed / np.linalg.norm(mixed) if normalize else mixed
            expected += max(0.0, 0.1 - q[i] @ g[i] + q[i] @ mixed)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    usual, _ = afa_loss(*args, warmup=jnp.array(False), config=loss_config())
    assert (float(loss) == pytest.approx(float(usual), rel=1e-6)) == (not fields)


def test_plateau_is_the_loss_of_constant_embeddings():
    same = jnp.zeros((8, 4)).at[:, 0].set(1.0)
    for kind, warmup, expected in (
        ("none", False, 2 * 8 * 0.2),
        ("mixup", False, 3 * 8 * 0.2),
        ("none", True, 2 * 56 * 0.2),
    ):
        loss, plateau = afa_loss(
            jax.random.key(0),
            same,
            same,
            jnp.eye(8, dtype=bool),
            warmup=jnp.array(warmup),
            config=loss_config(soft_negatives=kind),
        )
        np.testing.assert_allclose([loss, plateau], expected, rtol=1e-5)


def test_stop_gradient_cuts_the_mix(rng):
    x, t = jnp.array(unit(rng, 6, 4)), jnp.array(unit(rng, 6, 4))

    def grad(**fields):
        f = lambda t: afa_loss(  # noqa: E731
            jax.random.key(0), x, t, jnp.eye(6, dtype=bool), warmup=jnp.array(False), config=loss_config(**fields)
        )[0]
        return jax.value_and_grad(f)(t)

    (a, with_mix), (b, without) = grad(), grad(stop_gradient=True)
    assert a == b
    assert not np.allclose(with_mix, without)
