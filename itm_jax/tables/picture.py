"""Draws a table: the rSum of every row with its interval, or curves where the rows have a place on an axis."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from itm_jax.tables.collect import Line, by_objects
from itm_jax.tables.published import place_of, published_beside
from itm_jax.tables.table import Table
from itm_jax.viz.figures import BLUE, GREY, ORANGE, PAIRS, panels, save, without_frame


def draw(path: pathlib.Path, table: Table, dataset: str, blocks: dict[str, Sequence[Line]]) -> None:
    """Writes the picture, with a panel for each protocol."""
    shown = {name: lines for name, lines in blocks.items() if lines}
    tallest = max((len(lines) for lines in shown.values()), default=1)
    points = not table.axis and table.kind == "recalls"
    height = 1.2 + 0.32 * tallest if points else 3.8
    figure, axes = panels(1, max(1, len(shown)), figsize=(7.2 * max(1, len(shown)), height), layout="tight")
    for axis, (protocol, lines) in zip(axes[0], shown.items(), strict=False):
        if table.axis:
            _curves(axis, table, lines)
        elif table.kind == "objects":
            _groups(axis, lines)
        else:
            _points(axis, table, protocol, lines)
        axis.set_title(f"{table.title}: {dataset}, {protocol}", fontsize=10)
        without_frame(axis)
    save(figure, path, dpi=150)


def _errors(line: Line) -> tuple[float, float]:
    """Returns how far the 95% interval reaches below and above the mean rSum."""
    mean = line.mean["rsum"]
    return max(0.0, mean - line.ci[0]), max(0.0, line.ci[1] - mean)


def _points(axis, table: Table, protocol: str, lines: Sequence[Line]) -> None:
    place = place_of(lines[0].contents[0])
    places = range(len(lines))
    marked: list[float] = []
    for y, line in zip(places, lines, strict=True):
        colour = ORANGE if line.row.name == table.reference else BLUE
        errors = [[x] for x in _errors(line)]
        axis.errorbar(line.mean["rsum"], y, xerr=errors, fmt="o", ms=6, color=colour, ecolor=GREY, elinewidth=2)
        if line.row.name == table.reference:
            axis.axvline(line.mean["rsum"], color=ORANGE, lw=0.8, ls=":")
        if (p := published_beside(place, protocol, line.row.published)) and p.rsum is not None:
            axis.plot(p.rsum, y, "D", color="black", ms=5, label=None if marked else "published")
            marked.append(p.rsum)
    axis.set_yticks(places, [line.row.name for line in lines], fontsize=8)
    axis.set_ylim(len(lines) - 0.4, -0.6)
    low, high = min([line.ci[0] for line in lines] + marked), max([line.ci[1] for line in lines] + marked)
    axis.set_xlim(max(0.0, low - 0.05 * (high - low) - 2), min(600.0, high + 0.05 * (high - low) + 2))
    axis.grid(alpha=0.25, axis="x")
    axis.set_xlabel("rSum, with its 95% interval over queries", fontsize=9)
    if marked:
        axis.legend(fontsize=8)


def _x(line: Line) -> float | int:
    assert line.row.x is not None  # a table with an axis has no row without it: `table.load_table` checks that
    return line.row.x


def _curves(axis, table: Table, lines: Sequence[Line]) -> None:
    for group in dict.fromkeys(line.row.group for line in lines):
        points = sorted((line for line in lines if line.row.group == group), key=_x)
        errors = list(zip(*map(_errors, points), strict=True))
        x, y = list(map(_x, points)), [line.mean["rsum"] for line in points]
        axis.errorbar(x, y, yerr=errors, marker="o", ms=4, lw=1.4, capsize=2, label=group or None)
    axis.set_xlabel(table.axis, fontsize=9)
    axis.set_ylabel("rSum", fontsize=9)
    axis.grid(alpha=0.25)
    if any(line.row.group for line in lines):
        axis.legend(fontsize=8)


def _groups(axis, lines: Sequence[Line]) -> None:
    for line in lines:
        groups = by_objects(line)
        totals = [group.recalls.sum() for group in groups]
        axis.plot([group.name for group in groups], totals, marker="o", ms=4, label=line.row.name)
    axis.set_ylabel("rSum of the group's queries", fontsize=9)
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8)


def draw_costs(path: pathlib.Path, table: Table, dataset: str, models: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes a picture of the time of an epoch against the time of a query, both logarithmic.

    Discs are the rows of the table's first group (one vector per item), squares all others (fragments).
    """
    figure, [[axis]] = panels(figsize=(7.2, 4.0), layout="tight")
    for k, row in enumerate(table.rows_on(dataset)):
        model = models[row.name]
        x, y = model["seconds_of_an_epoch"], 1e3 * (model["caption_seconds_median"] + model["score_seconds_median"])
        marker = "o" if row.group == table.rows[0].group else "s"
        axis.scatter(x, y, s=60, marker=marker, color=PAIRS(k), label=row.name)
    axis.set(xscale="log", yscale="log", xlabel="seconds of an epoch", ylabel="ms of one query, encoded and scored")
    for scale in (axis.xaxis, axis.yaxis):
        scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
        scale.set_major_formatter(FormatStrFormatter("%g"))
        scale.set_minor_formatter(NullFormatter())
    axis.margins(0.1)
    axis.grid(alpha=0.25, which="both")
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
    axis.set_title(f"{table.title}: {dataset}", fontsize=10)
    save(figure, path, dpi=150)
