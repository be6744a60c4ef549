"""What a search loses: the shortlist and the approximate index against the exact scores of all images."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from itm_jax.errors import InputError
from itm_jax.hub.encodings import Encodings
from itm_jax.hub.matcher import Matcher
from itm_jax.metrics.retrieval import summarize
from itm_jax.search import stored
from itm_jax.search.approximate import build_approximate, has_approximate
from itm_jax.search.hits import Search
from itm_jax.search.index import Index, open_index
from itm_jax.structs import Split
from itm_jax.terminal import Bar, say

PART = 512  # images that are scored at a time
SAMPLE = 100  # images that ask the approximate index
NEAREST = 10
NOT_FOUND = 1_000_000  # the place of an image that is not among those that were found
TIMED = 20  # questions that are timed
LENGTHS = (10, 20, 50, 100, 200, 500)  # of the shortlist


class ListRecall(NamedTuple):
    """What a shortlist has of the best images, over some questions.

    Attributes:
        way: `exact`, or `approximate` where the list came from the approximate index.
        length: of the list.
        best: share of the questions whose best image is on it.
        top: mean share of the `among` best images that are on it.
        among: how many of the best images count for `top`.
        seconds: median of a question, without the encoding of its text.
    """

    way: str
    length: int
    best: float
    top: float
    among: int
    seconds: float


def best_images(index: Index, captions: Encodings, count: int) -> list[list[str]]:
    """Scores all images of an index, part by part; returns for each caption the ids of the best, in order."""
    kept = np.full((0, len(captions)), -np.inf, np.float32)
    names = np.zeros((0, len(captions)), object)
    done = 0
    with Bar("images scored", len(index), short=True) as bar:
        for ids, images in stored.parts(index.table, index.record, index.model, index.place, PART):
            scores = np.concatenate([kept, index.model.score(images, captions)])
            names = np.concatenate([names, np.repeat(np.array(ids, object)[:, None], len(captions), axis=1)])
            best = np.argsort(-scores, axis=0, kind="stable")[:count]
            kept, names = np.take_along_axis(scores, best, 0), np.take_along_axis(names, best, 0)
            done += len(ids)
            bar.update(min(done, len(index)))
    return names.T.tolist()


def list_recalls(
    index: Index, captions: Encodings, lengths: Sequence[int] = LENGTHS, among: int = NEAREST
) -> list[ListRecall]:
    """Returns what lists of several lengths have of the images that the model itself scores best.

    A model of one vector needs no list; then the lists are those of the approximate index, where there is one.

    Args:
        index: an open index.
        captions: the questions.
        lengths: of the lists.
        among: how many of the best images count.
    """
    ways = [Search()] if index.record.fragments else []
    ways += [Search(approximate=True)] if has_approximate(index.table, index.record) else []
    if not ways:
        return []
    best, out = best_images(index, captions, among), []
    for how in ways:
        lists: dict[int, list[list[str]]] = {}
        for length in sorted(set(lengths), reverse=True):
            if lists and not how.approximate:  # an exact list is the beginning of a longer one
                lists[length] = [each[:length] for each in lists[max(lists)]]
            else:
                rows = [index.nearest(captions.item(k), length, how, ["id"]) for k in range(len(best))]
                lists[length] = [row["id"].to_pylist() for row in rows]
        for length in sorted(lists):
            on_list = [np.isin(names, listed) for names, listed in zip(best, lists[length], strict=True)]
            shares = float(np.mean([x[0] for x in on_list])), float(np.mean(on_list))
            way = "approximate" if how.approximate else "exact"
            out.append(ListRecall(way, length, *shares, len(best[0]), _seconds(index, captions, length, how)))
    return out


def build_measured(place: str, model: Matcher) -> float:
    """Builds the approximate index, measures it on a sample of the gallery, and prints what it finds.

    Raises:
        InputError: the index has too few vectors.
    """
    index = open_index(place, model)
    seconds = build_approximate(index.table, index.record, place)
    names = sorted(index.ids())
    names = [names[k] for k in sample(SAMPLE, len(names))]
    recall = approximate_recall(index, names)
    say(
        f"approximate index built in {seconds:.1f} s: for {len(names):,} images of the gallery as questions it finds "
        f"{recall:.1%} of the {NEAREST} nearest images"
    )
    return recall


def approximate_recall(index: Index, names: Sequence[str], top: int = NEAREST) -> float:
    """Returns the mean share of the nearest images that the approximate index finds.

    Args:
        index: an open index with an approximate one.
        names: images of the gallery, which are the questions; an image is not counted as near to itself.
        top: how many of the nearest images count.
    """
    shares = []
    for name in names:
        question = index.encodings_of(name)
        exact, found = (
            [
                x
                for x in index.nearest(question, top + 1, Search(approximate=way), ["id"])["id"].to_pylist()
                if x != name
            ]
            for way in (False, True)
        )
        shares.append(len(set(exact[:top]) & set(found[:top])) / max(1, len(exact[:top])))
    return float(np.mean(shares))


def recalls(index: Index, split: Split, captions: Encodings, **how: Any) -> dict[str, float]:
    """Returns R@1, R@5 and R@10 of the captions of a split, in percent, as the search answers them.

    Args:
        index: an open index with the images of the split, and maybe others.
        split: says which image a caption is of.
        captions: of the split, encoded.
        **how: as for `Index.query`.

    Raises:
        InputError: an image of the split is not in the index.
    """
    known = index.ids()
    if missing := [name for name in split.ids if name not in known]:
        raise InputError(
            f"{split.source}: {len(missing):,} of its {len(split.ids):,} images are not in the index, such as "
            f"{missing[0]}"
        )
    places = []
    with Bar("captions asked", len(captions), short=True) as bar:
        for k in range(len(captions)):
            names = [hit.id for hit in index.answer(captions.item(k), top=10, **how)]
            right = split.ids[int(split.caption_image_index[k])]
            places.append(names.index(right) if right in names else NOT_FOUND)
            bar.update(k + 1)
    return {name: value for name, value in summarize(np.array(places), "t2i").items() if "_r" in name}


def _seconds(index: Index, captions: Encodings, length: int, how: Search) -> float:
    """The median seconds of a question."""
    laps = []
    for k in range(min(TIMED, len(captions))):
        query = captions.item(k)
        began = time.perf_counter()
        top = min(10, length) if index.record.fragments else length
        index.answer(query, top=top, shortlist=length, approximate=how.approximate)
        laps.append(time.perf_counter() - began)
    return float(np.median(laps))


def sample(count: int, total: int, seed: int = 0) -> np.ndarray:
    """Returns `count` different numbers below `total`, or all of them."""
    return np.sort(np.random.default_rng(seed).permutation(total)[:count])
