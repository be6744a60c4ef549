"""Shows a run as one HTML page without other files: results, curves, queries, alignments, config and provenance."""

import base64
import html
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from itm_jax.metrics.retrieval import RECALL_KEYS, RECALLS
from itm_jax.tables.published import place_of, published

TYPES = {".png": "image/png", ".svg": "image/svg+xml"}
METHODS = ("VSE++ (re-impl. by VSE_infty)", "VSE_infty (GPO)", "SCAN (T2I_AVE)", "SCAN (I2T_AVE)", "AFA", "CPFEAN")
KINDS = {"best": "Best queries", "worst": "Worst queries", "spread": "Queries spread over the split"}
DIRECTIONS = {"i2t": "image to text", "t2i": "text to image"}
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1d2733;max-width:1080px;margin:2em auto;padding:0 1.2em}
h1{font-size:1.7em;margin:0 0 .2em}h2{font-size:1.25em;margin:2em 0 .5em;border-bottom:1px solid #d5dbe2}
h3{font-size:1em;margin:1.4em 0 .4em}p{margin:.4em 0}.note{color:#5c6b7a;font-size:.9em}
table{border-collapse:collapse;margin:.6em 0;font-variant-numeric:tabular-nums}
td,th{padding:.25em .7em;text-align:right;border-bottom:1px solid #e3e7ec}td:first-child,th:first-child{text-align:left}
th{background:#f3f5f8;font-weight:600}tr.published td{color:#5c6b7a}
img{max-width:100%;height:auto;display:block;margin:.5em 0;border:1px solid #e3e7ec}
details{margin:.6em 0}summary{cursor:pointer;font-weight:600}code{font-size:.88em}
"""


def embedded(path: pathlib.Path, alternative: str) -> str:
    """Returns an <img> that contains the picture itself."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{html.escape(alternative, quote=True)}" src="data:{TYPES[path.suffix]};base64,{data}">'


def to_html(
    name: str,
    content: Mapping[str, Any],
    config: Mapping[str, Any],
    curves: Sequence[pathlib.Path],
    queries: Mapping[tuple[str, str], Sequence[pathlib.Path]],
    alignments: Sequence[tuple[str, pathlib.Path]],
    notes: Sequence[str],
) -> str:
    """Returns the page.

    Args:
        name: the name of the run.
        content: the content of results.json.
        config: the config fields by their dotted names.
        curves: pictures of training and recall.
        queries: pictures by (direction, kind).
        alignments: (caption, picture).
        notes: what could not be shown, and why.
    """
    full = content["protocols"]["full"]
    parts = [
        f"<h1>{html.escape(name)}</h1>",
        f"<p>{html.escape(content['model'])} on {html.escape(content['dataset'])}, "
        f"split {html.escape(content['split'])}: rSum <b>{full['rsum']:.1f}</b>; "
        f"step {content['step']}, selected on {html.escape(content['selected_on'])} "
        f"(rSum {content['selection']['rsum']:.1f}), seed {content['seed']}; "
        f"{content['counts']['params']:,} parameters.</p>",
        *(f'<p class="note">{html.escape(note)}</p>' for note in notes),
        "<h2>Results</h2>",
        _results(content),
        "<h2>Curves</h2>",
        *(embedded(path, path.stem) for path in curves),
    ]
    for kind, title in KINDS.items():
        shown = [(d, path) for d in DIRECTIONS for path in queries.get((d, kind), ())]
        if shown:
            parts.append(f"<h2>{title}</h2>")
        for direction in DIRECTIONS:
            paths = [path for d, path in shown if d == direction]
            parts += [f"<h3>{DIRECTIONS[direction]}</h3>"] * bool(paths) + [embedded(path, path.stem) for path in paths]
    if alignments:
        parts.append("<h2>What the model sees in pairs</h2>")
        parts += [f"<h3>{html.escape(caption)}</h3>\n{embedded(path, caption)}" for caption, path in alignments]
    parts += ["<h2>Where the results come from</h2>", _provenance(content), _fields(config)]
    head = (
        f"<meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>{html.escape(name)}</title>"
    )
    return (
        f"<!doctype html><html lang='en'><head>{head}<style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _row(cells: Sequence[str], tag: str = "td", kind: str = "") -> str:
    return (
        f"<tr{f' class={kind}' if kind else ''}>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"
    )


def _results(content: Mapping[str, Any]) -> str:
    headings = ["", *(f"{DIRECTIONS[d]} R@{k}" for d in DIRECTIONS for k in RECALLS), "rSum"]
    rows, sources = [], []
    for protocol, m in content["protocols"].items():
        if "rsum" not in m:
            continue
        rows.append(_row([f"this run, {protocol}", *(f"{m[key]:.1f}" for key in (*RECALL_KEYS, "rsum"))]))
        for p in published(place_of(content), protocol, METHODS):
            numbers = ["" if x is None else f"{x:.1f}" for x in (*p.recalls, p.rsum)]
            rows.append(_row([f"published: {p.name}", *numbers], kind="published"))
            sources.append(f'<p class="note">{html.escape(f"Published, {p.name}: {p.source}")}</p>')
    beyond = [
        f"<p>{protocol}: " + ", ".join(f"{html.escape(k)} {v:.1f}" for k, v in m.items()) + "</p>"
        for protocol, m in content["protocols"].items()
        if "rsum" not in m
    ]
    return "\n".join([f"<table>{_row(headings, 'th')}{''.join(rows)}</table>", *beyond, *sources])


def _provenance(content: Mapping[str, Any]) -> str:
    seconds = ", ".join(f"{k} {v:.1f} s" for k, v in content["seconds"].items())
    lines = [("seconds", seconds), ("devices", content["devices"]), ("config hash", content["config_hash"])]
    lines += [("code", json.dumps(content["code"])), ("versions", json.dumps(content["versions"]))]
    lines += [(f"data, {name}", split["id"]) for name, split in content["data"].items()]
    return "<table>" + "".join(_row(line) for line in lines) + "</table>"


def _fields(config: Mapping[str, Any]) -> str:
    rows = "".join(_row((name, json.dumps(value))) for name, value in sorted(config.items()))
    return f"<details><summary>All fields of the config</summary><table>{rows}</table></details>"
