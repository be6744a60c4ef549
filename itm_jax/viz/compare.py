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
from itm_jax.metrics.bootstrap import hits, interval
from itm_jax.metrics.retrieval import RECALL_KEYS
from itm_jax.runs.results import ranks_as_arrays
from itm_jax.structs import Split
from itm_jax.viz import answers, page
from itm_jax.viz.images import Pictures, pictures_of
from itm_jax.viz.report import check_scores
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
    if runs[0].resolve() == runs[1].resolve():
        raise InputError(f"--compare: {runs[0]} is named twice; name two runs")
    first = read_json(runs[0] / "config.json")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise InputError(f"{out}: cannot be created ({e.strerror})") from None
    configs = [config, member_config(config, runs[1], first)]
    contents: list[dict[str, Any]] = []
    ranked: list[Ranked] = []
    for c, run in zip(configs, runs, strict=True):
        opened = open_run(c, run)
        if not contents:
            pictures_of(config, opened.data.split, **naming).check_some()
        check_scores(opened)
        each, content = results_of(opened)
        ranked.append(each)
        contents.append(content)
    split = opened.data.split
    images = pictures_of(config, split, **naming)
    names = [run.resolve().name for run in runs]
    if names[0] == names[1]:
        names = [str(run) for run in runs]
    sections = [("Results", _results(names, contents, ranked, split))]
    also_true = answers.also_true_of(config, split)
    for winner in (0, 1):
        title = f"Only {names[winner]} puts a right answer first"
        sections.append((title, _queries(names, ranked, winner, split, images, also_true, queries)))
    head = [page.note(images.note())] if images.note() else []
    write_whole(out / "comparison.html", page.whole_page(" and ".join(names), head, sections))
    return out / "comparison.html"


def _results(
    names: Sequence[str], contents: Sequence[dict[str, Any]], ranked: Sequence[Ranked], split: Split
) -> list[str]:
    """Returns the recalls of both runs, and the difference of rSum with its 95% interval over queries."""
    full = [content["protocols"]["full"] for content in contents]
    keys = (*RECALL_KEYS, "rsum")
    rows = [[name, *(f"{m[key]:.1f}" for key in keys)] for name, m in zip(names, full, strict=True)]
    rows.append(["second minus first", *(f"{full[1][key] - full[0][key]:+.1f}" for key in keys)])
    first, second = (hits(ranks_as_arrays(r.ranks, split.captions_per_image), "full") for r in ranked)
    low, high = interval((second - first)[None])
    inside = " It includes 0: these queries do not show which run is better." if low <= 0 <= high else ""
    said = (
        f"Second minus first: the 95% interval of the difference of rSum is {low:+.1f} to {high:+.1f} "
        f"(paired bootstrap over images).{inside}"
    )
    return [page.table(["", *(key.replace("_r", " R@") for key in RECALL_KEYS), "rSum"], rows), page.note(said)]


def _queries(
    names: Sequence[str],
    ranked: Sequence[Ranked],
    winner: int,
    split: Split,
    images: Pictures,
    also_true: answers.AlsoTrue | None,
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
                first_answers = answer(scores, split.caption_image_index, query, rank, of_image=of_image)
                out += [f"<p>{page.text(names[k])}</p>", show(first_answers, split, images, also_true)]
    return out
