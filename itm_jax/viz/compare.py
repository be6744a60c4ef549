"""Compares two runs on one split: their results, and queries for which only one of them puts a right answer first."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from itm_jax.config.fields import read_json
from itm_jax.errors import InputError
from itm_jax.evaluation.ensemble import member_config
from itm_jax.evaluation.evaluate import results_of
from itm_jax.evaluation.open_run import open_run
from itm_jax.evaluation.rank import Ranked
from itm_jax.files import write_whole
from itm_jax.metrics.retrieval import RECALL_KEYS, Ranks
from itm_jax.structs import Split
from itm_jax.tables.collect import hits, resampled
from itm_jax.viz import answers, page
from itm_jax.viz.images import Pictures, pictures_of
from itm_jax.viz.make_report import also_true
from itm_jax.viz.retrieval import answer


def write_comparison(
    config, runs: Sequence[pathlib.Path], out: pathlib.Path, *, queries: int, **naming
) -> pathlib.Path:
    """Writes `comparison.html`, and returns it.

    Args:
        config: of the first run; its data fields may differ, and both runs are evaluated on these data.
        runs: two workdirs.
        out: the directory of the page.
        queries: the number of queries of each kind and direction.
        naming: arguments of `images.pictures_of`.

    Raises:
        InputError: a run cannot be opened, or the directory cannot be written.
    """
    first = read_json(runs[0] / "config.json")
    configs = [config, member_config(config, runs[1], first)]
    contents: list[dict[str, Any]] = []
    ranked: list[Ranked] = []
    for c, run in zip(configs, runs, strict=True):
        opened = open_run(c, run)
        if not contents:
            pictures_of(config, opened.data.split, **naming).check_some()
        if not opened.can_hold_scores:
            raise InputError(f"config.eval.matrix_gb: a page needs all scores; set it above {opened.gigabytes:.2g}")
        each, content = results_of(opened)
        ranked.append(each)
        contents.append(content)
    split = opened.data.split
    images = pictures_of(config, split, **naming)
    names = [run.resolve().name for run in runs]
    if names[0] == names[1]:
        names = [str(run) for run in runs]
    sections = [("Results", _results(names, contents, ranked, split))]
    for winner in (0, 1):
        title = f"Only {names[winner]} puts a right answer first"
        sections.append((title, _queries(names, ranked, winner, split, images, also_true(config, split), queries)))
    notes = [images.note()] if images.available else ["Images are named, not shown: --images is not set."]
    head = [page.note(line) for line in notes if line]
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / "comparison.html", page.whole_page(" and ".join(names), head, sections))
    except OSError as e:
        raise InputError(f"{e.filename or out}: cannot be written ({e.strerror})") from None
    return out / "comparison.html"


def _results(
    names: Sequence[str], contents: Sequence[dict[str, Any]], ranked: Sequence[Ranked], split: Split
) -> list[str]:
    """Returns the recalls of both runs, and the difference of rSum with its 95% interval over queries."""
    full = [content["protocols"]["full"] for content in contents]
    keys = (*RECALL_KEYS, "rsum")
    rows = [[name, *(f"{m[key]:.1f}" for key in keys)] for name, m in zip(names, full, strict=True)]
    rows.append(["second minus first", *(f"{full[1][key] - full[0][key]:+.1f}" for key in keys)])
    of_images = [hits(_arrays(r.ranks["full"], split), "full").sum(axis=1) for r in ranked]
    low, high = np.percentile(resampled(of_images[1] - of_images[0]), [2.5, 97.5])
    inside = " It includes 0: these queries do not show which run is better." if low <= 0 <= high else ""
    said = (
        f"Second minus first: the 95% interval of the difference of rSum is {low:+.1f} to {high:+.1f} "
        f"(paired bootstrap over images).{inside}"
    )
    return [page.table(["", *(key.replace("_r", " R@") for key in RECALL_KEYS), "rSum"], rows), page.note(said)]


def _arrays(ranks: Ranks, split: Split) -> dict[str, np.ndarray]:
    out = {f"full_{side}": getattr(ranks, side) for side in Ranks._fields}
    return out | {"captions_per_image": np.array(split.captions_per_image)}


def _queries(
    names: Sequence[str],
    ranked: Sequence[Ranked],
    winner: int,
    split: Split,
    images: Pictures,
    true_too: answers.AlsoTrue | None,
    count: int,
) -> list[str]:
    """Returns queries that the winner answers at rank 1 and the other run ranks lowest, with the answers of both."""
    out = []
    for direction, heading in answers.DIRECTIONS.items():
        of_image = direction == "i2t"
        side = "images" if of_image else "captions"
        won, lost = (getattr(ranked[k].ranks["full"], side) for k in (winner, 1 - winner))
        order = np.argsort(np.where(won == 0, -lost, 1), kind="stable")[:count]
        chosen = [int(query) for query in order if won[query] == 0 and lost[query] > 0]
        total = int(((won == 0) & (lost > 0)).sum())
        out.append(f"<h3>{heading}: {total} of {len(won)} queries</h3>")
        show = answers.image_query if of_image else answers.caption_query
        for query in chosen:
            for k in (winner, 1 - winner):
                rank = int(getattr(ranked[k].ranks["full"], side)[query])
                scores = ranked[k].scores
                assert scores is not None  # they can be held
                found = answer(scores, split.caption_image_index, query, rank, of_image=of_image)
                out += [f"<p>{page.text(names[k])}</p>", show(found, split, images, true_too)]
    return out
