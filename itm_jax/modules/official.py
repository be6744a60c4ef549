"""AFA's aggregation in the authors' code (GitHub wzhings/itmAFA, lib/encoders.py). Their paper describes another one.

Nothing is shuffled. Padding takes part in the merging and can push valid rows out. The number of merged pairs depends
on the batch's shortest item. An embedding therefore depends on its batch, by design of that code. `single` computes
what that code gives an item in a batch of its own: then there is no padding, and the item is the shortest.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from itm_jax.modules.numerics import HIGHEST, NEG, at_least_f32, take_rows, zero_invalid

NORM_EPS = 1e-8


def l2_normalize_official(x: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """Returns `x / (‖x‖ + 1e-8)` over the last axis. The gradient at 0 is finite, unlike that of the original."""
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    zero = square == 0
    return jnp.where(zero, 0.0, x / (jnp.sqrt(jnp.where(zero, 1.0, square)) + NORM_EPS))


def to_front(rows: Float[Array, "b n f"], mask: Bool[Array, "b n"]) -> tuple[Float[Array, "b n f"], Bool[Array, "b n"]]:
    """Moves valid rows to the front, in their order, and fills up with zeros, as the authors' loader pads images."""
    order = jnp.argsort(~mask, axis=1, stable=True)
    mask = jnp.take_along_axis(mask, order, axis=1)
    return zero_invalid(take_rows(rows, order), mask), mask


def batch_length(mask: Bool[Array, "b n"]) -> Int[Array, ""]:
    """Returns T, the number of valid rows of the batch's longest item. The authors' loader pads to this length."""
    return jnp.max(jnp.sum(mask, axis=1, dtype=jnp.int32))


def aggregate_official(
    rows: Float[Array, "b n d"], mask: Bool[Array, "b n"], length: Int[Array, ""] | None = None, *, single: bool = False
) -> tuple[Float[Array, "b n d"], Bool[Array, "b n"]]:
    """Merges the `k = min(T // 20, shortest // 2)` most similar pairs of each item, padding included.

    Args:
        rows: features of any scale, valid rows first. They are L2-normalised before the merge.
        mask: which rows are valid; only their number counts.
        length: T; rows from index T on are ignored. None means n.
        single: whether each item is a batch of its own; T and the shortest are then its own number of valid rows.

    Returns:
        (rows, mask), rows in float32 or wider. First come the sources (even rows) that were not merged, by falling
        similarity to their best destination. Then come the destinations (odd rows), each the mean of itself and of the
        sources merged into it. The first `n_i - k` of these rows count as valid, even where they are padding. The rest
        is zeros.
    """
    n = rows.shape[1]
    rows = l2_normalize_official(at_least_f32(rows))
    if n < 2:
        return zero_invalid(rows, mask), mask
    count = jnp.sum(mask, axis=1, dtype=jnp.int32)
    if single:
        length_of, shortest = count, count
    else:
        length_of = jnp.broadcast_to(jnp.asarray(n, jnp.int32) if length is None else length, count.shape)
        shortest = jnp.broadcast_to(jnp.min(count), count.shape)
    lengths = length_of[:, None]
    k = jnp.minimum(lengths // 20, shortest[:, None] // 2)

    sources, destinations = rows[:, ::2], rows[:, 1::2]
    s, t = sources.shape[1], destinations.shape[1]
    is_source, is_destination = 2 * jnp.arange(s)[None] < lengths, 2 * jnp.arange(t)[None] + 1 < lengths
    cosine = jnp.einsum("bsd,btd->bst", *map(jax.lax.stop_gradient, (sources, destinations)), precision=HIGHEST)
    cosine = jnp.where(is_source[:, :, None] & is_destination[:, None, :], cosine, NEG)
    order = jnp.argsort(-jnp.max(cosine, axis=2), axis=1, stable=True)
    partner = jnp.take_along_axis(jnp.argmax(cosine, axis=2), order, axis=1)
    sources = take_rows(sources, order)

    merged = (jnp.arange(s)[None] < k)[:, :, None]
    into = (merged & (partner[:, :, None] == jnp.arange(t)[None, None, :])).astype(rows.dtype)
    received = jnp.einsum("bst,bsd->btd", into, sources, precision=HIGHEST)
    destinations = (destinations + received) / (1 + jnp.sum(into, axis=1))[..., None]

    slot = jnp.arange(n)[None]
    unmerged = (lengths + 1) // 2 - k
    index = jnp.where(slot < unmerged, slot + k, s + slot - unmerged)
    out = take_rows(jnp.concatenate([sources, destinations], axis=1), jnp.minimum(index, n - 1))
    out_mask = slot < count[:, None] - k
    return zero_invalid(out, out_mask), out_mask
