"""BatchNorm over the counted rows, with PyTorch's running statistics."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float


class BatchNorm(nn.Module):
    """Normalises each dimension by its mean and variance over the counted rows.

    Flax's `BatchNorm` has the same parameters and statistics, but its running variance is the biased one. Here, as in
    PyTorch, a batch is normalised by its biased variance `Σ(x - mean)² / n`, and the running variance is a mean of the
    unbiased ones, `Σ(x - mean)² / (n - 1)`.

    Attributes:
        momentum: how much of the running statistics remains at each step.
        epsilon: added to the variance.
        dtype: dtype of the result; parameters and statistics are float32.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, rows: Float[Array, "b n d"], counted: Bool[Array, "b n"], *, train: bool
    ) -> Float[Array, "b n d"]:
        """Returns the normalised rows. With `train`, the statistics of the counted rows are used, and remembered."""
        d = rows.shape[-1]
        mean = self.variable("batch_stats", "mean", jnp.zeros, (d,), jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, (d,), jnp.float32)
        scale = self.param("scale", nn.initializers.ones, (d,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (d,), jnp.float32)
        rows = rows.astype(jnp.float32)
        if not train:
            of_batch = mean.value, var.value
        else:
            count = jnp.maximum(jnp.sum(counted), 1).astype(rows.dtype)
            mask = counted[..., None]
            average = lambda x: jnp.sum(jnp.where(mask, x, 0.0), axis=(0, 1)) / count  # noqa: E731
            first = average(rows)
            of_batch = first, average(jnp.square(rows - first[None, None]))
            if not self.is_initializing():
                unbiased = of_batch[1] * (count / jnp.maximum(count - 1, 1))
                for running, new in ((mean, of_batch[0]), (var, unbiased)):
                    running.value = self.momentum * running.value + (1 - self.momentum) * new
        center, spread = of_batch[0], jax.lax.rsqrt(of_batch[1] + self.epsilon) * scale
        out = (rows - center[None, None]) * spread[None, None] + bias[None, None]
        return out.astype(self.dtype)
