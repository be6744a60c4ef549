"""Small numeric helpers that every module shares."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from itm_jax.structs import AnyArray

NEG = -1e9  # stands for minus infinity in float32 scores
EPS = 1e-6
HIGHEST = jax.lax.Precision.HIGHEST  # for products that decide ranks: never in reduced precision


def l2_normalize(x: Float[Array, "... d"], eps: float = EPS) -> Float[Array, "... d"]:
    """Returns `x / sqrt(sum(x²) + eps²)` over the last axis: 0 stays 0 and its gradient is finite."""
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + eps * eps)


def at_least_f32(x: Float[AnyArray, "..."]) -> Float[Array, "..."]:
    """Returns x in float32, or in float64 where it is so already: for results that bfloat16 must not decide."""
    x = jnp.asarray(x)
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def zero_invalid(rows: Float[Array, "b n d"], mask: Bool[AnyArray, "b n"]) -> Float[Array, "b n d"]:
    """Returns the rows, with invalid rows set to 0."""
    return jnp.where(mask[..., None], rows, jnp.zeros((), rows.dtype))


def masked_softmax(logits: Float[Array, "..."], mask: Bool[AnyArray, "..."], axis: int) -> Float[Array, "..."]:
    """Returns the softmax over the valid entries, 0 elsewhere, and 0 everywhere where no entry is valid."""
    weights = jax.nn.softmax(jnp.where(mask, logits, jnp.asarray(NEG, logits.dtype)), axis=axis)
    return jnp.where(mask, weights, jnp.zeros((), weights.dtype))


def take_rows(rows: Float[Array, "b n d"], index: Array) -> Float[Array, "b m d"]:
    """Returns `rows[b, index[b, m]]`."""
    return jnp.take_along_axis(rows, index[..., None], axis=1)
