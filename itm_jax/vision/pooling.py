"""Features of boxes: the mean of the cells of a feature map, each weighted by the share of the box that it covers."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from itm_jax.modules.numerics import HIGHEST
from itm_jax.structs import AnyArray


def pool_boxes(maps: Float[AnyArray, "b y x f"], boxes: Float[AnyArray, "b r 4"]) -> Float[Array, "b r f"]:
    """Returns the mean of a map over each box. A cell counts by the share of the box that it covers.

    Args:
        maps: feature maps that cover the whole image.
        boxes: (x1, y1, x2, y2) divided by the width and the height of the image, with an area above 0.
    """
    _, height, width, _ = maps.shape
    across = overlaps(boxes[..., 0], boxes[..., 2], width)
    down = overlaps(boxes[..., 1], boxes[..., 3], height)
    rows = jnp.einsum("brx,byxf->bryf", across, maps, precision=HIGHEST)
    return jnp.einsum("bry,bryf->brf", down, rows, precision=HIGHEST)


def overlaps(start: Float[AnyArray, "b r"], end: Float[AnyArray, "b r"], places: int) -> Float[Array, "b r p"]:
    """Returns which share of each interval [start, end] of [0, 1] lies in each of so many equal places."""
    edges = jnp.arange(places + 1) / places
    low = jnp.maximum(start[..., None], edges[None, None, :-1])
    high = jnp.minimum(end[..., None], edges[None, None, 1:])
    return jnp.maximum(high - low, 0) / (end - start)[..., None]
