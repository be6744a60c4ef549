"""A table as text, before it is Markdown or LaTeX: headings, cells, which cells are bold, and where groups begin."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from itm_jax.metrics.retrieval import RECALL_KEYS
from itm_jax.tables.cell import Cell
from itm_jax.tables.collect import Group, Line, by_objects
from itm_jax.tables.published import Published, place_of, published, published_beside
from itm_jax.tables.table import Table

RECALL_HEADINGS = ("i2t R@1", "R@5", "R@10", "t2i R@1", "R@5", "R@10")
NOISE = "≈"  # behind a difference that is inside the noise
BEYOND = tuple(("eccv", f"{d}_{k}") for d in ("i2t", "t2i") for k in ("map_r", "r_precision", "r1"))
BEYOND += tuple(("cxc", f"{d}_r{k}") for d in ("i2t", "t2i") for k in (1, 5, 10))


@dataclasses.dataclass(frozen=True)
class Content:
    """The text cells of a table.

    `groups[k]` is the heading above row k, empty where the group goes on. `bold` has the (row, column) of bold cells.
    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    groups: tuple[str, ...]
    bold: frozenset[tuple[int, int]]
    notes: tuple[str, ...]


def recalls(table: Table, dataset: str, protocol: str, lines: Sequence[Line]) -> Content:
    """Returns recalls in both directions, rSum with its spread and confidence, differences, and published numbers."""
    compared = any(line.difference is not None for line in lines)
    has_dev = any(line.dev is not None for line in lines)
    place = place_of(lines[0].contents[0])
    known = {line.row.published: published_beside(place, protocol, line.row.published) for line in lines}
    beside = any(known.values())
    field = published(place, protocol, table.field)
    headings = ["", *RECALL_HEADINGS, "rSum", "95%"]
    headings += ["dev"] * has_dev + ["difference"] * compared + ["published"] * beside + ["seeds"]
    rows: list[tuple[str, ...]] = []
    groups: list[str] = []
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
    """Returns the mean rSum as text, with its spread where there are several seeds."""
    return f"{line.mean['rsum']:.1f}" + (f" ± {line.sd['rsum']:.1f}" if line.sd else "")


def difference(line: Line | Group) -> str:
    """Returns the difference to the reference as text, with NOISE where it is inside the noise."""
    return "" if line.difference is None else f"{line.difference:+.1f}{' ' + NOISE if line.noise else ''}"


def _best(lines: Sequence[Line], offset: int) -> frozenset[tuple[int, int]]:
    """Returns (row, column) of the best measured value of each column, among lines with the test data of the first."""
    rivals = [k for k, line in enumerate(lines) if line.test == lines[0].test]
    values = np.array([[lines[k].mean[key] for key in (*RECALL_KEYS, "rsum")] for k in rivals])
    return frozenset((rivals[r] + offset, c) for r, c in _largest(values))


def _largest(values: np.ndarray) -> list[tuple[int, int]]:
    """Returns (row, column + 1) of the largest value of each column, all that print the same; nothing for one row."""
    printed = np.round(values, 1)
    return [(int(r), int(c) + 1) for r, c in np.argwhere(printed == printed.max(axis=0))] if len(values) > 1 else []


def _notes(
    table: Table, lines: Sequence[Line], shown: Sequence[Published], *, grouped: bool = False
) -> tuple[str, ...]:
    notes = [table.question] if table.question else []
    if lines:
        one, several = [{len(line.seeds) for line in lines} == {1}, any(line.sd for line in lines)]
        content = lines[0].contents[0]
        machines = sorted({c["devices"] for line in lines for c in line.contents})
        code = sorted(set().union(*(code_of(c) for line in lines for c in line.contents)))
        notes.append(
            f"Measured by us: split {content['split']}, {content['counts']['images']} images, "
            f"{content['counts']['captions']} captions; {'; '.join(machines)}; code {', '.join(code)}. "
            + ("± is the standard deviation over seeds. " if several else "")
            + "95% is a bootstrap over images with their captions."
        )
        notes += _batches(lines)
        if any(line.difference is not None for line in lines):
            spread = "queries and seeds" + (
                "" if grouped else "; the seeds' spread is pooled over the rows with several"
            )
            spread = "queries alone; with one seed, the spread over seeds is unknown" if one else spread
            compared = [x.row for x in lines if x.difference is not None]
            exceptions = [row for row in compared if row.reference and table.reference and not row.of]
            usual = [row for row in compared if not row.of and row not in exceptions]
            names = [f"'{name}'" for name in dict.fromkeys(table.reference_of(row) for row in usual)]
            to = [" or ".join(names) + (", whichever is of the same model" if len(names) > 1 else "")] if names else []
            to += [f"of '{row.name}' to '{row.reference}'" for row in exceptions]
            to += ["of a row on other data to the row that it evaluates"] * any(row.of for row in compared)
            references = "; ".join(to) if to and to[0].startswith("of") else "to " + "; ".join(to)
            notes.append(
                f"Differences are {references}. {NOISE} marks a difference inside the noise (95%) of {spread}."
            )
    for source in dict.fromkeys(f"{p.name}: {p.source}" for p in shown):
        notes.append(f"Published, not measured by us: {source}.")
    return (*notes, *([table.note] if table.note else []))


