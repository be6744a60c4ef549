"""Tensors of other frameworks by a table of names: each one is found in its shape, or named in an error."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

# Their name -> (path in our parameters, our shape, whether a matrix is transposed).
Table = Mapping[str, tuple[tuple[str, ...], tuple[int, ...], bool]]


def fit(
    tensors: Mapping[str, np.ndarray], expected: Table, ignored: re.Pattern[str], *, by: str = "the config expects"
) -> tuple[dict[str, Any], list[str]]:
    """Puts tensors where a table says.

    Args:
        tensors: by their name.
        expected: the table.
        ignored: matches the names that may be there and are not read.
        by: what decides the shapes, for messages.

    Returns:
        (tree, problems): our parameters in float32, and a line for each tensor that is missing, unexpected or of
        another shape. The tree is whole where there are no problems.
    """
    problems = [f"missing {name}" for name in sorted(expected.keys() - tensors.keys())]
    problems += [f"unexpected {n}" for n in sorted(tensors.keys() - expected.keys()) if not ignored.match(n)]
    tree: dict[str, Any] = {}
    for name, (path, shape, transposed) in expected.items():
        if name not in tensors:
            continue
        value = np.asarray(tensors[name]).astype(np.float32)
        if value.shape != (theirs := _their_shape(name, shape, transposed)):
            problems.append(f"{name} has shape {value.shape}, {by} {theirs}")
            continue
        value = value.T if transposed else value
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = np.ascontiguousarray(value.reshape(shape))
    return tree, problems


def _their_shape(name: str, shape: tuple[int, ...], transposed: bool) -> tuple[int, ...]:
    """Returns the shape in the file: without the axis of heads, which our attention has, and inputs last."""
    if name.endswith("bias"):
        return (math.prod(shape),)
    if len(shape) == 3:
        return (math.isqrt(math.prod(shape)),) * 2
    return shape[::-1] if transposed else shape


def in_a_line(problems: Iterable[str], most: int) -> str:
    """Returns the first problems, and the number of those that are left out."""
    problems = list(problems)
    more = f"; and {len(problems) - most} more" if len(problems) > most else ""
    return "; ".join(problems[:most]) + more
