"""BiGRU text encoder from scratch (SCAN, Lee et al., ECCV 2018, and the systems that followed it)."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from itm_jax.modules.dropout import Dropout
from itm_jax.modules.numerics import zero_invalid


@dataclasses.dataclass(frozen=True)
class GRUConfig:
    """Architecture: words in the vocabulary, width of their embeddings, width of the states, dropout on embeddings."""

    vocab_size: int
    embed_size: int
    width: int
    dropout: float = 0.0


def uniform_init(limit: float):
    """Uniform in ±limit."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


class BiGRU(nn.Module):
    """Word embeddings, then one GRU in each direction; a token's state is the mean of the two.

    The gates are those of PyTorch's `nn.GRU`, whose bias inside the candidate's product with the reset gate is kept
    apart: `h' = (1-z)·tanh(x_n + r·(U_n h + c)) + z·h`; of the other gates' two biases, which only ever add up, there is
    one. Initialised as in SCAN: embeddings uniform in ±0.1, the rest uniform in ±1/√width (PyTorch's default).

    Attributes:
        config: architecture.
        dtype: compute dtype; parameters are float32.
    """

    config: GRUConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, ids: Int[Array, "b l"], mask: Bool[Array, "b l"], *, train: bool = False
    ) -> Float[Array, "b l e"]:
        """States of the valid tokens, 0 elsewhere; `train` needs the rng `dropout` where `config.dropout` is set.

        An invalid token leaves the state as it is, so that each direction starts at an item's own first or last token
        and no state depends on padding.
        """
        c = self.config
        init = uniform_init(c.width**-0.5)
        embed = nn.Embed(c.vocab_size, c.embed_size, dtype=self.dtype, embedding_init=uniform_init(0.1), name="word")
        x = Dropout(c.dropout)(embed(ids), train=train).swapaxes(0, 1)

        # The input products of all steps at once; only those with the state are left to the scan. Time is turned round
        # by a flip, not by a gather up to each item's length, whose gradient would be a scatter.
        dense = functools.partial(nn.Dense, 3 * c.width, dtype=self.dtype, kernel_init=init, bias_init=init)
        inputs = jnp.stack([dense(name="forward")(x), jnp.flip(dense(name="backward")(x), axis=0)], axis=1)
        valid = jnp.stack([mask.T, jnp.flip(mask.T, axis=0)], axis=1)[..., None]
        kernel = self.param("state_kernel", init, (2, c.width, 3 * c.width)).astype(self.dtype)
        bias = self.param("state_bias", init, (2, c.width)).astype(self.dtype)[:, None]

        def step(h, now):
            gates, valid = now
            r, z, n = jnp.split(jnp.einsum("kbd,kde->kbe", h, kernel), 3, axis=-1)
            x_r, x_z, x_n = jnp.split(gates, 3, axis=-1)
            r, z = nn.sigmoid(x_r + r), nn.sigmoid(x_z + z)
            h = jnp.where(valid, (1 - z) * jnp.tanh(x_n + r * (n + bias)) + z * h, h)
            return h, h

        # Unrolling costs compile time and gains nothing on a CPU (measured with 4 steps).
        _, states = jax.lax.scan(step, jnp.zeros((2, ids.shape[0], c.width), self.dtype), (inputs, valid))
        mean = (states[:, 0] + jnp.flip(states[:, 1], axis=0)) / 2
        return zero_invalid(mean.swapaxes(0, 1), mask)
