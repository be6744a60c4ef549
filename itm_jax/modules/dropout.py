"""Dropout."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array


class Dropout(nn.Module):
    """Dropout that draws 8 random bits per value, a quarter of the cost of a float. The rate is rounded to 1/256."""

    rate: float

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Returns x with a fraction `rate` of its values zeroed and the others scaled up; x itself in evaluation."""
        dropped = round(self.rate * 256)
        if not train or not dropped:
            return x
        keep = jax.random.bits(self.make_rng("dropout"), x.shape, jnp.uint8) >= dropped
        return jnp.where(keep, x / (1 - dropped / 256), jnp.zeros((), x.dtype))
