"""AFA's aggregation against a slow reading of the paper, and what must hold whatever the padding and the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itm_jax.modules.aggregation import aggregate, num_merges


def slow_aggregate(rows, ratio, key_b, shuffle, pairing="similarity"):
    """One item's valid rows [v, d], merged with Python loops."""
    v = len(rows)
    rows = rows / np.sqrt((rows**2).sum(1, keepdims=True) + 1e-12)
    if shuffle:
        draws = [int(jax.random.bits(jax.random.fold_in(key_b, j), dtype=jnp.uint32)) for j in range(v)]
        order = sorted(range(v), key=lambda j: draws[j])
        sources, destinations = order[: v // 2], order[v // 2 :]
    else:
        sources, destinations = list(range(0, v, 2)), list(range(1, v, 2))
    k = min(int(np.floor(ratio * v + 1e-6)), len(sources)) if destinations else 0
    best = []
    for slot, s in enumerate(sources):
        cosines = [float(rows[s] @ rows[d]) for d in destinations]
        if cosines:
            best.append((max(cosines), slot, int(np.argmax(cosines))))
    merged = sorted(best, key=lambda x: (-x[0], x[1]))[:k]
    into = {slot: d for _, slot, d in merged}
    out = [rows[s] for slot, s in enumerate(sources) if slot not in into]
    for slot, d in enumerate(destinations):
        group = [rows[d]] + [rows[sources[j]] for j, target in into.items() if target == slot]
        out.append(np.mean(group, axis=0))
    return np.array(out).reshape(v - k, -1)


def item(rng, v, n, d=6):
    """[1, n, d] rows of which v random ones are valid, the others noise."""
    mask = np.zeros(n, bool)
    mask[rng.permutation(n)[:v]] = True
    return rng.standard_normal((1, n, d)).astype(np.float32), mask[None]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("ratio", [0.0, 0.05, 0.25, 0.5])
def test_equals_the_slow_reference(rng, shuffle, ratio):
    for v in (1, 2, 3, 5, 8, 12, 20):
        rows, mask = item(rng, v, 22)
        out, out_mask = aggregate(jnp.array(rows), jnp.array(mask), ratio=ratio, shuffle=shuffle)
        expected = slow_aggregate(rows[0][mask[0]], ratio, jax.random.key(0), shuffle)
        assert out_mask[0].sum() == len(expected)
        np.testing.assert_allclose(np.asarray(out)[0][: len(expected)], expected, atol=1e-6)
        assert not np.asarray(out)[0][len(expected) :].any()
        assert np.array_equal(out_mask[0], np.arange(22) < len(expected))


def test_a_key_gives_each_item_its_own_shuffle(rng):
    rows, mask = item(rng, 12, 12)
    twice = jnp.array(np.repeat(rows, 3, axis=0))
    key = jax.random.key(7)
    out, _ = aggregate(twice, jnp.array(np.repeat(mask, 3, axis=0)), ratio=0.25, key=key)
    for b in range(3):
        expected = slow_aggregate(rows[0], 0.25, jax.random.fold_in(key, b), True)
        np.testing.assert_allclose(np.asarray(out)[b][: len(expected)], expected, atol=1e-6)
    assert not np.allclose(out[0], out[1])


def test_padding_and_batch_do_not_matter(rng):
    rows, mask = item(rng, 9, 10)
    alone, alone_mask = aggregate(jnp.array(rows), jnp.array(mask), ratio=0.3)
    other, other_mask = item(rng, 17, 20)
    wide = np.concatenate([rows, 100 * rng.standard_normal((1, 10, 6)).astype(np.float32)], axis=1)
    wide_mask = np.concatenate([mask, np.zeros((1, 10), bool)], axis=1)
    both, both_mask = aggregate(
        jnp.array(np.concatenate([other, wide])), jnp.array(np.concatenate([other_mask, wide_mask])), ratio=0.3
    )
    np.testing.assert_allclose(both[1, :10], alone[0], atol=1e-6)
    assert np.array_equal(both_mask[1, :10], alone_mask[0])


def test_nearly_equal_rows_are_the_pair_that_merges():
    rows = np.eye(4, 5, dtype=np.float32)
    rows[3] = rows[0] + np.float32(0.01) * np.eye(5, dtype=np.float32)[4]
    out, mask = aggregate(jnp.array(rows[None]), jnp.ones((1, 4), bool), ratio=0.25, shuffle=False)
    # sources 0, 2; destinations 1, 3: row 0 merges into row 3
    assert int(mask.sum()) == 3
    np.testing.assert_allclose(out[0, 0], rows[2], atol=1e-6)
    np.testing.assert_allclose(out[0, 1], rows[1], atol=1e-6)
    np.testing.assert_allclose(out[0, 2, 0], 1.0, atol=1e-4)
    np.testing.assert_allclose(out[0, 2, 4], 0.005, atol=1e-4)


def test_several_sources_share_a_destination():
    rows = np.array([[1, 0], [1, 0.0], [1, 0.02], [0, 1]], np.float32)  # sources 0 and 2 both choose row 1
    out, mask = aggregate(jnp.array(rows[None]), jnp.ones((1, 4), bool), ratio=0.5, shuffle=False)
    assert int(mask.sum()) == 2
    np.testing.assert_allclose(out[0, 0], [1, 0.02 / 3], atol=1e-3)
    np.testing.assert_allclose(out[0, 1], [0, 1], atol=1e-6)


def test_random_pairing_merges_as_many_but_not_the_most_similar(rng):
    rows, mask = item(rng, 20, 20)
    by_similarity, m1 = aggregate(jnp.array(rows), jnp.array(mask), ratio=0.25)
    at_random, m2 = aggregate(jnp.array(rows), jnp.array(mask), ratio=0.25, pairing="random")
    assert np.array_equal(m1, m2)
    assert not np.allclose(by_similarity, at_random)
    total = np.asarray(at_random[0]).sum(0)
    assert np.isfinite(total).all()


def test_nothing_valid_gives_zeros_and_zero_gradient():
    mask = jnp.zeros((2, 6), bool)

    def f(x):
        return jnp.sum(aggregate(x, mask, ratio=0.5)[0] ** 2)

    value, grad = jax.value_and_grad(f)(jnp.ones((2, 6, 3)))
    assert value == 0
    assert not np.asarray(grad).any()


def test_number_of_merges_is_exact_where_float32_is_not():
    assert num_merges(20, 0.35)[20] == 7
    assert num_merges(100, 0.05).tolist() == [min(v // 20, v // 2) for v in range(101)]
    assert num_merges(4, 0.5, shuffle=False).tolist() == [0, 0, 1, 1, 2]


def test_unknown_variant_and_pairing_are_refused():
    rows, mask = jnp.ones((1, 4, 2)), jnp.ones((1, 4), bool)
    with pytest.raises(ValueError, match="variant"):
        aggregate(rows, mask, ratio=0.1, variant="other")
    with pytest.raises(ValueError, match="pairing"):
        aggregate(rows, mask, ratio=0.1, pairing="other")
