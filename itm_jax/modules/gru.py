"""BiGRU text encoder from scratch (SCAN, Lee et al., ECCV 2018, and the systems that followed it)."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from itm_jax.modules.bert import Dropout
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
    apart: `h' = (1-z)·tanh(x_n + r·(U_n h + c)) + z·h`. Initialised as in SCAN: embeddings uniform in ±0.1, the rest
    uniform in ±1/√width.

    Attributes:
        config: architecture.
        dtype: compute dtype; parameters are float32.
    """

    config: GRUConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, ids: Int[Array, "b l"], mask: Bool[Array, "b l"], *, train: bool = False
    ) -> Float[Array, "b l e"]:
        """States of the valid tokens, which come first; 0 elsewhere. `train` needs the rng `dropout` where that is set.

        The backward direction starts at an item's own last token, so that its states depend on no padding.
        """
        c = self.config
        b, length = ids.shape
        init = uniform_init(c.width**-0.5)
        embed = nn.Embed(c.vocab_size, c.embed_size, dtype=self.dtype, embedding_init=uniform_init(0.1), name="word")
        x = Dropout(c.dropout)(embed(ids), train=train)
        position = jnp.arange(length)[None, :]
        count = jnp.sum(mask, axis=1, dtype=jnp.int32)[:, None]
        backwards = jnp.where(position < count, count - 1 - position, position)  # its own inverse

        # All input products of both directions at once; only those with the state are left to the scan.
        inputs = []
        for name, order in (("forward", None), ("backward", backwards)):
            gates = nn.Dense(3 * c.width, dtype=self.dtype, kernel_init=init, bias_init=init, name=name)(x)
            inputs.append(gates if order is None else jnp.take_along_axis(gates, order[..., None], axis=1))
        kernel = self.param("state_kernel", init, (2, c.width, 3 * c.width)).astype(self.dtype)
        bias = self.param("state_bias", init, (2, c.width)).astype(self.dtype)[:, None]

        def step(h, gates):
            r, z, n = jnp.split(jnp.einsum("kbd,kde->kbe", h, kernel), 3, axis=-1)
            x_r, x_z, x_n = jnp.split(gates, 3, axis=-1)
            r, z = nn.sigmoid(x_r + r), nn.sigmoid(x_z + z)
            h = (1 - z) * jnp.tanh(x_n + r * (n + bias)) + z * h
            return h, h

        first = jnp.zeros((2, b, c.width), self.dtype)
        _, states = jax.lax.scan(step, first, jnp.stack(inputs).transpose(2, 0, 1, 3))
        ahead, behind = states.transpose(1, 2, 0, 3)
        behind = jnp.take_along_axis(behind, backwards[..., None], axis=1)
        return zero_invalid((ahead + behind) / 2, mask)
