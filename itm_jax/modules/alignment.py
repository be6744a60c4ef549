"""Scores of pairs from their fragments.

The scores are CPFEAN step 5, prominent-fragment alignment (arXiv 2311.02183, our reading), the cross-attention of SCAN
(Lee et al., ECCV 2018), and plain late interaction (ColBERT, Khattab and Zaharia, SIGIR 2020). All pairs of a block of
images and captions are scored at once; [i r t l] means regions of images by words of captions.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from itm_jax.modules.fusion import Fused
from itm_jax.modules.numerics import EPS, HIGHEST, NEG, l2_normalize, masked_softmax, zero_invalid
from itm_jax.structs import AnyArray, Fragments

_SQUARED_NORM = {("t2i", 3): "irtl,irs,istl->itl", ("t2i", 4): "irtl,irst,istl->itl", ("i2t", 3): "irtl,tlm,irtm->irt"}
# How many products of regions and words a device holds at a time. On a CPU, its caches hold so many.
BLOCK = {"cpu": 1 << 20}
BLOCK_ELSEWHERE = 1 << 26


def masked_max(x: Array, mask: AnyArray, axis: int) -> Array:
    """Maximum over the valid entries, 0 where there are none."""
    top = jnp.max(jnp.where(mask, x, jnp.asarray(NEG, x.dtype)), axis=axis)
    return jnp.where(jnp.any(mask, axis=axis), top, jnp.zeros((), x.dtype))


def share_of_regions(fused: Fused, words: Bool[AnyArray, "t l"]) -> Float[Array, "i t l"]:
    """Returns the share p of the relevant regions that name each word, `p_j = Σ_i g_i [j*(i) = j] / Σ_i g_i`.

    It is uniform for an image without regions, and 0 for invalid words.
    """
    relevance = fused.relevance
    i, _, t = relevance.shape
    at = (jnp.arange(i)[:, None, None], jnp.arange(t)[None, None], fused.chosen)
    p = jnp.zeros((i, t, words.shape[1]), relevance.dtype).at[at].add(relevance)
    count = jnp.maximum(jnp.sum(words, axis=1), 1).astype(p.dtype)[None, :, None]
    p = jnp.where(jnp.any(relevance > 0, axis=1)[..., None], p, 1 / count)
    return jnp.where(words[None], p, jnp.zeros((), p.dtype))


def prominence(fused: Fused, words: Bool[AnyArray, "t l"], *, beta: float) -> Float[Array, "i t l"]:
    """Returns the weight π of each word, 0 where invalid. Words that many relevant regions choose weigh more.

    `π_j = (1 + β n p_j) / (n (1 + β))`, where p is the share of the relevant regions that name the word.
    """
    p = share_of_regions(fused, words)
    count = jnp.maximum(jnp.sum(words, axis=1), 1).astype(p.dtype)[None, :, None]
    return jnp.where(words[None], (1 + beta * count * p) / (count * (1 + beta)), jnp.zeros((), p.dtype))


def weigh(weights: Float[Array, "i t l"], prior: Float[AnyArray, "t l"], gamma: float) -> Float[Array, "i t l"]:
    """Returns `π ρ^γ`, scaled to the sum of π."""
    relative = prior / jnp.maximum(jnp.max(prior, axis=-1, keepdims=True), EPS)  # small numbers to a power would vanish
    weighed = weights * (relative**gamma)[None]
    total = jnp.sum(weights, axis=-1, keepdims=True)
    return weighed * total / (jnp.sum(weighed, axis=-1, keepdims=True) + EPS)


def word_weights(fused: Fused, captions: Fragments, *, beta: float, gamma: float) -> Float[Array, "i t l"]:
    """Returns the weight of each word in the words' side of the score: π, and with γ > 0 the corpus prior on it."""
    weights = prominence(fused, captions.mask, beta=beta)
    if not gamma:
        return weights
    assert captions.weight is not None
    prior = jnp.where(captions.mask, captions.weight, jnp.zeros((), captions.weight.dtype))
    return weigh(weights, prior.astype(weights.dtype), gamma)


def prominent_alignment(
    fused: Fused, regions: Bool[AnyArray, "i r"], captions: Fragments, *, beta: float, gamma: float, sides: str
) -> Float[Array, "i t"]:
    """Returns `½ (Σ_j π_j max_i s_ij + Σ_i g_i max_j s_ij / Σ_i g_i)`, or one side of it.

    Args:
        fused: the fusion of all pairs.
        regions: mask of the valid regions.
        captions: mask of the valid words and, for γ > 0, the words' prior weights ρ.
        beta: how much prominence counts; 0 weighs all words alike.
        gamma: exponent of the corpus prior.
        sides: both, words or regions.
    """
    cosines, score = fused.cosines, jnp.zeros((), fused.gate.dtype)
    if sides in ("both", "words"):
        weights = word_weights(fused, captions, beta=beta, gamma=gamma)
        score += jnp.sum(weights * masked_max(cosines, regions[:, :, None, None], axis=1), axis=-1)
    if sides in ("both", "regions"):
        best = masked_max(cosines, captions.mask[None, None], axis=-1)
        score += jnp.sum(fused.relevance * best, axis=1)
    return score / 2 if sides == "both" else score


