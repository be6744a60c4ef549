"""What all pictures share: colours, and figures without pyplot, which would change the backend of a notebook."""

import pathlib
from typing import Any

import matplotlib
from matplotlib.figure import Figure

BLUE, GREY, ORANGE = "#3b6fb6", "#9aa4b1", "#d9822b"
RIGHT, WRONG = "#2a8f4f", "#c0392b"  # answers to a query
PAIRS = matplotlib.colormaps["tab10"]
GATES = matplotlib.colormaps["viridis"]
as_written = matplotlib.rc_context({"text.parse_math": False})  # captions with dollar signs are no formulas


def panels(rows: int = 1, columns: int = 1, **how: Any) -> tuple[Figure, Any]:
    """Returns a figure and its axes, [rows, columns].

    Args:
        rows: the number of rows of axes.
        columns: the number of columns of axes.
        how: `figsize` and `layout` of the figure, `width_ratios` of the columns.
    """
    ratios = {"width_ratios": how.pop("width_ratios")} if "width_ratios" in how else {}
    figure = Figure(**{"layout": "constrained"} | how)
    return figure, figure.subplots(rows, columns, squeeze=False, **ratios)


def without_frame(*every: Any) -> None:
    """Removes the upper and the right line of the axes."""
    for axes in every:
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)


def save(figure: Figure, path: pathlib.Path, dpi: int = 90, **how: Any) -> None:
    """Writes a figure to a PNG or SVG file."""
    figure.savefig(path, dpi=dpi, **how)
