"""Metrics for COCO's 5,000 test images with more than one right image per caption: ECCV Caption and CxC.

ECCV Caption (Chun et al., ECCV 2022, arXiv 2204.03359) has mAP@R, R-Precision and R@1, where R is the number of right
items of a query. CxC (Parekh et al., EACL 2021, arXiv 2004.15020) has R@1/5/10, where the right items are those that
people found similar enough. Scores are in the order of SCAN's `testall`. A tie counts against the query, as everywhere
in this library.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from itm_jax.errors import InputError
from itm_jax.files import read_json, read_npy
from itm_jax.metrics.retrieval import RECALLS, check_scores
from itm_jax.structs import Split

CHUNK = 512  # queries at a time
SIDES = {"i2t": "image_to_caption", "t2i": "caption_to_image"}


@dataclasses.dataclass(frozen=True)
class Truth:
    """Right items of one protocol (`eccv` or `cxc`) and one direction: indices of queries and of items.

    Queries without right items are left out. `size` counts everything that the annotators called right, also what is
    not in the gallery: the gallery has five captions of an image, and a few images have a sixth.
    """

    queries: Int[np.ndarray, " q"]
    right: Int[np.ndarray, "q m"]  # -1 where a query has fewer
    size: Int[np.ndarray, " q"]


def right_ranks(scores: Float[np.ndarray, "q n"], right: Int[np.ndarray, "q m"]) -> Int[np.ndarray, "q m"]:
    """Returns the 1-based ranks of the right items of each query, best first; n + m where a query has fewer.

    The j-th best right item stands behind j - 1 right ones and behind every wrong one that scores at least as high.
    """
    n = scores.shape[1]
    valid = right >= 0
    right_scores = np.where(valid, np.take_along_axis(scores, np.maximum(right, 0), axis=1), -np.inf)
    right_scores = -np.sort(-right_scores, axis=1)
    place = np.arange(1, right.shape[1] + 1)
    out = np.full(right.shape, n + right.shape[1], np.int64)
    for j in range(right.shape[1]):
        reached = np.sum(scores >= right_scores[:, j, None], axis=1)
        out[:, j] = place[j] + reached - np.sum(right_scores >= right_scores[:, j, None], axis=1)
    return np.where(np.isfinite(right_scores), out, n + right.shape[1])


def map_at_r(ranks: Int[np.ndarray, "q m"], size: Int[np.ndarray, " q"]) -> float:
    """Returns the mean over queries of (1/R) Σ_j [rank_j ≤ R] j / rank_j, in percent."""
    precision = np.arange(1, ranks.shape[1] + 1) / ranks
    return float(100 * np.mean(np.sum(np.where(ranks <= size[:, None], precision, 0.0), axis=1) / size))


def r_precision(ranks: Int[np.ndarray, "q m"], size: Int[np.ndarray, " q"]) -> float:
    """Returns the mean over queries of the share of right items among the first R, in percent."""
    return float(100 * np.mean(np.sum(ranks <= size[:, None], axis=1) / size))


GroundTruth = dict[str, dict[str, Truth]]  # {protocol: {direction: right items}}


def truth_metrics(scores: Float[np.ndarray, "i t"], truth: GroundTruth) -> dict[str, dict[str, float]]:
    """Returns the metrics of `eccv` and `cxc`, as protocols of results.json.

    Args:
        scores: scores of all pairs.
        truth: the right items, from `read_truth`.

    Returns:
        eccv: {i2t,t2i}_{map_r,r_precision,r1}; cxc: {i2t,t2i}_r{1,5,10}; all in percent.

    Raises:
        NonFiniteScoresError: some scores are NaN or Inf.
    """
    check_scores(bool(np.isfinite(np.max(np.abs(scores)))))
    out: dict[str, dict[str, float]] = {"eccv": {}, "cxc": {}}
    for side in SIDES:
        for name, directions in truth.items():
            answers = directions[side]
            ranks = np.concatenate(
                [
                    right_ranks(_rows(scores, answers.queries[k : k + CHUNK], side), answers.right[k : k + CHUNK])
                    for k in range(0, len(answers.queries), CHUNK)
                ]
            )
            if name == "eccv":
                out[name][f"{side}_map_r"] = map_at_r(ranks, answers.size)
                out[name][f"{side}_r_precision"] = r_precision(ranks, answers.size)
                out[name][f"{side}_r1"] = float(100 * np.mean(ranks[:, 0] == 1))
            else:
                out[name] |= {f"{side}_r{k}": float(100 * np.mean(ranks[:, 0] <= k)) for k in RECALLS}
    return out


def _rows(scores: np.ndarray, queries: np.ndarray, side: str) -> np.ndarray:
    return scores[queries] if side == "i2t" else np.ascontiguousarray(scores[:, queries].T)


def read_truth(directory: pathlib.Path, split: Split) -> GroundTruth:
    """Reads the ground truth for a split that is COCO's 5,000 test images in SCAN's order.

    Args:
        directory: has {eccv,cxc}_{image_to_caption,caption_to_image}.json, coco_test_ids.npy (annotation ids of the
            25,000 captions) and coco_testall_ids.txt (their images' ids).
        split: the split to be scored.

    Raises:
        InputError: a file is missing or invalid, or the split is not those images in that order.
    """
    captions = read_npy(directory / "coco_test_ids.npy")
    if captions.ndim != 1 or captions.dtype.kind not in "iu":
        raise InputError(
            f"{directory / 'coco_test_ids.npy'}: {captions.dtype} {captions.shape}; expected a list of ids"
        )
    images = _image_ids(directory / "coco_testall_ids.txt")
    if len(captions) != len(images) or len(captions) % 5:
        raise InputError(
            f"{directory}: {len(captions)} caption ids and {len(images)} image ids; both must be the same multiple of 5"
        )
    if (split.num_images, len(split.captions)) != (len(captions) // 5, len(captions)):
        raise InputError(
            f"{split.source}: {split.num_images} images and {len(split.captions)} captions; the ground truth of "
            f"{directory} is for {len(captions) // 5} and {len(captions)}; pass --config.data.test_split=testall"
        )
    if not isinstance(split.captions_per_image, int) or split.lines is not None:
        raise InputError(
            f"{split.source}: its captions are not 5 for each image in the order of their file; the ground truth of "
            f"{directory} names them by this order"
        )
    numeric_ids = [int(x) for x in split.ids if str(x).isdecimal()]
    expected = (images[::5].tolist(), list(range(split.num_images)))
    if len(numeric_ids) == split.num_images and numeric_ids not in expected:
        raise InputError(
            f"{split.source}: its ids are not those of {directory / 'coco_testall_ids.txt'} in their order"
        )
    places = {
        "image": {int(x): k for k, x in enumerate(images[::5])},
        "caption": {int(x): k for k, x in enumerate(captions)},
    }
    out: GroundTruth = {}
    for name in ("eccv", "cxc"):
        for side, file in SIDES.items():
            path = directory / f"{name}_{file}.json"
            query, item = file.split("_to_")
            pairs = read_json(path)
            out.setdefault(name, {})[side] = _truth(pairs, places[query], places[item], path)
    return out


def _truth(pairs: Any, queries: Mapping, items: Mapping, path: pathlib.Path) -> Truth:
    try:
        answers = [
            (queries[int(key)], [items[int(x)] for x in right if int(x) in items], len(right))
            for key, right in pairs.items()
        ]
    except KeyError as e:
        raise InputError(f"{path}: {e.args[0]} is not an id of the split") from None
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise InputError(f"{path}: must be an object of lists of ids") from None
    if not answers or not all(right for _, right, _ in answers):
        raise InputError(f"{path}: no ids, or a query without right items in the gallery")
    table = np.full((len(answers), max(len(right) for _, right, _ in answers)), -1)
    for row, (_, right, _) in zip(table, answers, strict=True):
        row[: len(right)] = right
    return Truth(np.array([q for q, _, _ in answers]), table, np.array([n for _, _, n in answers]))


def _image_ids(path: pathlib.Path) -> np.ndarray:
    try:
        return np.array(path.read_text(encoding="utf-8").split(), np.int64)
    except (OSError, ValueError, OverflowError) as e:
        raise InputError(f"{path}: cannot be read ({str(e)[:200]})") from None
