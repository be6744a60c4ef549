"""AFA step 1, feature enhancement (paper section 2.1): `h = Linear(x) + MLP(x)`."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from itm_jax.modules.batch_norm import BatchNorm
from itm_jax.modules.numerics import zero_invalid

XAVIER = {"kernel_init": nn.initializers.xavier_uniform()}


class Enhancement(nn.Module):
    """Projects rows to the joint width with a linear and a bottleneck branch; invalid rows come out as 0.

    Batch statistics are those of the valid rows of the whole batch only, so padding never enters them. Momentum,
    epsilon and running statistics are those of PyTorch (`modules.batch_norm`).

    Attributes:
        width: joint width d.
        dtype: compute dtype; parameters and statistics are float32.
        mlp: False leaves the linear branch only, as on the text side of the authors' code.
        start: how the layers start, "lecun" or "authors" (`model.enhancement.init`).
        xavier: whether the authors start the linear layer with Xavier's uniform, as that of images.
    """

    width: int
    dtype: DTypeLike = jnp.float32
    mlp: bool = True
    start: str = "lecun"
    xavier: bool = False

    @nn.compact
    def __call__(
        self,
        rows: Float[Array, "b n f"],
        mask: Bool[Array, "b n"],
        *,
        train: bool,
        counted: Bool[Array, "b n"] | None = None,
    ) -> Float[Array, "b n d"]:
        """Returns the projected rows in `dtype`, 0 where `mask` is False.

        With `train`, batch statistics are used and updated. `counted` marks the rows that enter them; default: `mask`.
        """
        rows = rows.astype(self.dtype)
        fan_in = rows.shape[-1]
        first = XAVIER if self.start == "authors" and self.xavier else self._initialisers(fan_in)
        linear = nn.Dense(self.width, dtype=self.dtype, name="linear", **first)(rows)
        if not self.mlp:
            return zero_invalid(linear, mask)
        hidden = nn.Dense(self.width // 2, dtype=self.dtype, name="mlp_in", **self._initialisers(fan_in))(rows)
        norm = BatchNorm(dtype=self.dtype, name="mlp_norm")
        hidden = nn.relu(norm(hidden, mask if counted is None else counted, train=train))
        hidden = nn.Dense(self.width, dtype=self.dtype, name="mlp_out", **self._initialisers(self.width // 2))(hidden)
        return zero_invalid(linear + hidden, mask)

    def _initialisers(self, fan_in: int) -> dict[str, Any]:
        """Returns the initialisers of a layer. PyTorch's default is uniform up to 1/√inputs, for biases too."""
        if self.start == "lecun":
            return {}
        within = nn.initializers.uniform(2 * fan_in**-0.5)  # from 0 on
        drawn = lambda key, shape, dtype: within(key, shape, dtype) - fan_in**-0.5  # noqa: E731
        return {"kernel_init": drawn, "bias_init": drawn}
