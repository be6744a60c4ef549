"""CPFEAN step 1, region embedding with box and label priors (arXiv 2311.02183, our reading)."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from itm_jax.modules.numerics import zero_invalid
from itm_jax.structs import AnyArray, Regions


def box_code(boxes: Float[AnyArray, "b r 4"]) -> Float[Array, "b r 7"]:
    """Returns `φ(box) = (x1, y1, x2, y2, w, h, w·h)`, all as fractions of the image."""
    size = boxes[..., 2:] - boxes[..., :2]
    return jnp.concatenate([boxes, size, size[..., :1] * size[..., 1:]], axis=-1)


class RegionEmbedding(nn.Module):
    """`v = LN(W_f x + W_b φ(box) + W_l e(label))`, 0 for invalid regions.

    e(label) is a row of `bank` where that is given, else of a learned table.

    Attributes:
        width: joint width d.
        boxes: whether to use boxes; None uses them where the regions have them.
        labels: whether to use labels; None uses them where the regions have them and there is a bank or a table.
        table: number of rows of the learned table, 0 for no table. Row 0 is for names that training did not have; it
            stays 0.
        dtype: compute dtype.
    """

    width: int
    boxes: bool | None = None
    labels: bool | None = None
    table: int = 0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, regions: Regions, bank: Float[Array, "n e"] | None = None) -> Float[Array, "b r d"]:
        """Returns the embedded regions; `bank` has a row for each label.

        Raises:
            ValueError: a prior is asked for, but what it needs is missing.
        """
        dense = lambda name, **kw: nn.Dense(self.width, dtype=self.dtype, name=name, **kw)  # noqa: E731
        v = dense("features")(regions.features.astype(self.dtype))
        if self.boxes or (self.boxes is None and regions.boxes is not None):
            if regions.boxes is None:
                raise ValueError("config.model.regions.boxes=True, but the regions have no boxes")
            v += dense("boxes", use_bias=False)(box_code(regions.boxes).astype(self.dtype))
        usable = self.table > 0 or bank is not None
        if self.labels or (self.labels is None and regions.labels is not None and usable):
            if regions.labels is None or not usable:
                raise ValueError(
                    "config.model.regions.labels=True, but the regions have no labels, or the model has no label bank "
                    "and no label table"
                )
            if bank is None:
                known = self.param("label_table", nn.initializers.normal(1.0), (self.table - 1, self.width))
                bank = jnp.concatenate([jnp.zeros((1, self.width), known.dtype), known])
            v += dense("labels", use_bias=False)(bank.astype(self.dtype))[regions.labels]
        return zero_invalid(nn.LayerNorm(dtype=self.dtype, name="norm")(v), regions.mask)
