"""Hinge triplet loss with in-batch negatives (VSE++, Faghri et al., BMVC 2018; terms 1-2 of AFA's equation for L)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from itm_jax.modules.numerics import NEG, at_least_f32


def negatives_mask(b: int, same_image: Bool[Array, "b b"] | None = None) -> Bool[Array, "b b"]:
    """Returns True where column j is a negative of row i."""
    diagonal = jnp.eye(b, dtype=bool)
    return ~(diagonal if same_image is None else diagonal | same_image)


def triplet_loss(
    scores: Float[Array, "b b"],
    *,
    margin: float,
    hardest: bool,
    same_image: Bool[Array, "b b"] | None = None,
) -> Float[Array, ""]:
    """Returns the sum of `[margin - s(positive) + s(negative)]₊` over the queries of both directions.

    Args:
        scores: image i against caption j; the positives are on the diagonal.
        margin: α, in units of the score.
        hardest: True counts only the negative with the highest score, False sums over all negatives.
        same_image: True where caption j also belongs to image i. These pairs are not negatives, nor is the diagonal.

    Returns:
        The loss, at least float32. A query without negatives adds 0.

    Examples:
        The first image is 0.1 too close to the second caption: 0.2 - 0.6 + 0.5. So is that caption to it.

        >>> scores = jnp.array([[0.6, 0.5], [0.1, 0.6]])
        >>> round(float(triplet_loss(scores, margin=0.2, hardest=True)), 4)
        0.2
    """
    scores = at_least_f32(scores)
    negative = negatives_mask(scores.shape[0], same_image)
    positive = jnp.diagonal(scores)
    total = jnp.zeros((), scores.dtype)
    for s, ok in ((scores, negative), (scores.T, negative.T)):
        if hardest:
            cost = margin - positive + jnp.max(jnp.where(ok, s, NEG), axis=1)
            total += jnp.sum(jnp.where(jnp.any(ok, axis=1), jnp.maximum(cost, 0.0), 0.0))
        else:
            cost = jnp.maximum(margin - positive[:, None] + s, 0.0)
            total += jnp.sum(jnp.where(ok, cost, 0.0))
    return total