def late_interaction(fused: Fused, regions: Bool[AnyArray, "i r"], words: Bool[AnyArray, "t l"]) -> Float[Array, "i t"]:
    """Returns the mean, over the words, of the cosine with the best region."""
    best = masked_max(fused.cosines, regions[:, :, None, None], axis=1)
    count = jnp.maximum(jnp.sum(words, axis=1), 1).astype(best.dtype)
    return jnp.sum(jnp.where(words[None], best, jnp.zeros((), best.dtype)), axis=-1) / count[None]


def global_score(images: Fragments, captions: Fragments) -> Float[Array, "i t"]:
    """Returns the cosine of the mean region and the mean word of every pair, 0 where an item has nothing valid.

    It stands for what no single word and region say. The paper does not have it.
    """
    mean = lambda x: l2_normalize(jnp.sum(zero_invalid(x.rows, x.mask), axis=1))  # noqa: E731
    return jnp.matmul(mean(images), mean(captions).T, precision=HIGHEST)


def cross_attention(
    products: Float[Array, "i r t l"],
    gram: Float[Array, "..."],
    regions: Bool[AnyArray, "i r"],
    words: Bool[AnyArray, "t l"],
    *,
    direction: str,
    temperature: float,
) -> Float[Array, "i t"]:
    """Returns SCAN's score: the mean of the query fragments' cosines with what they attend to on the other side.

    The attended vector is never formed: its product with the query and its norm follow from `products` and `gram`.

    Args:
        products: regions times words.
        gram: products of the attended side's fragments with each other: for `t2i` of the regions, [i r s] or, where
            they depend on the caption, [i r s t]; for `i2t` of the words, [t l m].
        regions: mask of the valid regions.
        words: mask of the valid words.
        direction: t2i: words attend to regions; i2t: regions attend to words.
        temperature: λ₁ of the softmax over the attended side.

    Returns:
        The scores, provided that the query fragments are unit vectors.
    """
    valid = regions[:, :, None, None] & words[None, None]
    to_regions = direction == "t2i"
    query_axis, other = (3, 1) if to_regions else (1, 3)
    positive = jnp.where(valid, jax.nn.relu(products), jnp.zeros((), products.dtype))
    positive *= jax.lax.rsqrt(jnp.sum(positive**2, axis=query_axis, keepdims=True) + EPS**2)
    weights = masked_softmax(temperature * positive, valid, axis=other)
    product = jnp.sum(weights * products, axis=other)
    square = jnp.einsum(_SQUARED_NORM[direction, gram.ndim], weights, gram, weights, precision=HIGHEST)
    cosines = product * jax.lax.rsqrt(jnp.maximum(square, 0.0) + EPS**2)
    queries = words[None] if to_regions else regions[:, :, None]
    axis = 2 if to_regions else 1
    count = jnp.maximum(jnp.sum(queries, axis=axis), 1).astype(cosines.dtype)
    return jnp.sum(jnp.where(queries, cosines, jnp.zeros((), cosines.dtype)), axis=axis) / count


def block_size() -> int:
    """Returns how many products of regions and words are held at a time, where images may be split over all devices."""
    return BLOCK.get(jax.default_backend(), BLOCK_ELSEWHERE) * jax.device_count()


def over_captions(
    score: Callable[[Fragments, Fragments], Float[Array, "i c"]],
    images: Fragments,
    captions: Fragments,
    *,
    block: int | None = None,
) -> Float[Array, "i t"]:
    """Applies `score` to blocks of captions, to hold at most about `block` products of regions and words at a time.

    Blocks are computed again for the gradient. Images are not cut, so they may be split over devices.
    """
    i, r = images.mask.shape
    t, length = captions.mask.shape
    size = max(1, (block_size() if block is None else block) // (i * r * length))
    if size >= t:
        return score(images, captions)
    blocks = -(-t // size)
    rows = np.minimum(np.arange(blocks * size), t - 1)  # the last block repeats the last caption
    cut = jax.tree.map(lambda x: x[rows].reshape(blocks, size, *x.shape[1:]), captions)
    scores = jax.lax.map(jax.checkpoint(functools.partial(score, images)), cut)
    return jnp.moveaxis(scores, 0, 1).reshape(i, blocks * size)[:, :t]
