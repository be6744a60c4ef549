"""Blocks of encodings, all of one shape. Images are split over the devices by rows; captions are on all devices."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from itm_jax.devices.mesh import make_mesh, put, replicated, split_batch

RESIDENT_BYTES = 1 << 30  # bytes of image encodings that a device may keep while the captions pass by


@dataclasses.dataclass(frozen=True)
class Block:
    """`count` consecutive items from `first` on; the rest of the block repeats the last of them."""

    first: int
    count: int
    items: Any


def rows_of(tree: Any) -> int:
    """Returns the number of items, which is the same in all leaves."""
    sizes = {leaf.shape[0] for leaf in jax.tree.leaves(tree)}
    if len(sizes) != 1:
        raise ValueError(f"encodings with different numbers of items: {sorted(sizes)}")
    return sizes.pop()


def _cut(tree: Any, tile: int, place: Callable[[Any], Any]) -> Iterator[Block]:
    total = rows_of(tree)
    for first in range(0, total, tile):
        index = np.minimum(np.arange(first, first + tile), total - 1)
        whole = first + tile <= total
        rows = slice(first, first + tile) if whole else index
        yield Block(first, min(tile, total - first), place(jax.tree.map(lambda x, rows=rows: x[rows], tree)))


class Tiles:
    """The tiles of all pairs. Each block of captions is used once, against every block of images.

    Attributes:
        mesh: the devices over which a block of images is split by rows. The tile is rounded up to a multiple of them.
        image_rows: number of images of a block; a gallery with fewer images has smaller blocks.
    """

    def __init__(self, images: Any, *, tile: int, mesh: Mesh | None = None):
        if tile < 1:
            raise ValueError(f"tile={tile}: must be at least 1")
        self.mesh = make_mesh(1, jax.local_devices()[:1]) if mesh is None else mesh
        self.tile, self._images = tile, images
        self.image_rows = -(-min(tile, rows_of(images)) // self.mesh.size) * self.mesh.size
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(images)) // self.mesh.size
        self._resident = list(self._cut_images()) if size <= RESIDENT_BYTES else None

    def _cut_images(self) -> Iterator[Block]:
        return _cut(self._images, self.image_rows, lambda x: put(x, split_batch(self.mesh)))

    def images(self) -> Iterator[Block]:
        """Returns the blocks of images. Small galleries stay on the devices; larger ones are sent there again."""
        return iter(self._resident) if self._resident is not None else self._cut_images()

    def captions(self, captions: Any) -> Iterator[Block]:
        """Returns the blocks of captions, on every device."""
        return _cut(captions, min(self.tile, rows_of(captions)), lambda x: put(x, replicated(self.mesh)))


def compiled(score_fn: Callable[[Any, Any], jax.Array], through: Callable) -> Callable:
    """Returns `through(score_fn, ...)`, compiled once for all values that a `jax.tree_util.Partial` binds."""
    partial = score_fn if isinstance(score_fn, jax.tree_util.Partial) else jax.tree_util.Partial(score_fn)
    return functools.partial(through, partial)
