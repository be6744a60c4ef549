"""Ranks and best items of all queries, computed tile by tile on the devices. The whole matrix is never built."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from itm_jax.devices.mesh import put, replicated, split_batch
from itm_jax.metrics.retrieval import best_right, check_owner, check_scores
from itm_jax.scoring.tiles import Tiles, compiled, rows_of

Best = tuple[np.ndarray, np.ndarray]  # scores in falling order, and indices; each [queries, k]


@dataclasses.dataclass(frozen=True)
class Retrieved:
    """Ranks and best items of all queries.

    Attributes:
        image_ranks, caption_ranks: 0-based ranks as `metrics.retrieval.query_ranks` gives them.
        captions_of_images: the k best captions of each image, [i, k]; None unless asked for.
        images_of_captions: the k best images of each caption, [t, k]; None unless asked for.
    """

    image_ranks: Int[np.ndarray, " i"]
    caption_ranks: Int[np.ndarray, " t"]
    captions_of_images: Best | None = None
    images_of_captions: Best | None = None


@functools.cache
def _tile(mesh: Mesh) -> Callable:
    """Returns the program that scores a tile and leaves the scores on the devices, split by rows.

    Both passes run this one program, so that a pair has the same score in both.
    """
    program = lambda function, images, captions: function(images, captions).astype(jnp.float32)  # noqa: E731
    return jax.jit(program, out_shardings=split_batch(mesh))


@functools.cache
def _right(mesh: Mesh) -> Callable:
    """Returns the program that picks each caption's score with one image of the tile, the one in row `rows`."""
    return jax.jit(lambda scores, rows: scores[rows, jnp.arange(len(rows))], out_shardings=replicated(mesh))


def _merge(best, scores: Float[Array, "q c"], index: Int[Array, " c"]):
    """Returns the k best of the items known so far and of a tile, in falling order."""
    values = jnp.concatenate([best[0], scores], axis=1)
    items = jnp.concatenate([best[1], jnp.broadcast_to(index[None], scores.shape)], axis=1)
    values, order = jax.lax.top_k(values, best[0].shape[1])
    return values, jnp.take_along_axis(items, order, axis=1)


@functools.cache
def _reduce(mesh: Mesh) -> Callable:
    """Returns the program that adds a tile to the counts and best items of its rows and columns."""

    def reduce(
        scores, row: dict[str, Array], column: dict[str, Array], live: tuple[Bool[Array, " r"], Bool[Array, " c"]]
    ):
        valid = live[0][:, None] & live[1][None]
        finite = jnp.all(jnp.isfinite(scores) | ~valid)
        wrong = valid & (row["index"][:, None] != column["owner"][None])
        row, column = dict(row), dict(column)
        row["count"] += jnp.sum((scores >= row["best"][:, None]) & wrong, axis=1, dtype=jnp.int32)
        column["count"] += jnp.sum((scores >= column["best"][None]) & wrong, axis=0, dtype=jnp.int32)
        if "top" in row:
            scores = jnp.where(valid, scores, -jnp.inf)
            row["top"] = _merge(row["top"], scores, column["index"])
            column["top"] = _merge(column["top"], scores.T, row["index"])
        return row, column, finite

    split, whole = split_batch(mesh), replicated(mesh)
    return jax.jit(reduce, donate_argnums=(1, 2), out_shardings=(split, whole, whole))


