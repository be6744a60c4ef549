"""AFA's official variant against a slow NumPy reading of the released code, and what sets it apart from the paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itm_jax.config.default import default_config
from itm_jax.config.derived import complete
from itm_jax.config.model_fields import depends_on_batch
from itm_jax.config.sections import Loss, read_section
from itm_jax.config.validation import validate
from itm_jax.errors import InputError
from itm_jax.losses.matching import matching_loss
from itm_jax.models import build
from itm_jax.modules.aggregation import aggregate
from itm_jax.structs import Regions, Tokens


def norm(x):
    return x / (np.sqrt((x**2).sum(-1, keepdims=True)) + 1e-8)


def slow_aggregation(rows, lengths):
    """Rows [b, T, d], valid ones first -> per item the rows that count as valid after the merge, and k."""
    _, length, _ = rows.shape
    k = min(length // 20, min(lengths) // 2)
    out = []
    for item, n in zip(norm(rows), lengths, strict=True):
        sources, destinations = [*range(0, length, 2)], [*range(1, length, 2)]
        best = {s: max(destinations, key=lambda d: (item[s] @ item[d], -d)) for s in sources} if destinations else {}
        ranked = sorted(sources, key=lambda s: -(item[s] @ item[best[s]])) if best else sources
        merged, kept = ranked[:k], ranked[k:]
        groups = [np.mean([item[d]] + [item[s] for s in merged if best[s] == d], axis=0) for d in destinations]
        out.append(np.array([item[s] for s in kept] + groups)[: n - k])
    return out, k


@pytest.mark.parametrize(("length", "shortest"), [(1, 1), (2, 1), (7, 3), (19, 4), (20, 5), (41, 3), (64, 30), (45, 0)])
def test_aggregation_equals_the_slow_reading(rng, length, shortest):
    lengths = [length, shortest, (length + shortest) // 2]
    rows = rng.standard_normal((3, length, 8)).astype(np.float32) * 3
    mask = np.arange(length)[None] < np.array(lengths)[:, None]
    out, out_mask = aggregate(jnp.array(rows), jnp.array(mask), ratio=0.05, variant="official")
    expected, k = slow_aggregation(rows.astype(np.float64), lengths)
    assert k == min(length // 20, shortest // 2)
    assert out.shape == rows.shape
    for got, valid, want in zip(np.asarray(out), np.asarray(out_mask), expected, strict=True):
        assert np.array_equal(valid, np.arange(length) < len(want))
        np.testing.assert_allclose(got[valid], want, atol=1e-5)


@pytest.mark.parametrize("lengths", [(41, 3, 22), (64, 40, 1), (1, 1, 1), (45, 0, 20)])
def test_single_is_the_slow_reading_of_each_item_alone(rng, lengths):
    rows = rng.standard_normal((3, max(lengths) + 4, 8)).astype(np.float32)
    mask = np.arange(rows.shape[1])[None] < np.array(lengths)[:, None]
    out, out_mask = aggregate(jnp.array(rows), jnp.array(mask), ratio=0.05, variant="official_single")
    for got, valid, item, n in zip(np.asarray(out), np.asarray(out_mask), rows, lengths, strict=True):
        want = slow_aggregation(item[None, :n].astype(np.float64), [n])[0][0]
        assert np.array_equal(valid, np.arange(len(item)) < n - n // 20)
        np.testing.assert_allclose(got[valid], want.reshape(-1, 8), atol=1e-5)


def test_single_gives_an_item_the_embedding_that_it_has_alone(rng):
    regions, tokens = inputs(rng)
    config = official()
    model = build(config)
    variables = model.init(jax.random.key(0), regions, tokens, train=False)
    variables = jax.tree.map(lambda x: x + 0.1, variables)
    one = lambda x, k: jax.tree.map(lambda y: y[k : k + 1], x)  # noqa: E731
    alone = [model.apply(variables, one(regions, k), one(tokens, k), train=False) for k in range(3)]
    together = model.apply(variables, regions, tokens, train=False)
    assert depends_on_batch(config)
    config.aggregation.variant = "official_single"
    assert not depends_on_batch(config)
    single = build(config).apply(variables, regions, tokens, train=False)
    for side in (0, 1):
        expected = np.concatenate([x[side] for x in alone])
        np.testing.assert_allclose(single[side], expected, atol=1e-6)
        assert np.abs(together[side] - expected).max() > 1e-2


def slow_branch(params, stats, rows, lengths, train):
    """Unit vectors of a branch: `params` of its enhancement, MLP and BatchNorm over all rows where there are any."""
    hidden = rows @ params["linear"]["kernel"] + params["linear"]["bias"]
    if "mlp_in" in params:
        inner = rows @ params["mlp_in"]["kernel"] + params["mlp_in"]["bias"]
        mean = inner.mean((0, 1)) if train else stats["mlp_norm"]["mean"]
        var = inner.var((0, 1)) if train else stats["mlp_norm"]["var"]
        inner = (inner - mean) / np.sqrt(var + 1e-5) * params["mlp_norm"]["scale"] + params["mlp_norm"]["bias"]
        hidden = hidden + np.maximum(inner, 0) @ params["mlp_out"]["kernel"] + params["mlp_out"]["bias"]
    merged, _ = slow_aggregation(hidden, lengths)
    return norm(np.array([rows.max(0) for rows in merged]))


def official(width=16, hidden=8):
    config = default_config()
    config.model.variant = "official"
    config.model.width = width
    config.model.text.trainable = False
    config.model.text.hidden_size = hidden
    return complete(config).model


def inputs(rng, r=41, length=44, counts=(41, 30, 33), words=(40, 12, 5)):
    """Regions with holes (a dropped region leaves one) and frozen states, both padded beyond the longest item."""
    mask = np.zeros((3, r + 3), bool)
    for row, n in zip(mask, counts, strict=True):
        row[np.sort(rng.permutation(r + 3)[:n])] = True
    regions = Regions(jnp.array(rng.standard_normal((3, r + 3, 10)), jnp.float32), jnp.array(mask))
    valid = np.arange(length)[None] < np.array(words)[:, None]
    states = np.where(valid[..., None], rng.standard_normal((3, length, 8)), 0)
    tokens = Tokens(jnp.zeros((3, length), jnp.int32), jnp.array(valid), states=jnp.array(states, jnp.float32))
    return regions, tokens


@pytest.mark.parametrize("train", [False, True])
def test_both_branches_equal_the_slow_reading(rng, train):
    regions, tokens = inputs(rng)
    model = build(official())
    variables = model.init(jax.random.key(0), regions, tokens, train=False)
    variables = jax.tree.map(lambda x: x + 0.1, variables)  # biases and statistics that are not the initial ones
    out = model.apply(variables, regions, tokens, train=train, mutable=["batch_stats"])[0]
    as64 = jax.tree.map(lambda x: np.asarray(x, np.float64), variables)
    counts = np.asarray(regions.mask.sum(1))
    packed = np.zeros((3, counts.max(), 10))
    for row, features, mask in zip(packed, np.asarray(regions.features), np.asarray(regions.mask), strict=True):
        row[: mask.sum()] = features[mask]
    words = np.asarray(tokens.mask.sum(1))
    states = np.asarray(tokens.states, np.float64)[:, : words.max()]
    for got, name, rows, lengths in (
        (out[0], "image_branch", packed, counts),
        (out[1], "text_branch", states, words),
    ):
        stats = as64["batch_stats"].get(name, {}).get("enhancement")
        expected = slow_branch(as64["params"][name]["enhancement"], stats, rows, list(lengths), train)
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_caption_depends_on_its_batch_and_not_on_padding_beyond_the_longest(rng):
    regions, tokens = inputs(rng)
    model = build(official())
    variables = model.init(jax.random.key(0), regions, tokens, train=False)
    encode = lambda t: np.asarray(model.apply(variables, t, train=False, method="encode_captions"))  # noqa: E731
    together = encode(tokens)
    short = jax.tree.map(lambda x: x[:, :40], tokens)  # the longest item has 40
    np.testing.assert_allclose(encode(short), together, atol=1e-6)
    alone = jax.tree.map(lambda x: x[1:2], tokens)
    assert np.abs(encode(alone)[0] - together[1]).max() > 1e-2
    paper = default_config().model
    paper.width, paper.text.trainable, paper.text.hidden_size = 16, False, 8
    model = build(paper)
    variables = model.init(jax.random.key(0), regions, tokens, train=False)
    np.testing.assert_allclose(encode(alone)[0], encode(tokens)[1], atol=1e-6)


def released_loss(x, t, weights, margin, hardest):
    """What the released loss computes, mixing included: its mixed scores go to the diagonal, which is then cleared."""
    scores = x @ t.T
    positive = jnp.diagonal(scores)
    a, b = weights
    mixed = jnp.sum((a * x + (1 - a) * t) * (b * x + (1 - b) * t), axis=1)
    eye = jnp.eye(len(x), dtype=bool)
    scores = jnp.where(eye, mixed[:, None], scores)
    total = 0.0
    for m in (margin, margin / 2):
        by_row = jnp.where(eye, 0.0, jnp.maximum(m + scores - positive[:, None], 0))
        by_column = jnp.where(eye, 0.0, jnp.maximum(m + scores - positive[None, :], 0))
        pick = (lambda c, axis: c.max(axis)) if hardest else (lambda c, axis: c.sum(axis))
        total += pick(by_row, 1).sum() + pick(by_column, 0).sum()
    return total


@pytest.mark.parametrize("hardest", [True, False])
def test_the_mixup_of_the_released_loss_has_no_effect(rng, hardest):
    x, t = (norm(rng.standard_normal((12, 6))).astype(np.float32) for _ in range(2))
    config = default_config()
    config.model.variant = "official"
    loss = read_section(Loss, complete(config).loss)
    eye = jnp.eye(12, dtype=bool)
    ours = lambda x, t: matching_loss(  # noqa: E731
        jax.random.key(0), x @ t.T, x, t, eye, warmup=jnp.array(not hardest), config=loss
    )[0]
    value, grads = jax.value_and_grad(ours, argnums=(0, 1))(x, t)
    assert value > 0
    for weights in ((0.5, 0.5), (0.03, 0.9), (1.0, 0.0)):
        theirs = lambda x, t, w=weights: released_loss(x, t, w, 0.2, hardest)  # noqa: E731
        their_value, their_grads = jax.value_and_grad(theirs, argnums=(0, 1))(x, t)
        np.testing.assert_allclose(value, their_value, rtol=1e-6)
        for ours_g, theirs_g in zip(grads, their_grads, strict=True):
            np.testing.assert_allclose(ours_g, theirs_g, atol=1e-5)


def test_single_differences_can_be_set_one_by_one(rng):
    regions, tokens = inputs(rng)
    outputs = []
    singles = (
        {},
        {"enhancement.text": "linear"},
        {"enhancement.statistics": "all"},
        {"aggregation.variant": "official"},
    )
    for fields in singles:
        config = default_config().model
        config.width, config.text.trainable, config.text.hidden_size = 16, False, 8
        for name, value in fields.items():
            section, leaf = name.split(".")
            config[section][leaf] = value
        model = build(config)
        variables = model.init(jax.random.key(0), regions, tokens, train=False)
        rngs = {"aggregation": jax.random.key(1)}
        out = model.apply(variables, regions, tokens, train=True, rngs=rngs, mutable=["batch_stats"])[0]
        outputs.append([np.asarray(x) for x in out])
    (images, captions), linear, statistics, aggregation = outputs
    assert np.array_equal(linear[0], images)
    assert not np.allclose(linear[1], captions)
    assert not np.allclose(statistics[0], images)
    assert not np.allclose(aggregation[0], images)
    assert not np.allclose(aggregation[1], captions)


def test_gradients_are_finite_where_padding_is_all_zero(rng):
    regions, tokens = inputs(rng)
    model = build(official())
    variables = model.init(jax.random.key(0), regions, tokens, train=False)  # zero biases: zero padding stays zero

    def loss(params):
        images, captions = model.apply(
            {**variables, "params": params}, regions, tokens, train=True, mutable="batch_stats"
        )[0]
        return jnp.sum(images * captions)

    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(jax.grad(loss)(variables["params"])))


def test_fields_without_effect_are_refused():
    config = default_config()
    config.data.dir = "."
    config.model.variant = "official"
    validate(config)
    config.model.aggregation.ratio = 0.1
    with pytest.raises(InputError, match=r"aggregation\.ratio=0\.1: has no effect on the official aggregation"):
        validate(config)
    config.model.aggregation.variant = "official_single"
    with pytest.raises(InputError, match=r"aggregation\.ratio=0\.1: has no effect on the official aggregation"):
        validate(config)
    config.model.aggregation.variant = "paper"
    validate(config)
