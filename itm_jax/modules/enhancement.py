"""AFA step 1, feature enhancement (paper section 2.1): `h = Linear(x) + MLP(x)`."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from itm_jax.modules.numerics import zero_invalid


class Enhancement(nn.Module):
    """Projects rows to the joint width with a linear and a bottleneck branch; invalid rows come out as 0.

    Batch statistics are those of the valid rows of the whole batch only, so padding never enters them. The running
    statistics follow PyTorch's momentum 0.1 and epsilon 1e-5.

    Attributes:
        width: joint width d.
        dtype: compute dtype; parameters and statistics are float32.
    """

    width: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, rows: Float[Array, "b n f"], mask: Bool[Array, "b n"], *, train: bool) -> Float[Array, "b n d"]:
        """Args: rows and their validity; `train` uses and updates batch statistics. Returns [b n d] in `dtype`."""
        rows = rows.astype(self.dtype)
        hidden = nn.Dense(self.width // 2, dtype=self.dtype, name="mlp_in")(rows)
        norm = nn.BatchNorm(
            use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype, name="mlp_norm"
        )
        hidden = nn.relu(norm(hidden, mask=mask[..., None]))
        hidden = nn.Dense(self.width, dtype=self.dtype, name="mlp_out")(hidden)
        linear = nn.Dense(self.width, dtype=self.dtype, name="linear")(rows)
        return zero_invalid(linear + hidden, mask)
