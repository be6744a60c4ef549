"""Boxes without a detector: a fixed list that covers an image from coarse to fine."""

import numpy as np
from jaxtyping import Float

MOST = 100  # boxes of an image


def layout(number: int) -> Float[np.ndarray, "r 4"]:
    """Returns the first boxes of the list, as (x1, y1, x2, y2) divided by the width and the height of the image.

    The list: the whole image; 2 x 2 that overlap; the centre; 3 x 3 that overlap; the halves (top, bottom, left, right)
    and the middle column; 4 x 4; these are 36. Then the middle row, 5 x 5 and 6 x 6, both overlapping, and two more.

    Args:
        number: 1 to 100.
    """
    if not 1 <= number <= MOST:
        raise ValueError(f"{number} boxes; there are 1 to {MOST}")
    half = [(0, 0, 1, 0.5), (0, 0.5, 1, 1), (0, 0, 0.5, 1), (0.5, 0, 1, 1), (0.25, 0, 0.75, 1)]
    rest = [(0, 0.25, 1, 0.75)], _grid(5, 0.3), _grid(6, 0.2), [(0, 0, 1, 0.25), (0, 0.75, 1, 1)]
    parts = _grid(1, 1), _grid(2, 0.6), [(0.2, 0.2, 0.8, 0.8)], _grid(3, 0.4), half, _grid(4, 0.25), *rest
    return np.array([box for part in parts for box in part], np.float32)[:number]


def _grid(count: int, size: float) -> list[tuple[float, float, float, float]]:
    """Returns count x count squares of a size, row by row, that reach from edge to edge."""
    starts = np.linspace(0, 1 - size, count)
    return [(x, y, x + size, y + size) for y in starts for x in starts]
