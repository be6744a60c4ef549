"""The stored vectors of an index as encodings of its model."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from itm_jax.hub.encodings import Encodings
from itm_jax.hub.matcher import Matcher
from itm_jax.search.table import Record, readable
from itm_jax.structs import Fragments


def encodings(rows: Any, record: Record, model: Matcher, place: str) -> Encodings:
    """Returns rows of the table as encodings of images, in float32.

    Args:
        rows: an Arrow table with the column of the vectors.
        record: of the index.
        model: of the index.
        place: of the index, for messages.
    """
    column = rows[record.column].combine_chunks()
    lists = column.flatten() if record.fragments else column
    flat = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, record.width)
    if not record.fragments:
        return Encodings("images", [(np.arange(len(flat)), flat)], model.fingerprint, place)
    counts = np.diff(column.offsets.to_numpy())
    most = max(model.shape[0], int(counts.max()))  # a data set may have more regions than the training had
    mask = np.arange(most)[None] < counts[:, None]
    padded = np.zeros((len(counts), most, record.width), np.float32)
    padded[mask] = flat
    return Encodings("images", [(np.arange(len(counts)), Fragments(padded, mask))], model.fingerprint, place)


def parts(table: Any, record: Record, model: Matcher, place: str, size: int) -> Iterator[tuple[list[str], Encodings]]:
    """Reads all images of an index; yields the ids and the encodings of at most `size` of them at a time."""
    import pyarrow as pa

    with readable(place):
        columns = ["id", record.column]
        batches = table.search().select(columns).limit(max(1, table.count_rows())).to_batches(size)
        for batch in batches:
            rows = pa.Table.from_batches([batch])
            for start in range(0, len(rows), size):
                part = rows.slice(start, size)
                yield part["id"].to_pylist(), encodings(part.combine_chunks(), record, model, place)
