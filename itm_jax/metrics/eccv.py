"""Metrics for COCO's 5,000 test images beyond one right image per caption: ECCV Caption and CxC.

ECCV Caption (Chun et al., ECCV 2022, arXiv 2204.03359): mAP@R, R-Precision and R@1, R being the number of right items of a
query. CxC (Parekh et al., EACL 2021, arXiv 2004.15020): R@1/5/10, right being what people found similar enough.
Scores are in the order of SCAN's `testall`. A tie counts against the query, as everywhere here.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from itm_jax.errors import InputError
from itm_jax.files import read_json
from itm_jax.metrics.retrieval import RECALLS, check_scores
from itm_jax.structs import Split

CHUNK = 512  # queries at a time
SIDES = {"i2t": "image_to_caption", "t2i": "caption_to_image"}


@dataclasses.dataclass(frozen=True)
class Truth:
    """Right items of the queries that have any, by `eccv` or `cxc` and by direction: indices of queries and of items.

    `size` counts what the annotators called right, also where it is no item of the gallery: five captions of an image are in
    it, and a few images have a sixth.
    """

    queries: Int[np.ndarray, " q"]
    right: Int[np.ndarray, "q m"]  # -1 where a query has fewer
    size: Int[np.ndarray, " q"]


def right_ranks(scores: Float[np.ndarray, "q n"], right: Int[np.ndarray, "q m"]) -> Int[np.ndarray, "q m"]:
    """1-based ranks of the right items of each query, best first; n + m where a query has fewer.

    The j-th best right item stands behind j - 1 right ones and behind every wrong one that scores at least as high.
    """
    n = scores.shape[1]
    there = right >= 0
    own = np.where(there, np.take_along_axis(scores, np.maximum(right, 0), axis=1), -np.inf)
    own = -np.sort(-own, axis=1)
    place = np.arange(1, right.shape[1] + 1)
    out = np.full(right.shape, n + right.shape[1], np.int64)
    for j in range(right.shape[1]):
        reached = np.sum(scores >= own[:, j, None], axis=1)
        out[:, j] = place[j] + reached - np.sum(own >= own[:, j, None], axis=1)
    return np.where(np.isfinite(own), out, n + right.shape[1])


def map_at_r(ranks: Int[np.ndarray, "q m"], size: Int[np.ndarray, " q"]) -> float:
    """Mean over queries of Σ_j [rank_j ≤ R] j / rank_j, over R, in percent."""
    precision = np.arange(1, ranks.shape[1] + 1) / ranks
    return float(100 * np.mean(np.sum(np.where(ranks <= size[:, None], precision, 0.0), axis=1) / size))


def r_precision(ranks: Int[np.ndarray, "q m"], size: Int[np.ndarray, " q"]) -> float:
    """Mean over queries of the share of right items among the first R, in percent."""
    return float(100 * np.mean(np.sum(ranks <= size[:, None], axis=1) / size))


GroundTruth = dict[str, dict[str, Truth]]  # by protocol and direction


def truth_metrics(scores: Float[np.ndarray, "i t"], truth: GroundTruth) -> dict[str, dict[str, float]]:
    """`eccv` and `cxc`, as protocols of results.json.

    Args:
        scores: of all pairs.
        truth: of `read_truth`.

    Returns:
        eccv: {i2t,t2i}_{map_r,r_precision,r1}; cxc: {i2t,t2i}_r{1,5,10}; all in percent.

    Raises:
        NonFiniteScoresError: NaN or Inf among the scores.
    """
    check_scores(bool(np.isfinite(np.max(np.abs(scores)))))
    out: dict[str, dict[str, float]] = {"eccv": {}, "cxc": {}}
    for side in SIDES:
        for name, found in truth.items():
            of = found[side]
            ranks = np.concatenate(
                [
                    right_ranks(_rows(scores, of.queries[k : k + CHUNK], side), of.right[k : k + CHUNK])
                    for k in range(0, len(of.queries), CHUNK)
                ]
            )
            if name == "eccv":
                out[name][f"{side}_map_r"] = map_at_r(ranks, of.size)
                out[name][f"{side}_r_precision"] = r_precision(ranks, of.size)
                out[name][f"{side}_r1"] = float(100 * np.mean(ranks[:, 0] == 1))
            else:
                out[name] |= {f"{side}_r{k}": float(100 * np.mean(ranks[:, 0] <= k)) for k in RECALLS}
    return out


def _rows(scores: np.ndarray, queries: np.ndarray, side: str) -> np.ndarray:
    return scores[queries] if side == "i2t" else np.ascontiguousarray(scores[:, queries].T)


def read_truth(directory: pathlib.Path, split: Split) -> GroundTruth:
    """Ground truth for a split that is COCO's 5,000 test images in SCAN's order.

    Args:
        directory: with {eccv,cxc}_{image_to_caption,caption_to_image}.json, coco_test_ids.npy (annotation ids of the 25,000
            captions) and coco_testall_ids.txt (their images' ids).
        split: to be scored.

    Raises:
        InputError: a file is missing or is not what it should be, or the split is not those images in that order.
    """
    captions = _load(directory / "coco_test_ids.npy", lambda p: np.load(p, allow_pickle=False))
    images = _load(
        directory / "coco_testall_ids.txt", lambda p: np.array(p.read_text(encoding="utf-8").split(), np.int64)
    )
    if len(captions) != len(images) or len(captions) % 5:
        raise InputError(f"{directory}: {len(captions)} caption ids and {len(images)} image ids; they must be as many")
    if (split.num_images, len(split.captions)) != (len(captions) // 5, len(captions)):
        raise InputError(
            f"{split.source}: {split.num_images} images and {len(split.captions)} captions; the ground truth of {directory} is "
            f"for {len(captions) // 5} and {len(captions)}; pass --config.data.test_split=testall"
        )
    own = [int(x) for x in split.ids if str(x).isdecimal()]
    if len(own) == split.num_images and own != images[::5].tolist() and own != list(range(split.num_images)):
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
        found = [
            (queries[int(key)], [items[int(x)] for x in right if int(x) in items], len(right))
            for key, right in pairs.items()
        ]
    except KeyError as e:
        raise InputError(f"{path}: {e.args[0]} is no id of the split") from None
    except (ValueError, TypeError, AttributeError):
        raise InputError(f"{path}: must be an object of lists of ids") from None
    if not found or not all(right for _, right, _ in found):
        raise InputError(f"{path}: no ids, or a query without right items in the gallery")
    table = np.full((len(found), max(len(right) for _, right, _ in found)), -1)
    for row, (_, right, _) in zip(table, found, strict=True):
        row[: len(right)] = right
    return Truth(np.array([q for q, _, _ in found]), table, np.array([n for _, _, n in found]))


def _load(path: pathlib.Path, read):
    try:
        return read(path)
    except (OSError, ValueError) as e:
        raise InputError(f"{path}: cannot be read ({e})") from None
