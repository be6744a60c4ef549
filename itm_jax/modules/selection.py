"""AFA step 3, feature selection (paper section 2.3): one vector from an item's rows, by maximum, mean or GPO."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from itm_jax.modules.numerics import NEG, masked_softmax, zero_invalid


def select_max(rows: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b d"]:
    """Returns the maximum over the valid rows in each dimension; 0 for an item without valid rows.

    Examples:
        >>> rows = jnp.array([[[1.0, -3.0], [2.0, -4.0], [9.0, 9.0]]])
        >>> select_max(rows, jnp.array([[True, True, False]])).tolist()
        [[2.0, -3.0]]
    """
    top = jnp.max(jnp.where(mask[..., None], rows, jnp.asarray(NEG, rows.dtype)), axis=1)
    return jnp.where(jnp.any(mask, axis=1)[:, None], top, jnp.zeros((), rows.dtype))


def select_mean(rows: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b d"]:
    """Returns the mean over the valid rows; 0 for an item without valid rows."""
    count = jnp.maximum(jnp.sum(mask, axis=1), 1).astype(rows.dtype)
    return jnp.sum(zero_invalid(rows, mask), axis=1) / count[:, None]


def position_code(n: int, width: int) -> np.ndarray:
    """Returns the sinusoidal code of the positions 0..n-1, [n, width] float32."""
    angle = np.arange(n)[:, None] * np.exp(np.arange(0, width, 2) * (-np.log(10000.0) / width))
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(n, width).astype(np.float32)


class GPO(nn.Module):
    """Generalized pooling operator (VSE∞, Chen et al., CVPR 2021, section 3.2).

    A small BiGRU reads the codes of the positions 0..v-1 and gives each position a weight. In each dimension the values
    are sorted from the largest to the smallest, and averaged with those weights.
    """

    code_width: int = 32
    hidden: int = 32

    @nn.compact
    def __call__(self, rows: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b d"]:
        """Returns the pooled vectors; 0 for an item without valid rows."""
        b, n, _ = rows.shape
        count = jnp.sum(mask, axis=1)
        code = jnp.broadcast_to(jnp.asarray(position_code(n, self.code_width))[None], (b, n, self.code_width))
        forward, backward = nn.RNN(nn.GRUCell(self.hidden)), nn.RNN(nn.GRUCell(self.hidden))
        states = nn.Bidirectional(forward, backward, merge_fn=lambda x, y: (x + y) / 2)(code, seq_lengths=count)
        logits = nn.Dense(1, use_bias=False, name="weight")(states)[..., 0]
        valid = jnp.arange(n)[None, :] < count[:, None]
        weights = masked_softmax(logits / 0.1, valid, axis=1)
        ranked = -jnp.sort(-jnp.where(mask[..., None], rows, jnp.asarray(NEG, rows.dtype)), axis=1)
        return jnp.sum(zero_invalid(ranked, valid) * weights[..., None].astype(rows.dtype), axis=1)
