"""AFA step 1, feature enhancement (paper section 2.1): `h = Linear(x) + MLP(x)`."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from itm_jax.modules.numerics import zero_invalid


class Enhancement(nn.Module):
    """Projects rows to the joint width with a linear and a bottleneck branch; invalid rows come out as 0.

    Batch statistics are those of the valid rows of the whole batch only, so padding never enters them. Momentum and
    epsilon of the running statistics are PyTorch's, 0.1 and 1e-5.

    Attributes:
        width: joint width d.
        dtype: compute dtype; parameters and statistics are float32.
        mlp: False leaves the linear branch only, as on the text side of the authors' code.
    """

    width: int
    dtype: DTypeLike = jnp.float32
    mlp: bool = True

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
        linear = nn.Dense(self.width, dtype=self.dtype, name="linear")(rows)
        if not self.mlp:
            return zero_invalid(linear, mask)
        hidden = nn.Dense(self.width // 2, dtype=self.dtype, name="mlp_in")(rows)
        norm = nn.BatchNorm(
            use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype, name="mlp_norm"
        )
        hidden = nn.relu(norm(hidden, mask=(mask if counted is None else counted)[..., None]))
        hidden = nn.Dense(self.width, dtype=self.dtype, name="mlp_out")(hidden)
        return zero_invalid(linear + hidden, mask)
