"""AFA step 2, feature aggregation (paper section 2.2): merge each item's most similar pairs of rows.

The steps are those of the paper, in its order: shuffle the rows, split them into sources and destinations, pair each
source with its most similar destination (bipartite matching), merge the most similar pairs, keep the rest. All items of
a batch are merged at once, with static shapes. In the paper's variant the result of an item depends neither on
its padding nor on the other items; in training it depends on the item's place in the batch, which gives its random key.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from itm_jax.modules.numerics import HIGHEST, NEG, at_least_f32, l2_normalize, take_rows, zero_invalid
from itm_jax.modules.official import aggregate_official

VARIANTS = ("paper", "official", "official_single")
PAIRINGS = ("similarity", "random")


def split_sizes(n: int, shuffle: bool) -> tuple[Int[np.ndarray, " sizes"], Int[np.ndarray, " sizes"]]:
    """Returns the numbers of sources and of destinations for every number v = 0..n of valid rows."""
    half = np.arange(n + 1, dtype=np.int32) // 2
    rest = np.arange(n + 1, dtype=np.int32) - half
    return (half, rest) if shuffle else (rest, half)


def num_merges(n: int, ratio: float, shuffle: bool = True) -> Int[np.ndarray, " sizes"]:
    """Returns `k = min(⌊ratio·v + 1e-6⌋, number of sources)` for every number v = 0..n of valid rows."""
    sources, destinations = split_sizes(n, shuffle)
    wanted = np.floor(ratio * np.arange(n + 1) + 1e-6).astype(np.int32)
    return np.where(destinations > 0, np.minimum(wanted, sources), 0).astype(np.int32)


def item_keys(key: PRNGKeyArray | None, batch: int) -> Key[Array, " b"]:
    """Returns one key per item, `fold_in(key, b)`. Without a key, every item gets the same fixed one."""
    if key is None:
        return jnp.broadcast_to(jax.random.key(0), (batch,))
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(batch))


def _draws(keys: Key[Array, " b"], n: int, stream: int = 0) -> Int[Array, "b n"]:
    """Draws 31 random bits for each rank 0..n-1 of each item, from `fold_in(key_b, rank)`. They do not depend on n."""
    fold = jax.vmap(jax.vmap(jax.random.fold_in, in_axes=(None, 0)), in_axes=(0, None))
    ranked = fold(keys, jnp.arange(n))
    if stream:
        ranked = jax.vmap(jax.vmap(jax.random.fold_in, in_axes=(0, None)), in_axes=(0, None))(ranked, stream)
    bits = jax.vmap(jax.vmap(lambda k: jax.random.bits(k, dtype=jnp.uint32)))(ranked)
    return (bits >> 1).astype(jnp.int32)


def _order(mask: Bool[Array, "b n"], keys: Key[Array, " b"], shuffle: bool) -> Int[Array, "b n"]:
    """Returns the row indices: the sources first, then the destinations, then the invalid rows."""
    n = mask.shape[1]
    rank = jnp.cumsum(mask, axis=1, dtype=jnp.int32) - 1
    drawn = jnp.take_along_axis(_draws(keys, n), jnp.maximum(rank, 0), axis=1)
    priority = drawn if shuffle else rank % 2  # without a shuffle, rows of even rank are sources
    position = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32), mask.shape)
    *_, order = jax.lax.sort(((~mask).astype(jnp.int32), priority, position, position), dimension=1, num_keys=3)
    return order


def _best_destination(
    sources: Float[Array, "b s d"], destinations: Float[Array, "b t d"], is_source: Array, is_destination: Array
) -> tuple[Float[Array, "b s"], Int[Array, "b s"]]:
    """Returns the cosine of each source with its most similar destination, and that one's index (ties: the lowest)."""
    cosine = jnp.einsum("bsd,btd->bst", sources, destinations, precision=HIGHEST)
    cosine = jnp.where(is_source[:, :, None] & is_destination[:, None, :], cosine, NEG)
    return jnp.max(cosine, axis=2), jnp.argmax(cosine, axis=2).astype(jnp.int32)


class _Plan(NamedTuple):
    """Which rows merge: the rows of sources and destinations, and each source's partner among the destinations."""

    source_row: Int[Array, "b s"]
    destination_row: Int[Array, "b t"]
    is_source: Bool[Array, "b s"]
    is_destination: Bool[Array, "b t"]
    partner: Int[Array, "b s"]
    merged: Bool[Array, "b s"]
    k: Int[Array, "b 1"]


def _plan(rows: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, ratio, key, shuffle, pairing) -> _Plan:
    b, n, _ = rows.shape
    keys = item_keys(key, b)
    count = jnp.sum(mask, axis=1, dtype=jnp.int32)[:, None]
    source_table, destination_table = split_sizes(n, shuffle)
    num_sources = jnp.asarray(source_table)[count]
    k = jnp.asarray(num_merges(n, ratio, shuffle))[count]

    order = _order(mask, keys, shuffle)
    s, t = int(source_table[n]), int(destination_table[n])
    source_slot, destination_slot = jnp.arange(s)[None, :], jnp.arange(t)[None, :]
    is_source, is_destination = source_slot < num_sources, destination_slot < count - num_sources
    source_row = order[:, :s]
    destination_row = jnp.take_along_axis(order, jnp.minimum(num_sources + destination_slot, n - 1), axis=1)
    if pairing == "random":
        closeness = jnp.where(is_source, _draws(keys, s, stream=1), -1)
        partner = _draws(keys, s, stream=2) % jnp.maximum(count - num_sources, 1)
    else:
        fixed = jax.lax.stop_gradient(rows)
        closeness, partner = _best_destination(
            take_rows(fixed, source_row), take_rows(fixed, destination_row), is_source, is_destination
        )
    by_closeness = jnp.argsort(-closeness, axis=1, stable=True)
    place = jnp.argsort(by_closeness, axis=1)  # a source's place when sorted by falling similarity
    return _Plan(source_row, destination_row, is_source, is_destination, partner, is_source & (place < k), k)


