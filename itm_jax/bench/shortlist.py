"""Measures two-stage search on real data: what a shortlist by one run loses of the exact search by another run."""

import pathlib
from typing import Any

import jax
import numpy as np

from itm_jax.config.fields import read_json
from itm_jax.errors import InputError
from itm_jax.evaluation.encode import Encoded
from itm_jax.evaluation.open_run import open_run
from itm_jax.metrics.retrieval import retrieval_metrics
from itm_jax.terminal import say

TOP = 10


def scores_of(workdir: pathlib.Path, splits: list[str]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Returns scores of all images with all captions of the splits, the image index of each caption, image names."""
    images: list[Any] = []
    captions: list[tuple[np.ndarray, Any]] = []
    owner: list[np.ndarray] = []
    names: list[str] = []
    for split in splits:
        config = read_json(workdir / "config.json")
        config.data.test_split = split
        run = open_run(config, workdir)
        encoded = run.encode()
        before = sum(len(x) for x in owner)
        captions += [(index + before, group) for index, group in encoded.captions]
        owner.append(run.data.split.caption_image_index + len(names))
        images.append(encoded.images)
        names += [f"{split} {name}" for name in run.data.split.ids]
    together = jax.tree.map(lambda *x: np.concatenate(x), *images)
    say(f"{workdir}: scoring {len(names)} images with {sum(map(len, owner))} captions")
    return run.scores_of(Encoded(together, captions)), np.concatenate(owner), names


def two_stage(fast: np.ndarray, exact: np.ndarray, owner: np.ndarray, length: int) -> dict[str, float]:
    """Searches images for each caption: `fast` makes a shortlist of `length` images, and `exact` ranks it again.

    Args:
        fast: [i, t] scores that make the shortlist.
        exact: [i, t] scores that rank it.
        owner: [t] the index of each caption's image.
        length: the number of images on the shortlist.

    Returns:
        How often the best image of the exact search is on the shortlist, which share of its ten best is on it, and the
        recalls of both stages together, all in percent.
    """
    columns = np.arange(fast.shape[1])
    place = np.empty(fast.shape, np.int32)
    np.put_along_axis(place, np.argsort(-fast, axis=0, kind="stable"), np.arange(len(fast), dtype=np.int32)[:, None], 0)
    listed = place < length
    best = np.argsort(-exact, axis=0, kind="stable")[:TOP]
    kept = np.take_along_axis(listed, best, axis=0)
    right = exact[owner, columns]
    ahead = (exact >= right[None]) & listed
    ahead[owner, columns] = False
    rank = np.where(listed[owner, columns], ahead.sum(axis=0), np.iinfo(np.int64).max)
    recalls = {f"t2i_r{k}": float(100 * np.mean(rank < k)) for k in (1, 5, 10)}
    shares = {"best_on_the_list": 100.0 * kept[0].mean(), f"best_{TOP}_on_the_list": 100.0 * kept.mean()}
    return {k: float(v) for k, v in shares.items()} | recalls


def bench_shortlist(fast: pathlib.Path, exact: pathlib.Path, *, splits: list[str], lengths: list[int]) -> dict:
    """Returns the figures of `two_stage` for several lengths, beside those of each run alone."""
    (a, owner, names), (b, other, theirs) = (scores_of(workdir, splits) for workdir in (fast, exact))
    if names != theirs or not np.array_equal(owner, other):
        raise InputError(f"--runs: {fast} and {exact} are runs on different data; use two runs on the same data")
    out: dict[str, Any] = {
        "gallery": f"{len(names)} images of {', '.join(splits)}",
        "queries": f"{len(owner)} captions",
    }
    for name, workdir, scores in (("shortlist", fast, a), ("exact", exact, b)):
        metrics = retrieval_metrics(scores, owner)
        out |= {f"{name} alone, {workdir.name}: {k}": metrics[k] for k in ("t2i_r1", "t2i_r5", "t2i_r10")}
    for length in (x for x in lengths if x <= len(names)):
        out |= {f"{length} of {len(names)}: {k}": v for k, v in two_stage(a, b, owner, length).items()}
    return out
