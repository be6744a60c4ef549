"""Scores and ranks of a split."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial

from itm_jax.data.pipeline import TextSplit
from itm_jax.errors import InputError
from itm_jax.evaluation.encode import encode_split
from itm_jax.metrics.retrieval import Ranks, fold_ranks, folds, protocol_ranks
from itm_jax.scoring import retrieve, score_matrix


def score_split(encoders, variables: Any, data: TextSplit, config, mesh) -> tuple[np.ndarray, dict[str, float]]:
    """The [i, t] score matrix of a split and the seconds that encoding and scoring took."""
    began = time.perf_counter()
    images, captions = encode_split(encoders, variables, data, config=config, mesh=mesh)
    encoded = time.perf_counter()
    score = Partial(encoders[2], variables)
    scores = matrix(score, images, captions, config, mesh)
    return scores, {"encode": encoded - began, "score": time.perf_counter() - encoded}


def matrix(score: Partial, images: Any, captions: Sequence[tuple[np.ndarray, Any]], config, mesh) -> np.ndarray:
    """The scores of all captions, in their order, whatever the shapes of their encodings."""
    blocks = [score_matrix(score, images, group, tile=config.eval.tile, mesh=mesh) for _, group in captions]
    if len(blocks) == 1:
        return blocks[0]
    return np.concatenate(blocks, axis=1)[:, np.argsort(np.concatenate([index for index, _ in captions]))]


def rank_split(
    encoders, variables: Any, data: TextSplit, config, mesh, *, look: Callable[[np.ndarray], dict] | None = None
) -> tuple[dict[str, Ranks], dict, dict[str, float]]:
    """(ranks by protocol, what `look` makes of the [i, t] matrix of scores, seconds by part) of a split.

    Scores that would fill more than `eval.matrix_gb` are reduced to ranks tile by tile; then `score` has the seconds of
    both, and `look` is an InputError.
    """
    split = data.split
    size = 4 * split.num_images * len(split.captions) / 1e9
    if size > config.eval.matrix_gb:
        if look:
            raise InputError(
                f"config.eval.ground_truth: needs the matrix of scores; set config.eval.matrix_gb above {size:.2g}"
            )
        began = time.perf_counter()
        images, captions = encode_split(encoders, variables, data, config=config, mesh=mesh)
        encoded = time.perf_counter()
        score = Partial(encoders[2], variables)
        ranks = streamed(score, images, captions, split.caption_image_index, config, mesh)
        return ranks, {}, {"encode": encoded - began, "score": time.perf_counter() - encoded, "rank": 0.0}
    scores, seconds = score_split(encoders, variables, data, config, mesh)
    began = time.perf_counter()
    ranks = protocol_ranks(scores, split.caption_image_index)
    seconds |= {"rank": time.perf_counter() - began}
    return ranks, look(scores) if look else {}, seconds


def streamed(score: Partial, images: Any, captions, owner: np.ndarray, config, mesh) -> dict[str, Ranks]:
    """`metrics.retrieval.protocol_ranks` without the matrix of all scores."""

    def ranks(images, captions, owner):
        found = retrieve(score, images, captions, owner, tile=config.eval.tile, mesh=mesh)
        return Ranks(found.image_ranks, found.caption_ranks)

    of_folds, count = [], int(owner.max()) + 1
    for rows, columns in folds(owner, count):
        groups = []
        for index, encoded in captions:
            here = np.isin(index, columns)
            if here.any():
                part = jax.tree.map(lambda x, here=here: x[here], encoded)
                groups.append((np.searchsorted(columns, index[here]), part))
        of_fold = jax.tree.map(lambda x, rows=rows: x[rows], images)
        of_folds.append((rows, columns, ranks(of_fold, groups, owner[columns] - rows.start)))
    return {"full": ranks(images, captions, owner)} | fold_ranks(of_folds, count, len(owner))
