"""The report of a run as one HTML page without other files: results, curves, queries, pairs, config and provenance."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from itm_jax.metrics.bootstrap import hits, interval
from itm_jax.metrics.retrieval import RECALLS, Ranks
from itm_jax.runs.results import ranks_as_arrays
from itm_jax.tables.published import Published, place_of, published
from itm_jax.viz import page
from itm_jax.viz.describe import describe_mechanism, pair_table
from itm_jax.viz.explain import Matching, Shares

METHODS = ("VSE++ (re-impl. by VSE_infty)", "VSE_infty (GPO)", "SCAN (T2I_AVE)", "SCAN (I2T_AVE)", "AFA", "CPFEAN")
Section = tuple[str, Sequence[str]]
Pair = tuple[str, pathlib.Path, Matching | Shares]  # the caption, its picture, and what the model sees


def to_html(
    name: str,
    content: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    intervals: Mapping[str, tuple[float, float]],
    curves: Sequence[tuple[str, pathlib.Path]],
    queries: Sequence[Section],
    pairs: Sequence[Pair],
    labels: Sequence[str],
    command: str,
    notes: Sequence[str],
) -> str:
    """Returns the page.

    Args:
        name: the name of the run.
        content: the content of results.json.
        config: the config fields by their dotted names.
        intervals: the 95% interval of rSum by protocol.
        curves: (what it shows, picture) of training and recall.
        queries: the sections of the queries (`viz.answers`).
        pairs: what the model sees in pairs.
        labels: explanations of the numbers in these pictures.
        command: what makes the run again.
        notes: what could not be shown, and why.
    """
    full = content["protocols"]["full"]
    head = [
        f"<p>{page.text(content['model'])} on {page.text(content['dataset'])}, split {page.text(content['split'])}: "
        f"rSum <b>{full['rsum']:.1f}</b>; step {content['step']}, selected on {page.text(content['selected_on'])} "
        f"(rSum {content['selection']['rsum']:.1f}), seed {content['seed']}; "
        f"{content['counts']['params']:,} parameters.</p>",
        *map(page.note, notes),
    ]
    sections: list[Section] = [
        ("Results", _results(content, intervals)),
        ("Curves", [page.drawing(path, what) for what, path in curves]),
        *queries,
    ]
    if mechanism := content.get("mechanism"):
        rows, asleep = describe_mechanism(mechanism)
        sections.append(("What the parts of the model do", [page.table((), rows), *map(page.note, asleep)]))
    if pairs:
        shown = [part for pair in pairs for part in _pair(*pair)]
        sections.append(("What the model sees in pairs", [*map(page.note, labels), *shown]))
    sections.append(("Where the results come from", _provenance(content, config, command)))
    return page.whole_page(name, head, sections)


def intervals_of(ranks: Mapping[str, Ranks], captions_per_image: int | np.ndarray) -> dict[str, tuple[float, float]]:
    """Returns the 95% interval of rSum by protocol: a bootstrap over images with their captions, as in the tables."""
    arrays = ranks_as_arrays(ranks, captions_per_image)
    return {protocol: interval(hits(arrays, protocol)[None]) for protocol in ranks}


def _pair(caption: str, path: pathlib.Path, seen: Matching | Shares) -> list[str]:
    words = pair_table(seen)
    alternative = f"{caption}: {'; '.join(f'{word} took region {region}' for word, region, *_ in words.rows)}"
    table = page.table(words.headings, words.rows)
    return [
        f"<h3>{page.text(caption)}</h3>",
        page.drawing(path, alternative),
        f"<details><summary>The same in numbers</summary>{table}</details>",
    ]


def _results(content: Mapping[str, Any], intervals: Mapping[str, tuple[float, float]]) -> list[str]:
    directions = (("i2t", "image to text"), ("t2i", "text to image"))
    above = "".join(f'<th colspan="4">{name}</th>' for _, name in directions)
    recalls = [f"R@{k}" for k in RECALLS]
    rows = [f"<tr><th></th>{above}<th></th><th></th></tr>"]
    rows.append(page.row(["", *([*recalls, "medR"] * 2), "rSum", "95%"], "th"))
    sources, beyond = [], []
    for protocol, m in content["protocols"].items():
        if "rsum" not in m:
            beyond.append(f"<p>{page.text(protocol)}: {', '.join(f'{page.text(k)} {v:.1f}' for k, v in m.items())}</p>")
            continue
        numbers = [f"{m[f'{d}_{key}']:.1f}" for d, _ in directions for key in (*(f"r{k}" for k in RECALLS), "medr")]
        low_high = f"{intervals[protocol][0]:.0f} to {intervals[protocol][1]:.0f}" if protocol in intervals else ""
        rows.append(page.row([f"this run, {protocol}", *numbers, f"{m['rsum']:.1f}", low_high]))
        for p in published(place_of(content), protocol, METHODS):
            rows.append(page.row([f"published: {p.name}", *_published(p), ""], kind="published"))
            sources.append(page.note(f"Published, {p.name}: {p.source}"))
    explained = page.note(
        "R@K: percent of the queries whose first K answers hold a right one. medR: the median rank of the first right "
        "answer. rSum: the sum of the six recalls. 95%: the interval of rSum over queries (bootstrap over images with "
        "their captions)."
    )
    return [f"<table>{''.join(rows)}</table>", explained, *beyond, *sources]


def _published(result: Published) -> list[str]:
    numbers = ["" if x is None else f"{x:.1f}" for x in result.recalls]
    return [*numbers[:3], "", *numbers[3:], "", "" if result.rsum is None else f"{result.rsum:.1f}"]


def _provenance(content: Mapping[str, Any], config: Mapping[str, Any], command: str) -> list[str]:
    seconds = ", ".join(f"{k} {v:.1f} s" for k, v in content["seconds"].items())
    lines = [("seconds", seconds), ("devices", content["devices"]), ("config hash", content["config_hash"])]
    lines += [("code", json.dumps(content["code"])), ("versions", json.dumps(content["versions"]))]
    lines += [(f"data, {name}", split["id"]) for name, split in content["data"].items()]
    fields = page.table((), [(name, json.dumps(value)) for name, value in sorted(config.items())])
    return [
        f"<p>This command makes the run again:</p><pre>{page.text(command)}</pre>",
        page.table((), lines),
        f"<details><summary>All fields of the config</summary>{fields}</details>",
    ]
