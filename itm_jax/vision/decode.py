"""Decodes images ahead of the network, in threads of Grain. Pillow decodes and resizes without Python's lock.

For an image that cannot be used an error text is returned, and the other images are still decoded.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import grain.python as grain
import numpy as np

from itm_jax.errors import InputError
from itm_jax.vision.images import read_pixels

AHEAD = 64  # images that are decoded ahead


@dataclasses.dataclass(frozen=True)
class Decode:
    """Opens an image.

    Attributes:
        folder: the folder of images.
        sizes: the sides of the squares.
    """

    folder: pathlib.Path
    sizes: tuple[int, ...]

    def __call__(self, name: str) -> dict[str, Any]:
        """Returns the pixels at each size, or the text of an error."""
        try:
            return {"pixels": tuple(read_pixels(self.folder / name, self.sizes)), "error": ""}
        except InputError as e:
            return {"pixels": tuple(np.zeros((size, size, 3), np.uint8) for size in self.sizes), "error": str(e)}


def decoded(
    names: Sequence[str], folder: pathlib.Path, sizes: tuple[int, ...], *, threads: int
) -> grain.DatasetIterator:
    """Returns an iterator over what `Decode` returns for each name, in order, decoded ahead; `close` ends its threads.

    Args:
        names: names of the files.
        folder: the folder of images.
        sizes: the sides of the squares.
        threads: how many images are decoded at a time.
    """
    data = grain.MapDataset.source(list(names)).map(Decode(folder, sizes))
    return iter(data.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=AHEAD)))
