"""The nearest images of a question, as LanceDB finds them."""

from collections.abc import Sequence
from typing import Any

from itm_jax.hub.encodings import Encodings
from itm_jax.hub.vectors import vectors_of
from itm_jax.search.approximate import PROBES, REFINED
from itm_jax.search.hits import Search
from itm_jax.search.table import Record, readable


def nearest(
    table: Any, record: Record, place: str, query: Encodings, count: int, search: Search, columns: Sequence[str]
) -> Any:
    """Returns the rows of the nearest images as an Arrow table, with their distances as `_distance`.

    Args:
        table: of LanceDB.
        record: of the index.
        place: of the index, for messages.
        query: one encoded item. With fragments, its distance to an image is the sum over its vectors of the smallest
            cosine distance to one of the image.
        count: how many images.
        search: the condition, and whether the approximate index is used.
        columns: that are read.
    """
    vectors = vectors_of(query)
    rows = vectors.rows[0] if vectors.mask is None else vectors.rows[0][vectors.mask[0]]
    with readable(place):
        search_query = table.search(rows.tolist(), vector_column_name=record.column)
        search_query = search_query.distance_type("cosine").limit(count).select([*columns, "_distance"])
        if search.where is not None:
            search_query = search_query.where(search.where, prefilter=True)
        search_query = (
            search_query.nprobes(PROBES).refine_factor(REFINED)
            if search.approximate
            else search_query.bypass_vector_index()
        )
        return search_query.to_arrow()