def retrieve(
    score_fn: Callable[[Any, Any], jax.Array],
    images: Any,
    captions: Sequence[tuple[np.ndarray, Any]],
    caption_image_index: Int[np.ndarray, " t"],
    *,
    tile: int,
    mesh: Mesh | None = None,
    top: int = 0,
) -> Retrieved:
    """Returns the ranks of all queries of both directions, and the best items of each query.

    Tiles that hold a matching pair are scored twice, by the same program on the same arrays: first for the scores that
    decide ranks, then among all others. Beyond the encodings, memory holds a tile and a few numbers per query.

    Args:
        score_fn: as for `score_matrix`.
        images: pytree of encodings, leading axis i.
        captions: (indices of captions, pytree of their encodings) for each shape that the encodings have.
        caption_image_index: [t] index of each caption's image.
        tile: images and captions per block.
        mesh: devices that share the images of a block; None: one device.
        top: k, the number of best items to return for each query. Items with equal scores come in any order.

    Raises:
        InputError: scores are not finite, or indices do not fit.

    Examples:
        Three images with one caption each; the third caption fits the first image better than its own.

        >>> images = np.eye(3, dtype=np.float32)
        >>> captions = np.array([[1, 0, 0], [0, 1, 0], [0.8, 0, 0.6]], np.float32)
        >>> found = retrieve(lambda v, w: v @ w.T, images, [(np.arange(3), captions)], np.arange(3), tile=2)
        >>> found.caption_ranks.tolist()
        [0, 0, 1]
    """
    owner = np.asarray(caption_image_index)
    total = rows_of(images)
    check_owner(owner, total)
    tiles = Tiles(images, tile=tile, mesh=mesh)
    score, right, reduce = compiled(score_fn, _tile(tiles.mesh)), _right(tiles.mesh), _reduce(tiles.mesh)
    matching = np.empty(len(owner), np.float32)
    for block, index in _caption_blocks(tiles, captions):
        for rows in tiles.images():
            at = owner[index] - rows.first
            here = (at >= 0) & (at < rows.count)
            if here.any():
                scores = score(rows.items, block.items)
                picked = right(scores, put(np.where(here, at, 0), replicated(tiles.mesh)))
                matching[index[here]] = np.asarray(picked)[here]
    best, _ = best_right(matching, owner, total)

    split, whole = (functools.partial(put, sharding=s(tiles.mesh)) for s in (split_batch, replicated))
    known = []
    for rows in tiles.images():
        index = np.minimum(np.arange(rows.first, rows.first + tiles.image_rows), total - 1)
        known.append(split(_state(index, min(top, len(owner)), best=best[index])))
    caption_ranks, finite = np.empty(len(owner), np.int64), True
    shape = (len(owner), min(top, total))
    best_images: Best = (np.empty(shape, np.float32), np.empty(shape, np.int64))
    for block, index in _caption_blocks(tiles, captions):
        column = whole(_state(index, min(top, total), best=matching[index], owner=owner[index].astype(np.int32)))
        live_columns, oks = whole(np.arange(len(index)) < block.count), []
        for n, rows in enumerate(tiles.images()):
            live = (split(np.arange(tiles.image_rows) < rows.count), live_columns)
            known[n], column, ok = reduce(score(rows.items, block.items), known[n], column, live)
            oks.append(ok)
        finite &= all(map(bool, oks))
        index = index[: block.count]
        caption_ranks[index] = np.asarray(column["count"])[: block.count]
        if top:
            for out, new in zip(best_images, column["top"], strict=True):
                out[index] = np.asarray(new)[: block.count]
    check_scores(finite)
    gather = jax.jit(lambda x: x, out_shardings=replicated(tiles.mesh))
    rows = jax.tree.map(lambda *x: np.concatenate(x)[:total], *(jax.tree.map(np.asarray, gather(x)) for x in known))
    return Retrieved(rows["count"], caption_ranks, rows.get("top"), best_images if top else None)


def _caption_blocks(tiles: Tiles, captions: Sequence[tuple[np.ndarray, Any]]):
    """Yields, over all shapes, each block and the indices of its captions, the last one repeated."""
    for index, encoded in captions:
        for block in tiles.captions(encoded):
            size = rows_of(block.items)
            yield block, index[np.minimum(np.arange(block.first, block.first + size), len(index) - 1)]


def _state(index: np.ndarray, top: int, **known: np.ndarray) -> dict[str, Any]:
    """Returns the state of the queries `index` before any tile; `best` is the score at which a wrong item counts."""
    state = known | {"count": np.zeros(len(index), np.int32), "index": index.astype(np.int32)}
    if top:
        state["top"] = (np.full((len(index), top), -np.inf, np.float32), np.zeros((len(index), top), np.int32))
    return state
