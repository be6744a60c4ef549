"""Areas and intersections of boxes (x1, y1, x2, y2), of NumPy or JAX arrays."""

from typing import Any

from jaxtyping import Float

from itm_jax.structs import AnyArray


def area(boxes: Float[AnyArray, "*b 4"]) -> Float[AnyArray, "*b"]:
    """Area of each box."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def intersection(a: Float[AnyArray, "*a 4"], b: Float[AnyArray, "*b 4"]) -> Any:
    """Returns the area that two boxes share, 0 where they do not overlap. Leading axes are broadcast."""
    xp = a.__array_namespace__()
    side = xp.maximum(xp.minimum(a[..., 2:], b[..., 2:]) - xp.maximum(a[..., :2], b[..., :2]), 0.0)
    return side[..., 0] * side[..., 1]
