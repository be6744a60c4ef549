"""Recall@K, median and mean rank in both directions. The device counts ranks; the host never sorts scores."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from itm_jax.errors import InputError, NonFiniteScoresError

CHUNK_BYTES = 16 << 20  # bytes of scores sent to the device at a time
SCAN_ROWS = 16
RECALLS = (1, 5, 10)
FOLD = 1000  # images of a fold of COCO's 5-fold 1K protocol
MAX_CAPTIONS = 1 << 24  # counts are summed in float32, exact below this


@jax.jit
def _count_chunk(
    scores: Float[Array, "c t"], matching: Float[Array, " t"], best: Float[Array, " c"], live: Bool[Array, " c"]
) -> tuple[Int[Array, " c"], Int[Array, " t"], Bool[Array, ""]]:
    """Counts the scores of each row that reach its `best`, and those of each column that reach its `matching` score.

    The third result says whether all scores are finite. A scan takes a few rows at a time, so that on a CPU both
    comparisons read a row from the cache.
    """

    def count(columns, part):
        rows, best, live = part
        reached = jnp.sum((rows >= matching[None, :]) & live[:, None], axis=0, dtype=jnp.int32)
        # float32 sums of ones are exact below 2**24, and on a CPU several times faster than integer ones
        return columns + reached, (
            jnp.sum((rows >= best[:, None]).astype(jnp.float32), axis=1).astype(jnp.int32),
            jnp.isfinite(jnp.max(jnp.abs(rows))),
        )

    parts = jax.tree.map(lambda x: x.reshape(-1, SCAN_ROWS, *x.shape[1:]), (scores, best, live))
    columns, (rows, finite) = jax.lax.scan(count, jnp.zeros(scores.shape[1], jnp.int32), parts)
    return rows.reshape(-1), columns, jnp.all(finite)


def check_owner(owner: Int[np.ndarray, " t"], images: int) -> None:
    """Raises InputError unless each image owns at least one caption."""
    if not np.array_equal(np.unique(owner), np.arange(images)) or images == 0:
        raise InputError(f"caption_image_index: must name each of the {images} images at least once, and nothing else")


def check_scores(finite: bool) -> None:
    """Raises NonFiniteScoresError unless all scores are finite."""
    if not finite:
        raise NonFiniteScoresError("scores: NaN or Inf among them; ranks would mean nothing")


def best_right(
    right: Float[np.ndarray, " t"], owner: Int[np.ndarray, " t"], images: int
) -> tuple[Float[np.ndarray, " i"], Int[np.ndarray, " i"]]:
    """Returns the score of each image's best right caption, and how many right captions have that score.

    Those captions must not be counted as wrong. `right` is the score of each caption with its image.
    """
    check_scores(bool(np.isfinite(right).all()))
    best = np.full(images, -np.inf, right.dtype)
    np.maximum.at(best, owner, right)
    return best, np.bincount(owner, weights=right >= best[owner], minlength=images).astype(np.int32)


def query_ranks(scores, caption_image_index) -> tuple[Int[np.ndarray, " i"], Int[np.ndarray, " t"]]:
    """Returns the 0-based ranks of all queries.

    A rank is the number of wrong items that score at least as high as the best right one.

    Args:
        scores: [i, t], NumPy or JAX.
        caption_image_index: [t] index of each caption's image; every image must own at least one caption.

    Returns:
        Ranks of the image queries and of the caption queries. A tie counts against the query.

    Raises:
        InputError: scores are not finite, or shapes or indices do not fit.
    """
    owner = np.asarray(caption_image_index)
    if scores.ndim != 2 or owner.shape != (scores.shape[1],):
        raise InputError(f"scores {scores.shape}, caption_image_index {owner.shape}: expected [i, t] and [t]")
    images, captions = scores.shape
    check_owner(owner, images)
    if captions >= MAX_CAPTIONS:
        raise InputError(f"{captions} captions: at most {MAX_CAPTIONS - 1} can be ranked at a time")
    if scores.dtype != np.float32:  # one precision throughout: scores that are equal in float32 are ties
        scores = scores.astype(np.float32)
    matching = np.asarray(scores[owner, np.arange(captions)])
    best, right = best_right(matching, owner, images)

    chunk = SCAN_ROWS * max(1, CHUNK_BYTES // (SCAN_ROWS * captions * matching.dtype.itemsize))
    rows, columns, finite = [], np.zeros(captions, np.int32), True
    for start in range(0, images, chunk):
        index = np.minimum(np.arange(start, start + chunk), images - 1)
        live = np.arange(start, start + chunk) < images
        part = scores[start : start + chunk] if live.all() else scores[index]
        row_counts, column_counts, ok = _count_chunk(part, matching, best[index], live)
        rows.append(np.asarray(row_counts))
        columns += np.asarray(column_counts)
        finite &= bool(ok)
    check_scores(finite)
    return np.concatenate(rows)[:images] - right, columns - 1


def summarize(ranks: Int[np.ndarray, " q"], prefix: str) -> dict[str, float]:
    """Returns recalls in percent, `medr` as in papers (floor(median of 0-based ranks) + 1), and `meanr`, 1-based.

    Examples:
        >>> import numpy as np
        >>> summarize(np.array([0, 0, 3, 20]), "t2i")
        {'t2i_r1': 50.0, 't2i_r5': 75.0, 't2i_r10': 75.0, 't2i_medr': 2.0, 't2i_meanr': 6.75}
    """
    out = {f"{prefix}_r{k}": float(100.0 * np.mean(ranks < k)) for k in RECALLS}
    out[f"{prefix}_medr"] = float(np.floor(np.median(ranks)) + 1)
    out[f"{prefix}_meanr"] = float(np.mean(ranks) + 1)
    return out


def retrieval_metrics(scores, caption_image_index) -> dict[str, float]:
    """Returns Recall@1/5/10, median and mean rank, image to text (`i2t_`) and text to image (`t2i_`), and `rsum`.

    Args:
        scores: [i, t] similarity of every image with every caption, NumPy or JAX.
        caption_image_index: [t] index of each caption's image.

    Returns:
        The metrics of the `full` protocol; recalls in percent, unrounded.

    Raises:
        InputError: scores are not finite, or shapes or indices do not fit.

    Examples:
        Two images with two captions each. Caption 2 belongs to image 1, but fits image 0 better.

        >>> import numpy as np
        >>> scores = np.array([[0.9, 0.8, 0.7, 0.1], [0.2, 0.1, 0.6, 0.5]], np.float32)
        >>> found = retrieval_metrics(scores, np.array([0, 0, 1, 1]))
        >>> found["i2t_r1"], found["t2i_r1"], found["t2i_r5"]
        (100.0, 75.0, 100.0)
    """
    return rank_metrics(*query_ranks(scores, caption_image_index))


def rank_metrics(image_ranks: Int[np.ndarray, " i"], caption_ranks: Int[np.ndarray, " t"]) -> dict[str, float]:
    """Returns the metrics of `retrieval_metrics` from 0-based ranks."""
    out = summarize(image_ranks, "i2t") | summarize(caption_ranks, "t2i")
    return out | {"rsum": float(sum(out[f"{d}_r{k}"] for d in ("i2t", "t2i") for k in RECALLS))}


class Ranks(NamedTuple):
    """0-based ranks of the image queries and of the caption queries, in the order of the split."""

    images: Int[np.ndarray, " i"]
    captions: Int[np.ndarray, " t"]


def protocols(scores, caption_image_index) -> dict[str, dict[str, float]]:
    """Returns the metrics of `full` and, for 5,000 images, of `5fold_1k`.

    Those of `5fold_1k` are means over folds of 1,000 consecutive images.
    """
    return protocol_metrics(protocol_ranks(scores, caption_image_index), caption_image_index)


def protocol_ranks(scores, caption_image_index) -> dict[str, Ranks]:
    """Returns the ranks behind `protocols`. Those of `5fold_1k` are ranks within the fold of each query."""
    owner, ranks_of_folds = np.asarray(caption_image_index), []
    for rows, columns in folds(owner, scores.shape[0]):
        block = np.ascontiguousarray(np.asarray(scores[rows])[:, columns])
        ranks_of_folds.append((rows, columns, query_ranks(block, owner[columns] - rows.start)))
    return {"full": Ranks(*query_ranks(scores, owner))} | fold_ranks(ranks_of_folds, *scores.shape)


def protocol_metrics(ranks: Mapping[str, Ranks], caption_image_index) -> dict[str, dict[str, float]]:
    """Returns the metrics of each protocol from its ranks. Those of `5fold_1k` are means over the folds."""
    out = {}
    for name, (images, captions) in ranks.items():
        parts: Sequence[tuple[slice, slice | np.ndarray]] = [(slice(None), slice(None))]
        if name == "5fold_1k":
            parts = folds(np.asarray(caption_image_index), len(images))
        metrics = [rank_metrics(images[rows], captions[columns]) for rows, columns in parts]
        out[name] = {key: float(np.mean([part[key] for part in metrics])) for key in metrics[0]}
    return out


def folds(owner: Int[np.ndarray, " t"], images: int) -> list[tuple[slice, Int[np.ndarray, " c"]]]:
    """Returns images and captions of each fold of COCO's 5-fold 1K protocol, none unless there are 5,000 images."""
    if images != 5 * FOLD:
        return []
    starts = range(0, images, FOLD)
    return [(slice(f, f + FOLD), np.flatnonzero((owner >= f) & (owner < f + FOLD))) for f in starts]


def fold_ranks(folds: Sequence[tuple[slice, np.ndarray, tuple]], images: int, captions: int) -> dict[str, Ranks]:
    """Returns `5fold_1k`: the ranks of all folds in the order of the split; nothing where there are no folds.

    `folds` has (rows, columns, ranks of images and of captions) for each fold.
    """
    if not folds:
        return {}
    out = Ranks(np.zeros(images, np.int32), np.zeros(captions, np.int32))
    for rows, columns, (image_ranks, caption_ranks) in folds:
        out.images[rows], out.captions[columns] = image_ranks, caption_ranks
    return {"5fold_1k": out}


def chance_rsum(images: int, captions_per_image: int) -> float:
    """Returns the expected rSum of a random ranking: i2t R@K is 1 - C(t-c, K)/C(t, K), t2i R@K is K/i."""
    captions, total = images * captions_per_image, 0.0
    for k in RECALLS:
        missed = 1.0
        for j in range(k):
            missed *= max(0.0, (captions - captions_per_image - j) / max(1, captions - j))
        total += 100 * (1 - missed) + 100 * min(1.0, k / images)
    return total


RECALL_KEYS = tuple(f"{d}_r{k}" for d in ("i2t", "t2i") for k in RECALLS)
