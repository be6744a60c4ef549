"""The vectors of encodings as arrays, and as columns of Arrow tables."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from itm_jax.hub.encodings import Encodings


class Vectors(NamedTuple):
    """The vectors of items, in their order.

    Attributes:
        rows: [n d]; or [n k d] for a model that keeps several vectors of an item.
        mask: [n k] the valid ones; None for a model of one vector.
        weight: [n k] the weight of each word, where the model has one.
    """

    rows: Float[np.ndarray, "n *k d"]
    mask: Bool[np.ndarray, "n k"] | None = None
    weight: Float[np.ndarray, "n k"] | None = None


def vectors_of(encodings: Encodings) -> Vectors:
    """Returns the vectors of encodings in the order of their items."""
    parts = encodings.parts
    order = np.argsort(np.concatenate([index for index, _ in parts]))
    if isinstance(parts[0][1], np.ndarray):
        return Vectors(np.concatenate([rows for _, rows in parts])[order])

    def joined(field: str) -> np.ndarray:
        return padded([np.asarray(getattr(part, field)) for _, part in parts])[order]

    weighted = parts[0][1].weight is not None
    return Vectors(joined("rows"), joined("mask"), joined("weight") if weighted else None)


def padded(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Returns arrays [n k ...] joined along n; where one has a smaller k, zeros follow."""
    most = max(x.shape[1] for x in arrays)
    return np.concatenate([np.pad(x, ((0, 0), (0, most - x.shape[1]), *[(0, 0)] * (x.ndim - 2))) for x in arrays])


def list_column(values: Any, mask: Bool[np.ndarray, "n k"]) -> Any:
    """Returns an Arrow column with a list for each row of `mask`; `values` are those of all valid places, in order."""
    import pyarrow as pa

    offsets = np.concatenate([[0], np.cumsum(mask.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def vector_column(vectors: Vectors, dtype: str) -> Any:
    """Returns an Arrow column of vectors, or of lists of the valid ones."""
    import pyarrow as pa

    rows = vectors.rows if vectors.mask is None else vectors.rows[vectors.mask]
    flat = pa.array(rows.astype(dtype).reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.rows.shape[-1])
    return column if vectors.mask is None else list_column(column, vectors.mask)
