"""A rendered table before it has a form: headings and cells of text, with what is bold and where groups begin."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from itm_jax.tables.cell import Cell
from itm_jax.tables.collect import RECALL_KEYS, Line, by_objects
from itm_jax.tables.published import Published, published, published_beside
from itm_jax.tables.table import Table

RECALL_HEADINGS = ("i2t R@1", "R@5", "R@10", "t2i R@1", "R@5", "R@10")
NOISE = "≈"  # behind a difference that is inside the noise


@dataclasses.dataclass(frozen=True)
class Content:
    """Text cells of a table. `groups[k]` is the heading above row k, empty where it goes on; `bold` has (row, column)."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    groups: tuple[str, ...]
    bold: frozenset[tuple[int, int]]
    notes: tuple[str, ...]


def recalls(table: Table, dataset: str, protocol: str, lines: Sequence[Line]) -> Content:
    """Recalls in both directions, rSum with its spread and confidence, differences, and published numbers beside them."""
    compared = any(line.difference is not None for line in lines)
    has_dev = any(line.dev is not None for line in lines)
    known = {line.row.published: published_beside(dataset, protocol, line.row.published) for line in lines}
    beside = any(known.values())
    field = published(dataset, protocol, table.field)
    headings = ["", *RECALL_HEADINGS, "rSum", "95%"]
    headings += ["dev"] * has_dev + ["difference"] * compared + ["published"] * beside + ["seeds"]
    rows, groups = [], []
    for result in field:
        rows.append(_published_row(result, len(headings)))
        groups.append("published" if not groups else "")
    for line in lines:
        groups.append(line.row.group if not groups or line.row.group != _last(groups) else "")
        row = [line.row.name, *(f"{line.mean[key]:.1f}" for key in RECALL_KEYS), rsum(line)]
        row.append(f"{line.ci[0]:.0f} to {line.ci[1]:.0f}")
        row += [f"{line.dev:.1f}" if line.dev is not None else ""] * has_dev
        row += [difference(line)] * compared
        row += [f"{p.rsum:.1f}" if (p := known[line.row.published]) else ""] * beside
        rows.append((*row, str(len(line.seeds))))
    if field and lines and not groups[len(field)]:
        groups[len(field)] = "measured"
    bold = _best(lines, len(field))
    shown = [p for line in lines if (p := known[line.row.published])] + field
    return Content(
        f"{table.title}: {dataset}, {protocol}",
        tuple(headings),
        tuple(rows),
        tuple(groups),
        bold,
        _notes(table, lines, shown),
    )


def _last(groups: Sequence[str]) -> str:
    return next((g for g in reversed(groups) if g), "")


def _published_row(result: Published, columns: int) -> tuple[str, ...]:
    total = "" if result.rsum is None else f"{result.rsum:.1f}"
    numbers = ["" if x is None else f"{x:.1f}" for x in result.recalls]
    row = [result.name, *numbers, total]
    return (*row, *[""] * (columns - len(row)))


def rsum(line: Line) -> str:
    """Mean, and spread where there are several seeds."""
    return f"{line.mean['rsum']:.1f}" + (f" ± {line.sd['rsum']:.1f}" if line.sd else "")


def difference(line: Line) -> str:
    """To the reference, marked where it is inside the noise."""
    return "" if line.difference is None else f"{line.difference:+.1f}{' ' + NOISE if line.noise else ''}"


def _best(lines: Sequence[Line], offset: int) -> frozenset[tuple[int, int]]:
    """(row, column) of the best measured value of each column among the lines on one test data, the first line's."""
    rivals = [k for k, line in enumerate(lines) if line.test == lines[0].test]
    values = np.array([[lines[k].mean[key] for key in (*RECALL_KEYS, "rsum")] for k in rivals])
    return frozenset((rivals[r] + offset, c) for r, c in _largest(values))


def _largest(values: np.ndarray) -> list[tuple[int, int]]:
    """(row, column + 1) of the largest value of each column, all where several are equal as printed; none of one row."""
    printed = np.round(values, 1)
    return [(int(r), int(c) + 1) for r, c in np.argwhere(printed == printed.max(axis=0))] if len(values) > 1 else []


