"""The approximate index of LanceDB: faster than comparing with every vector, but it may miss some of the nearest."""

import time
from typing import Any

from itm_jax.errors import InputError
from itm_jax.search.table import Record, readable

FEWEST = 256  # vectors, which the quantisation needs to learn from
PROBES = 20  # partitions that a question looks at
REFINED = 10  # times as many candidates are compared by their stored vectors


def build_approximate(table: Any, record: Record, place: str) -> float:
    """Builds the approximate index over the vectors of a table, in place of an older one; returns the seconds.

    Raises:
        InputError: the table has too few vectors.
    """
    from lancedb.index import IvfRq

    vectors = table.count_rows() * (len(_first_image(table)) if record.fragments and table.count_rows() else 1)
    if vectors < FEWEST:
        raise InputError(
            f"{place}: --approximate needs at least {FEWEST} vectors, the index has about {vectors:,}; search exactly"
        )
    began = time.perf_counter()
    with readable(place):
        table.create_index(record.column, config=IvfRq(distance_type="cosine"), replace=True)
    return time.perf_counter() - began


def check_approximate(table: Any, record: Record, place: str) -> None:
    """Raises InputError where a table has no approximate index."""
    with readable(place):
        if not has_approximate(table, record):
            raise InputError(
                f"{place}: has no approximate index; build it first, with python -m itm_jax.search add --approximate"
            )


def has_approximate(table: Any, record: Record) -> bool:
    """Returns whether a table has an approximate index."""
    return any(record.column in index.columns for index in table.list_indices())


def _first_image(table: Any) -> list:
    return table.search().select(["vectors"]).limit(1).to_arrow()["vectors"][0].as_py()