def aggregate(
    rows: Float[Array, "b n d"],
    mask: Bool[Array, "b n"],
    *,
    ratio: float,
    key: PRNGKeyArray | None = None,
    variant: str = "paper",
    shuffle: bool = True,
    pairing: str = "similarity",
) -> tuple[Float[Array, "b n d"], Bool[Array, "b n"]]:
    """Merges the `k = min(⌊ratio·v + 1e-6⌋, number of sources)` most similar pairs of each item's v valid rows.

    Args:
        rows: features of any scale; they are L2-normalised before the merge.
        mask: which rows are valid.
        ratio: fraction of the valid rows that are merged into others.
        key: draws the shuffle (and the random pairs), differently for each item. None, as in evaluation, gives every
            item the same fixed draw, so that its result never depends on its batch.
        variant: "paper" or "official". The official variant does what the authors' code does (`modules.official`);
            `ratio`, `key`, `shuffle` and `pairing` have no effect on it. "official_single" does the same with each item
            as a batch of its own.
        shuffle: True: the first ⌊v/2⌋ rows of the drawn order are sources, the rest destinations. False: rows of
            even rank are sources, those of odd rank destinations.
        pairing: "similarity", or "random", which merges random sources into random destinations (the paper's ablation).

    Returns:
        (rows, mask), with the shapes of the arguments. The rows are the unmerged sources, then the destinations, then
        zeros, in float32 or wider. A destination is the mean of itself and of all sources merged into it. The mask
        marks the v - k valid rows.

    Raises:
        ValueError: the variant or the pairing is unknown.

    Examples:
        Four rows, of which a quarter is merged away. The two equal rows become one.

        >>> rows = jnp.array([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]])
        >>> merged, mask = aggregate(rows, jnp.ones((1, 4), bool), ratio=0.25, shuffle=False)
        >>> mask.tolist()
        [[True, True, True, False]]
        >>> merged[0, :3].tolist()
        [[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]]
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant={variant!r}: must be one of {VARIANTS}")
    if pairing not in PAIRINGS:
        raise ValueError(f"pairing={pairing!r}: must be one of {PAIRINGS}")
    n = rows.shape[1]
    if variant != "paper":
        return aggregate_official(rows, mask, single=variant == "official_single")
    if n < 2:
        return zero_invalid(l2_normalize(at_least_f32(rows)), mask), mask
    rows = l2_normalize(at_least_f32(rows))  # the merge decides which rows remain: never in bfloat16
    p = _plan(rows, mask, ratio=ratio, key=key, shuffle=shuffle, pairing=pairing)
    sources, destinations = take_rows(rows, p.source_row), take_rows(rows, p.destination_row)

    into = (p.merged[:, :, None] & (p.partner[:, :, None] == jnp.arange(destinations.shape[1])[None, None, :])).astype(
        rows.dtype
    )
    received = jnp.einsum("bst,bsd->btd", into, sources, precision=HIGHEST)
    destinations = (destinations + received) / (1 + jnp.sum(into, axis=1))[..., None]

    keep = jnp.concatenate([p.is_source & ~p.merged, p.is_destination], axis=1)
    slots = jnp.argsort(~keep, axis=1, stable=True)
    out_mask = jnp.arange(n)[None, :] < jnp.sum(mask, axis=1, dtype=jnp.int32)[:, None] - p.k
    out = take_rows(jnp.concatenate([sources, destinations], axis=1), slots)
    return zero_invalid(out, out_mask), out_mask


def merged_pairs(
    rows: Float[Array, "b n d"],
    mask: Bool[Array, "b n"],
    *,
    ratio: float,
    shuffle: bool = True,
    pairing: str = "similarity",
) -> tuple[Int[Array, "b n"], Float[Array, "b n"]]:
    """Returns the row that each row is merged into in evaluation, or -1, and the cosine of the two rows."""
    b, n, _ = rows.shape
    if n < 2:
        return jnp.full((b, n), -1, jnp.int32), jnp.zeros((b, n))
    rows = l2_normalize(at_least_f32(rows))
    p = _plan(rows, mask, ratio=ratio, key=None, shuffle=shuffle, pairing=pairing)
    target = jnp.take_along_axis(p.destination_row, p.partner, axis=1)
    item = jnp.arange(b)[:, None]
    into = jnp.full((b, n), -1, jnp.int32).at[item, p.source_row].max(jnp.where(p.merged, target, -1))
    return into, jnp.sum(rows * take_rows(rows, jnp.maximum(into, 0)), axis=-1)
