"""The matrix of all scores, on the host."""

import collections
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from itm_jax.devices.mesh import replicated
from itm_jax.scoring.tiles import Block, Tiles, compiled, rows_of

AHEAD = 2  # tiles sent before the oldest is fetched: the device is never idle, and holds no more than these


@functools.cache
def _everywhere(mesh: Mesh) -> Callable:
    """Returns the program that scores a tile and leaves the scores on every device."""
    return jax.jit(lambda function, images, captions: function(images, captions), out_shardings=replicated(mesh))


def score_matrix(
    score_fn: Callable[[Any, Any], jax.Array], images: Any, captions: Any, *, tile: int, mesh: Mesh | None = None
) -> np.ndarray:
    """Returns the score of every image with every caption.

    Args:
        score_fn: (encodings of images, of captions) -> [i, t] block of scores; it is compiled once. Values that a
            `jax.tree_util.Partial` binds are passed as arguments, so that it is compiled once for all values.
        images: pytree of encodings, leading axis i.
        captions: pytree of encodings, leading axis t.
        tile: images and captions per block; the last ones may be smaller.
        mesh: devices that share the images of a block; None: one device.

    Returns:
        [i, t] float32 on the host.

    Examples:
        >>> images, captions = np.eye(3, 4, dtype=np.float32), np.eye(5, 4, dtype=np.float32)
        >>> score_matrix(lambda v, w: v @ w.T, images, captions, tile=2).shape
        (3, 5)
    """
    out = np.empty((rows_of(images), rows_of(captions)), np.float32)
    tiles = Tiles(images, tile=tile, mesh=mesh)
    score = compiled(score_fn, _everywhere(tiles.mesh))
    for columns in tiles.captions(captions):
        under_way: collections.deque[tuple[Block, jax.Array]] = collections.deque()
        for rows in tiles.images():
            under_way.append((rows, score(rows.items, columns.items)))
            if len(under_way) > AHEAD:
                _fetch(out, *under_way.popleft(), columns)
        while under_way:
            _fetch(out, *under_way.popleft(), columns)
    return out


def _fetch(out: np.ndarray, rows: Block, scores: jax.Array, columns: Block) -> None:
    part = np.asarray(scores)[: rows.count, : columns.count]
    out[rows.first : rows.first + rows.count, columns.first : columns.first + columns.count] = part
