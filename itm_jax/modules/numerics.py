"""Small numeric helpers that every module shares."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

NEG = -1e9  # stands for minus infinity in float32 scores
EPS = 1e-6
HIGHEST = jax.lax.Precision.HIGHEST  # for products that decide ranks: never in reduced precision


def l2_normalize(x: Float[Array, "... d"], eps: float = EPS) -> Float[Array, "... d"]:
    """`x / sqrt(sum(x²) + eps²)` over the last axis: 0 stays 0 and its gradient is finite."""
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + eps * eps)


def at_least_f32(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """In float32, or float64 where it is that already: for what bfloat16 must not decide."""
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def zero_invalid(rows: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b n d"]:
    """Rows with the invalid ones set to 0."""
    return jnp.where(mask[..., None], rows, jnp.zeros((), rows.dtype))


def take_rows(rows: Float[Array, "b n d"], index: Array) -> Float[Array, "b m d"]:
    """`rows[b, index[b, m]]`."""
    return jnp.take_along_axis(rows, index[..., None], axis=1)
