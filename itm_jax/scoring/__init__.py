"""All-pairs scores in tiles: peak device memory is set by the tile, not by the split."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def _rows(tree: Any) -> int:
    sizes = {leaf.shape[0] for leaf in jax.tree.leaves(tree)}
    if len(sizes) != 1:
        raise ValueError(f"encodings with different numbers of items: {sorted(sizes)}")
    return sizes.pop()


def _tiles(tree: Any, tile: int):
    """(first, count, tile of the tree), the last one padded by repeating its last item, so that one shape compiles."""
    total = _rows(tree)
    tile = min(tile, total)
    for first in range(0, total, tile):
        index = np.minimum(np.arange(first, first + tile), total - 1)
        yield first, min(tile, total - first), jax.tree.map(lambda x, index=index: x[index], tree)


@jax.jit
def _call(function: jax.tree_util.Partial, images: Any, captions: Any) -> jax.Array:
    return function(images, captions)


def score_matrix(score_fn: Callable[[Any, Any], jax.Array], images: Any, captions: Any, *, tile: int) -> np.ndarray:
    """Scores of every image with every caption.

    Args:
        score_fn: (encodings of images, of captions) -> [i, t] block of scores; it is compiled once. What a
            `jax.tree_util.Partial` binds is passed as an argument, so that it is compiled once for all its values.
        images: pytree of encodings, leading axis i.
        captions: pytree of encodings, leading axis t.
        tile: images and captions per block; the last ones may be smaller.

    Returns:
        [i, t] float32 on the host.
    """
    if tile < 1:
        raise ValueError(f"tile={tile}: must be at least 1")
    out = np.empty((_rows(images), _rows(captions)), np.float32)
    score = functools.partial(_call, score_fn) if isinstance(score_fn, jax.tree_util.Partial) else jax.jit(score_fn)
    columns = [(first, count, jax.device_put(block)) for first, count, block in _tiles(captions, tile)]
    for i, rows, image_block in _tiles(images, tile):
        image_block = jax.device_put(image_block)
        blocks = [score(image_block, caption_block) for _, _, caption_block in columns]
        for (t, width, _), block in zip(columns, blocks, strict=True):
            out[i : i + rows, t : t + width] = np.asarray(block)[:rows, :width]
    return out
