"""Which in-batch items are negatives, and AFA's mixed negatives (paper section 2.4)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from itm_jax.modules.numerics import NEG, l2_normalize
from itm_jax.structs import AnyArray


def excluded_pairs(image: Int[AnyArray, " b"], *, same_image: str, num_negatives: int) -> Bool[Array, "b b"]:
    """Returns True where column j is no negative of row i.

    Args:
        image: index of the image of each pair.
        same_image: "mask" excludes all captions of the query's image, "keep" only its own pair.
        num_negatives: with m > 0, an image has as negatives only the m captions after it in the batch, and a caption
            only the m images before it; the batch is a circle. The subset is random, as batches are shuffled. 0: all.

    Examples:
        The first two pairs have the same image, so neither caption is a negative of the other's image.

        >>> image = jnp.array([7, 7, 4])
        >>> excluded_pairs(image, same_image="mask", num_negatives=0).tolist()
        [[True, True, False], [True, True, False], [False, False, True]]
    """
    if same_image not in ("mask", "keep"):
        raise ValueError(f"same_image={same_image!r}: must be mask or keep")
    b = image.shape[0]
    out = jnp.eye(b, dtype=bool)
    if same_image == "mask":
        out |= image[:, None] == image[None, :]
    if num_negatives:
        ahead = (jnp.arange(b)[None, :] - jnp.arange(b)[:, None]) % b
        out |= ahead > num_negatives
    return out


def hardest_negative(scores: Float[Array, "q g"], excluded: Bool[Array, "q g"]) -> Int[Array, " q"]:
    """Returns, for each row, the index of the highest-scored item that is not excluded (ties: the lowest)."""
    return jnp.argmax(jnp.where(excluded, jnp.asarray(NEG, scores.dtype), scores), axis=1)


def mixup_negatives(
    key: PRNGKeyArray,
    positives: Float[Array, "b d"],
    negatives: Float[Array, "b d"],
    *,
    tau: float,
    fold: bool = True,
    normalize: bool = False,
) -> Float[Array, "b d"]:
    """Returns `λ·positive + (1-λ)·negative` with λ ~ Beta(τ, τ) for each example.

    A query's score with it is `λ·s⁺ + (1-λ)·s⁻`, as in the authors' code, which mixes the scores.

    Args:
        key: draws λ.
        positives: embeddings of the matching items.
        negatives: embeddings of their negatives.
        tau: both parameters of the Beta distribution; 1 is uniform.
        fold: whether to take min(λ, 1-λ), so that the negative keeps the larger weight.
        normalize: whether to give the mixture unit norm again. Its score is then larger, about 0.7·(s⁺ + s⁻) for two
            vectors at a right angle, so that terms 3-4 ask for more than terms 1-2.

    Returns:
        Mixed embeddings. The gradient flows to the positives and to the negatives.
    """
    weight = jax.random.beta(key, tau, tau, (positives.shape[0], 1), dtype=jnp.float32)
    if fold:
        weight = jnp.minimum(weight, 1 - weight)
    weight = weight.astype(positives.dtype)
    mixed = weight * positives + (1 - weight) * negatives
    return l2_normalize(mixed) if normalize else mixed
