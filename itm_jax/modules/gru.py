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
from itm_jax.structs import AnyArray


@dataclasses.dataclass(frozen=True)
class GRUConfig:
    """Architecture: size of the vocabulary, width of the embeddings and of the hidden states, dropout on embeddings."""

    vocab_size: int
    embed_size: int
    width: int
    dropout: float = 0.0


def uniform_init(limit: float):
    """Returns an initialiser that draws uniformly from ±limit."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


class BiGRU(nn.Module):
    """Word embeddings, then one GRU in each direction; a token's hidden state is the mean of the two.

    The gates are those of PyTorch's `nn.GRU`: `h' = (1-z)·tanh(x_n + r·(U_n h + c)) + z·h`. The bias c, which the reset
    gate multiplies, is a parameter of its own. Each other gate has two biases in PyTorch; they only add up, so here it
    has one. Initial values are those of SCAN: embeddings are uniform in ±0.1, the rest is uniform in ±1/√width
    (PyTorch's default).

    Attributes:
        config: architecture.
        dtype: compute dtype; parameters are float32.
    """

    config: GRUConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, ids: Int[AnyArray, "b l"], mask: Bool[AnyArray, "b l"], *, train: bool = False
    ) -> Float[Array, "b l e"]:
        """Returns the hidden states, 0 for invalid tokens. `train` needs the rng `dropout` if `config.dropout` is set.

        An invalid token does not change the state. So each direction starts at an item's own first or last token, and
        no state depends on padding.
        """
        c = self.config
        init = uniform_init(c.width**-0.5)
        embed = nn.Embed(c.vocab_size, c.embed_size, dtype=self.dtype, embedding_init=uniform_init(0.1), name="word")
        x = Dropout(c.dropout)(embed(ids), train=train).swapaxes(0, 1)

        # The input products of all steps are computed at once; only the products with the state are left to the scan.
        # A flip reverses time. A gather up to each item's length would do so too, but its gradient would be a scatter.
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