def _notes(table: Table, lines: Sequence[Line], shown: Sequence[Published]) -> tuple[str, ...]:
    notes = [table.question] if table.question else []
    if lines:
        one, several = [{len(line.seeds) for line in lines} == {1}, any(line.sd for line in lines)]
        content = lines[0].contents[0]
        machines = sorted({c["devices"] for line in lines for c in line.contents})
        code = sorted({c["code"]["source"] for line in lines for c in line.contents})
        notes.append(
            f"Measured by us: split {content['split']}, {content['counts']['images']} images, {content['counts']['captions']} "
            f"captions; {'; '.join(machines)}; code {', '.join(code)}. "
            + ("± is the standard deviation over seeds. " if several else "")
            + "95% is a bootstrap over images with their captions."
        )
        if any(line.difference is not None for line in lines):
            spread = "queries and seeds, their spread pooled over the rows with several"
            spread = "queries alone: with one seed the spread of seeds is not known" if one else spread
            evaluated = (
                " Of a row that evaluates another on other data: to that row." if any(x.row.of for x in lines) else ""
            )
            notes.append(
                f"Differences are to '{table.reference}'; {NOISE}: inside the noise (95%) of {spread}.{evaluated}"
            )
    for source in dict.fromkeys(f"{p.name}: {p.source}" for p in shown):
        notes.append(f"Published, not measured by us: {source}.")
    return (*notes, *([table.note] if table.note else []))


def objects(table: Table, dataset: str, protocol: str, lines: Sequence[Line]) -> Content:
    """Recalls of images in groups by their number of objects."""
    rows, groups, values = [], [], []
    for line in lines:
        for k, (name, images, found) in enumerate(by_objects(line)):
            groups.append(line.row.name if k == 0 else "")
            rows.append((name, str(images), *(f"{x:.1f}" for x in found), f"{found.sum():.1f}"))
            values.append((name, found.sum()))
    bold = {
        (k, 8)
        for k, (name, total) in enumerate(values)
        if round(total, 1) == max(round(t, 1) for n, t in values if n == name)
    }
    empty = [] if rows else ["No line: the data do not tell how many objects an image shows (labels and boxes do)."]
    headings = ("", "images", *RECALL_HEADINGS, "rSum")
    notes = (
        *_notes(table, lines, ()),
        *empty,
        "In bold the model that is best on a group; a query's gallery is the whole split.",
    )
    return Content(
        f"{table.title}: {dataset}, {protocol}", headings, tuple(rows), tuple(groups), frozenset(bold), notes
    )


def beyond(table: Table, dataset: str, cells: Sequence[Cell]) -> list[Content]:
    """ECCV Caption and CxC, where the runs have them: means over the seeds."""
    done = [cell for cell in cells if cell.state == "finished" and "eccv" in cell.content()["protocols"]]
    if not done:
        return []
    keys = [("eccv", f"{d}_{k}") for d in ("i2t", "t2i") for k in ("map_r", "r_precision", "r1")]
    keys += [("cxc", f"{d}_r{k}") for d in ("i2t", "t2i") for k in (1, 5, 10)]
    headings = ("", *(f"{p.upper() if p == 'eccv' else 'CxC'} {k.replace('_', ' ')}" for p, k in keys), "seeds")
    rows, values = [], []
    for row in table.rows_on(dataset):
        found = [cell.content()["protocols"] for cell in done if cell.row.name == row.name]
        if found:
            values.append([float(np.mean([f[p][k] for f in found])) for p, k in keys])
            rows.append((row.name, *(f"{v:.1f}" for v in values[-1]), str(len(found))))
    caption = f"{table.title}: {dataset}, ECCV Caption and CxC"
    return [Content(caption, headings, tuple(rows), ("",) * len(rows), frozenset(_largest(np.array(values))), ())]


def as_json(table: Table, dataset: str, blocks: dict[str, Sequence[Line]]) -> dict[str, Any]:
    """Everything that is known of the measured lines, by protocol."""
    return {
        "table": table.name,
        "title": table.title,
        "dataset": dataset,
        "reference": table.reference,
        "protocols": {protocol: [_line(line) for line in lines] for protocol, lines in blocks.items()},
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        "row": line.row.name,
        "group": line.row.group,
        "x": line.row.x,
        "overrides": dict(line.row.overrides),
        "seeds": list(line.seeds),
        "mean": dict(line.mean),
        "sd": line.sd and dict(line.sd),
        "rsum_95": list(line.ci),
        "dev_rsum": line.dev,
        "difference": line.difference,
        "inside_noise": line.noise if line.difference is not None else None,
        "objects": [
            {"objects": name, "images": images, **dict(zip(RECALL_KEYS, map(float, found), strict=True))}
            for name, images, found in by_objects(line)
        ],
        "train_seconds": [c["seconds"]["train"] for c in line.contents],
        "config_hashes": [c.get("config_hash") for c in line.contents],
        "code": sorted({c["code"]["source"] for c in line.contents}),
        "devices": sorted({c["devices"] for c in line.contents}),
    }
