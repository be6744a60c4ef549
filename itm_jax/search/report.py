"""The command `report`: what the shortlist and the approximate index lose, and the recalls of a split's captions."""

import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from itm_jax.data.splits import read_unaltered
from itm_jax.errors import InputError
from itm_jax.hub.gallery import config_for, lines_of
from itm_jax.search.index import MOST as MOST_IMAGES
from itm_jax.search.index import Index
from itm_jax.search.recall import ListRecall, list_recalls, recalls, sample
from itm_jax.terminal import print_table, say

MOST = 200  # questions for the recall of the lists; all captions of a split are asked for its R@K


def report(
    open_index: Callable[[], Index],
    queries: str | None,
    data: str | None,
    split_name: str,
    lengths: Sequence[int],
    shortlist: int,
    *,
    as_json: bool,
) -> None:
    """Prints the report.

    Args:
        open_index: opens the index.
        queries: a file with a caption in each line; or
        data: the directory of a data set, whose captions ask, and whose images are in the index.
        split_name: of the data set.
        lengths: of the shortlist.
        shortlist: its length for R@K.
        as_json: whether one JSON object is printed in place of tables.

    Raises:
        InputError: neither or both of `queries` and `data` are passed, or one of them cannot be used.
    """
    if bool(queries) == bool(data):
        raise InputError("--queries, --data: pass one of them, whose captions ask")
    if max(lengths) > MOST_IMAGES:
        raise InputError(f"--lengths={max(lengths)}: a list has at most {MOST_IMAGES:,} images")
    texts: Sequence[str] = lines_of(pathlib.Path(queries).expanduser()) if queries else []
    index = open_index()
    if not len(index):
        raise InputError(f"{index.place}: has no images; add some first")
    out: dict[str, Any] = {"images": len(index), "model": index.record.model}
    if data:
        split = read_unaltered(config_for(index.model, pathlib.Path(data).expanduser()), split_name)
        texts = split.captions
        captions = index.model.encode_captions(texts)
        out["recalls"] = recalls(index, split, captions, shortlist=shortlist)
        out["results"] = _of_results(index, split_name)
    chosen = [texts[k] for k in sample(MOST, len(texts))]
    rows = list_recalls(index, index.model.encode_captions(chosen), lengths)
    out |= {"questions": len(chosen), "lists": [row._asdict() for row in rows]}
    if as_json:
        print(json.dumps(out), flush=True)
        return
    if data:
        _print_recalls(out["recalls"], out["results"], len(texts), len(index), index)
    _print_lists(rows, len(chosen), len(index))


def _of_results(index: Index, split: str) -> dict[str, float]:
    """R@K of text to image in the results of the model, where they are of a split of this name."""
    results = index.model.results
    full = results.get("protocols", {}).get("full", {}) if results.get("split") == split else {}
    return {name: full[name] for name in ("t2i_r1", "t2i_r5", "t2i_r10") if name in full}


def _print_recalls(found: dict[str, float], results: dict[str, float], asked: int, images: int, index: Index) -> None:
    rows = [("search", *(f"{value:.1f}" for value in found.values()))]
    if results:
        rows.append((f"results.json, {index.model.results['dataset']}", *(f"{v:.1f}" for v in results.values())))
    title = f"{asked:,} captions asked, {images:,} images"
    print_table(title, ("text to image", "R@1", "R@5", "R@10"), rows)


def _print_lists(rows: Sequence[ListRecall], asked: int, images: int) -> None:
    if not rows:
        say("The search compares a question with every image, and there is no approximate index: it loses nothing.")
        return
    lines = [
        (row.way, str(row.length), f"{row.best:.1%}", f"{row.top:.1%}", f"{1000 * row.seconds:.1f}") for row in rows
    ]
    headings = ("list", "length", "best image is on it", f"of the {rows[0].among} best", "ms per question")
    print_table(f"Lists against the scores of all {images:,} images, {asked} captions as questions", headings, lines)
