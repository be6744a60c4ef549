"""Measures the ranks of all queries of a random score matrix, beside plain counting in NumPy."""

import numpy as np

from itm_jax.bench.measure import memory, seconds_of, summary, where
from itm_jax.metrics.retrieval import query_ranks


def bench_rank(*, images: int, captions: int, repeats: int) -> dict:
    """Returns the seconds of `query_ranks` and of the same counts in NumPy, measured in turn."""
    scores = np.random.default_rng(0).standard_normal((images, captions), dtype=np.float32)
    owner = np.arange(captions) // (captions // images)

    def numpy_counting():
        right = scores[owner, np.arange(captions)]
        best = right.reshape(images, -1).max(axis=1)
        return (scores >= best[:, None]).sum(axis=1), (scores >= right[None, :]).sum(axis=0)

    query_ranks(scores, owner)
    ours, plain = map(summary, seconds_of(lambda: query_ranks(scores, owner), numpy_counting, repeats=repeats))
    return {
        "scores": f"{images} x {captions}",
        "devices": where(),
        **ours,
        "numpy_seconds_median": plain["seconds_median"],
        "ratio_numpy_to_ours": plain["seconds_median"] / ours["seconds_median"],
        "gb_per_second": scores.nbytes / ours["seconds_median"] / 1e9,
        **memory(),
    }
