"""The objective of every model: hinge triplet terms 1-2, and AFA's half-margin terms 3-4 on mixed negatives.

AFA: arXiv 2401.09725, section 2.4. CPFEAN and the baselines have terms 1-2 only.
The field `loss.soft_negatives` names the mixed negatives, or what replaces them.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from itm_jax.config.plugins import load
from itm_jax.config.sections import Loss
from itm_jax.losses.negatives import hardest_negative, mixup_negatives
from itm_jax.losses.triplet import triplet_loss
from itm_jax.modules.numerics import at_least_f32


def soft_negatives(
    key: PRNGKeyArray, positives: Float[Array, "b d"], negatives: Float[Array, "b d"], config: Loss
) -> Float[Array, "b d"]:
    """Returns the negatives of terms 3-4: mixed with the positive (`mixup`), or the hardest themselves (`hardest`)."""
    if config.soft_negatives == "hardest":
        return negatives
    mixed = mixup_negatives(key, positives, negatives, tau=config.tau, fold=config.fold, normalize=config.normalize_mix)
    return jax.lax.stop_gradient(mixed) if config.stop_gradient else mixed


def half_margin_terms(
    key: PRNGKeyArray,
    images: Float[Array, "b d"],
    captions: Float[Array, "b d"],
    scores: Float[Array, "b b"],
    excluded: Bool[Array, "b b"],
    config: Loss,
) -> Float[Array, ""]:
    """Returns terms 3 and 4: `[α/2 - s(x,t) + s(x,t̃)]₊ + [α/2 - s(x,t) + s(x̃,t)]₊`, summed over the batch."""
    positive = jnp.diagonal(scores)
    total = jnp.zeros((), scores.dtype)
    directions = ((images, captions, scores, excluded), (captions, images, scores.T, excluded.T))
    for direction_key, (query, gallery, s, out) in zip(jax.random.split(key), directions, strict=True):
        negative = gallery[hardest_negative(s, out)]
        soft = soft_negatives(direction_key, gallery, negative, config)
        cost = config.margin / 2 - positive + jnp.sum(query * soft, axis=1)
        total += jnp.sum(jnp.where(jnp.any(~out, axis=1), jnp.maximum(cost, 0.0), 0.0))
    return total


def matching_loss(
    key: PRNGKeyArray | None,
    scores: Float[Array, "b b"],
    images: Any,
    captions: Any,
    excluded: Bool[Array, "b b"],
    *,
    warmup: Bool[Array, ""],
    config: Loss,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns the objective, in float32, and the same loss where all scores are equal.

    Args:
        key: draws the mixing weights; may be None unless `soft_negatives` is mixup or hardest.
        scores: image i against caption j; the pairs are on the diagonal.
        images: encodings of the images. Terms 3-4 need them as unit vectors [b d].
        captions: encodings of the captions, likewise.
        excluded: True where column j is no negative of row i (`losses.negatives.excluded_pairs`).
        warmup: True in the warm-up epoch, where terms 1-2 sum over all negatives instead of the hardest.
        config: the `loss` section of a completed config. `soft_negatives="hinge"` has the same effect as the authors'
            code, which writes its mixed scores on the diagonal and then masks the diagonal out. Terms 3-4 are therefore
            terms 1-2 once more, with half the margin, in the warm-up too. `function` is a function of the user, called
            as `function(scores, excluded, config=, warmup=)` in place of all terms.

    Returns:
        (loss, plateau). The plateau is the loss of a collapsed model: α for every negative that counts, α/2 for every
        query of terms 3-4 (2·b·α for the hardest triplet alone, 3·b·α with terms 3-4).
    """
    scores = at_least_f32(scores)
    if config.function:
        user_loss = load(config.function, "loss.function")
        return tuple(user_loss(s, excluded, config=config, warmup=warmup) for s in (scores, jnp.ones_like(scores)))
    margins = (config.margin, config.margin / 2) if config.soft_negatives == "hinge" else (config.margin,)

    def hinge_terms(s: Float[Array, "b b"]) -> Float[Array, ""]:
        total = jnp.zeros((), s.dtype)
        for margin in margins:
            total += jnp.where(
                warmup,
                triplet_loss(s, margin=margin, hardest=False, same_image=excluded),
                triplet_loss(s, margin=margin, hardest=True, same_image=excluded),
            )
        return total

    loss, plateau = hinge_terms(scores), hinge_terms(jnp.ones_like(scores))
    if config.soft_negatives in ("mixup", "hardest"):
        assert key is not None
        loss += half_margin_terms(key, at_least_f32(images), at_least_f32(captions), scores, excluded, config)
        queries = jnp.sum(jnp.any(~excluded, axis=1)) + jnp.sum(jnp.any(~excluded, axis=0))
        plateau += config.margin / 2 * queries.astype(plateau.dtype)
    return loss, plateau