def _batches(lines: Sequence[Line]) -> list[str]:
    """Says how many pairs a batch had, and how many negatives a query; results of earlier versions do not."""
    rows: dict[tuple[int, int], list[str]] = {}
    for line in lines:
        for content in line.contents:
            if "batch" in content:
                names = rows.setdefault((content["batch"]["size"], content["batch"]["negatives"]), [])
                names += [line.row.name] * (line.row.name not in names)
    said = [
        f"{size} pairs, {'all others' if negatives == size - 1 else negatives} of them negatives of a query"
        + (f" ({', '.join(names)})" if len(rows) > 1 else "")
        for (size, negatives), names in sorted(rows.items())
    ]
    return [f"Batches: {'; '.join(said)}."] if said else []


def code_of(content: Mapping[str, Any]) -> set[str]:
    """Returns the hashes of the code that evaluated a run and, where the results have it, of that which trained it."""
    return {content["code"]["source"], *content.get("trained_by", [])}


def objects(table: Table, dataset: str, protocol: str, lines: Sequence[Line]) -> Content:
    """Returns the recalls of images in groups by their number of objects."""
    rows: list[tuple[str, ...]] = []
    groups: list[str] = []
    values: list[tuple[str, float]] = []
    by_name = {line.row.name: line for line in lines}
    compared = any(line.difference is not None for line in lines)
    for line in lines:
        for k, group in enumerate(by_objects(line, by_name.get(table.reference_of(line.row)))):
            groups.append(line.row.name if k == 0 else "")
            total = f"{group.recalls.sum():.1f}" + (f" ± {group.sd:.1f}" if group.sd is not None else "")
            row = [group.name, str(group.images), *(f"{x:.1f}" for x in group.recalls), total]
            row.append(f"{group.ci[0]:.0f} to {group.ci[1]:.0f}")
            rows.append((*row, *[difference(group)] * compared))
            values.append((group.name, group.recalls.sum()))
    bold = {
        (k, 8)
        for k, (name, total) in enumerate(values)
        if round(total, 1) == max(round(t, 1) for n, t in values if n == name)
    }
    empty = "There are no rows, because the data do not say how many objects an image shows (labels and boxes do)."
    headings = ("", "images", *RECALL_HEADINGS, "rSum", "95%", *["difference"] * compared)
    notes = (
        *_notes(table, lines, (), grouped=True),
        *([] if rows else [empty]),
        "The best model of each group is in bold. The gallery of every query is the whole split.",
    )
    return Content(
        f"{table.title}: {dataset}, {protocol}", headings, tuple(rows), tuple(groups), frozenset(bold), notes
    )


def beyond(table: Table, dataset: str, cells: Sequence[Cell]) -> list[Content]:
    """Returns ECCV Caption and CxC, where the runs have them: means over the seeds, with ± where there are several."""
    values = beyond_pairs(table, cells)
    if not values:
        return []
    headings = ("", *(f"{p.upper() if p == 'eccv' else 'CxC'} {k.replace('_', ' ')}" for p, k in BEYOND), "seeds")
    rows = tuple(
        (name, *(f"{m:.1f}" + (f" ± {s:.1f}" if len(v) > 1 else "") for m, s in _mean_sd(v)), str(len(v)))
        for name, v in values.items()
    )
    best = frozenset(_largest(np.array([v.mean(axis=0) for v in values.values()])))
    caption = f"{table.title}: {dataset}, ECCV Caption and CxC"
    return [Content(caption, headings, rows, ("",) * len(rows), best, ())]


def _mean_sd(values: np.ndarray) -> list[tuple[float, float]]:
    sd = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])
    return list(zip(values.mean(axis=0), sd, strict=True))


def beyond_pairs(table: Table, cells: Sequence[Cell]) -> dict[str, np.ndarray]:
    """Returns ECCV Caption and CxC of the finished seeds by row: [seeds, metrics], metrics in the order of BEYOND."""
    done = [cell for cell in cells if cell.state == "finished" and "eccv" in cell.content()["protocols"]]
    by_row = {row: [c.content()["protocols"] for c in done if c.row.name == row] for row in _names(table, done)}
    return {
        row: np.array([[protocols[p][k] for p, k in BEYOND] for protocols in seeds]) for row, seeds in by_row.items()
    }


def _names(table: Table, cells: Sequence[Cell]) -> list[str]:
    names = {cell.row.name for cell in cells}
    return [row.name for row in table.rows if row.name in names]
