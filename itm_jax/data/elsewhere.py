"""Features that stay where they are stored and are read by row, with the interface of a memory-mapped array."""

import abc
from typing import Any

import numpy as np


class RowsElsewhere(abc.ABC):
    """An array [i, r, f] whose rows are read when they are indexed.

    Attributes:
        shape: (images, regions, width).
        dtype: of the features.
        ndim: 3.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: Any):
        self.shape, self.dtype, self.ndim = shape, np.dtype(dtype), 3

    @abc.abstractmethod
    def read(self, rows: np.ndarray) -> np.ndarray:
        """Returns rows [n, r, f] by their indices, which are not negative; an index may occur several times."""

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """The size of all features in memory, in bytes."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Returns rows by an index, a slice, or an array of indices or booleans."""
        index = np.arange(len(self))[rows]
        return self.read(index.ravel()).reshape(*index.shape, *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("features that are stored elsewhere are always copied; leave copy=False out")
        return self[:].astype(dtype or self.dtype, copy=False)


Features = np.ndarray | RowsElsewhere


class SomeRows(RowsElsewhere):
    """Some rows of an array that is read by row, with their first regions."""

    def __init__(self, array: Features, rows: np.ndarray, regions: int | None = None):
        """Takes the indices of the rows, in their new order; `regions` None means all regions."""
        super().__init__((len(rows), regions or array.shape[1], array.shape[2]), array.dtype)
        self._array, self._rows = array, rows

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Reads rows by their indices."""
        return self._array[self._rows[rows]][:, : self.shape[1]]
