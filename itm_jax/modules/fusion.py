"""CPFEAN step 4, cross-modal semantic fusion (arXiv 2311.02183, our reading): regions take up words.

In each round a region finds its most relevant word and adds a share of it: `v ← v + g·w`. A gate decides the share g.
With a gate that is one number per region, `V Wᵀ` is all that has to be computed in width d for a pair. The products
with all words, and the norm, follow from the caption's `W Wᵀ`.
"""

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from itm_jax.modules.numerics import EPS, HIGHEST, NEG, at_least_f32, masked_softmax
from itm_jax.structs import AnyArray, Fragments


class RegionGate(NamedTuple):
    """`g = σ(u·v + z·w + c·cos(v, w) + b)`, one number per region, and the power of g in the weights of regions."""

    u: Float[Array, " d"]
    z: Float[Array, " d"]
    c: Float[Array, ""]
    b: Float[Array, ""]
    power: Float[Array, ""] | float = 1.0


class FeatureGate(NamedTuple):
    """`g = σ(v U + w Z + c·cos(v, w) + b)`, one number per region and dimension; the power is of their sum."""

    u: Float[Array, "d d"]
    z: Float[Array, "d d"]
    c: Float[Array, " d"]
    b: Float[Array, " d"]
    power: Float[Array, ""] | float = 1.0


@flax.struct.dataclass
class Fused:
    """The result of fusion for all pairs of images and captions.

    Attributes:
        products: products of the fused regions with the words.
        square: squared norm of the fused regions.
        gate: gate of the first round, of a feature gate the mean over the dimensions. It is 1 without fusion, and 0 for
            invalid regions.
        relevance: the weight of a region, `g_i^p / Σ_i g_i^p` with the power p of the gate, 0 for invalid regions. It
            is computed from logarithms, so that it does not depend on how small all gates are.
        chosen: index of the word that a region took in the first round.
        gram: products of the fused regions of an image with each other, or None where not asked for.
    """

    products: Float[Array, "i r t l"]
    square: Float[Array, "i r t"]
    gate: Float[Array, "i r t"]
    relevance: Float[Array, "i r t"]
    chosen: Int[Array, "i r t"]
    gram: Float[Array, "i r s t"] | None = None

    @property
    def cosines(self) -> Float[Array, "i r t l"]:
        """Cosines of the fused regions with the words."""
        return self.products * jax.lax.rsqrt(self.square + EPS**2)[..., None]


def most_relevant(cosines: Float[Array, "i r t l"], words: Bool[AnyArray, "t l"]) -> Int[Array, "i r t"]:
    """Returns the index of the valid word with the largest cosine (ties: the lowest; 0 for a caption without words)."""
    masked = jnp.where(words[None, None], jax.lax.stop_gradient(cosines), jnp.asarray(NEG, cosines.dtype))
    return jnp.argmax(masked, axis=-1)


def fuse(images: Fragments, captions: Fragments, gate: RegionGate | None, *, rounds: int, gram: bool = False) -> Fused:
    """Fuses all pairs of a block of images and captions, with one gate per region. Without rounds nothing is fused.

    Args:
        images: unit vectors of regions, [i r d].
        captions: unit vectors of words, [t l d].
        gate: parameters of the gate; None without rounds.
        rounds: number of rounds, K. All rounds share the parameters.
        gram: whether to compute the fused regions' products with each other.

    Returns:
        The fusion in float32, or in float64 for float64 input. A pair costs one r x l x d product and O(K·r·l) more.
    """
    v, w = at_least_f32(images.rows), at_least_f32(captions.rows)
    products = jnp.einsum("ird,tld->irtl", v, w, precision=HIGHEST)
    among_words = jnp.einsum("tld,tmd->tlm", w, w, precision=HIGHEST)
    square = jnp.broadcast_to(jnp.sum(v * v, axis=-1)[:, :, None], products.shape[:3])
    valid = jnp.asarray(images.mask)[:, :, None] & jnp.any(captions.mask, axis=1)[None, None]
    caption = jnp.arange(len(w))[None, None]
    openings = [jnp.zeros(products.shape[:3], products.dtype)]  # without fusion all valid regions are as relevant
    steps: list[tuple[Array, Array]] = []
    if rounds:
        assert gate is not None
        logit = jnp.broadcast_to(jnp.matmul(v, gate.u, precision=HIGHEST)[:, :, None], square.shape)
        z_words, u_words = (jnp.matmul(w, x, precision=HIGHEST) for x in (gate.z, gate.u))
        word_square = jnp.sum(w * w, axis=-1)
        for _ in range(rounds):
            scale = jax.lax.rsqrt(square + EPS**2)
            # a region has one scale, so its largest product is its largest cosine
            chosen = most_relevant(products, captions.mask)
            product = jnp.take_along_axis(products, chosen[..., None], axis=-1)[..., 0]
            opening = logit + z_words[caption, chosen] + gate.c * (product * scale) + gate.b
            g = jnp.where(valid, jax.nn.sigmoid(opening), jnp.zeros((), opening.dtype))
            openings.append(opening)
            steps.append((g, chosen))
            products += g[..., None] * among_words[caption, chosen]
            square = jnp.maximum(square + g * (2 * product + g * word_square[caption, chosen]), 0.0)
            logit += g * u_words[caption, chosen]
    first = steps[0] if steps else (valid.astype(products.dtype), most_relevant(products, captions.mask))
    power = gate.power if gate is not None and steps else 1.0
    relevance = masked_softmax(power * jax.nn.log_sigmoid(openings[1 if steps else 0]), valid, axis=1)
    pairs = _gram(v, w, steps, among_words) if gram else None
    return Fused(products, square, first[0], relevance, first[1], pairs)


def _gram(v, w, steps, among_words) -> Float[Array, "i r s t"]:
    """Returns `(V + C W)(V + C W)ᵀ` of every pair, from V Vᵀ, V Wᵀ and W Wᵀ.

    C says how much of each word a region took up.
    """
    regions = jnp.einsum("ird,isd->irs", v, v, precision=HIGHEST)[..., None]
    if not steps:
        return jnp.broadcast_to(regions, (*regions.shape[:3], w.shape[0]))
    taken = sum(g[..., None] * jax.nn.one_hot(chosen, w.shape[1], dtype=v.dtype) for g, chosen in steps)
    cross = jnp.einsum("irtl,isd,tld->irst", taken, v, w, precision=HIGHEST, optimize=[(1, 2), (0, 1)])
    words = jnp.einsum("irtl,tlm,istm->irst", taken, among_words, taken, precision=HIGHEST)
    return regions + cross + jnp.swapaxes(cross, 1, 2) + words


def fuse_features(
    images: Fragments, captions: Fragments, gate: FeatureGate, *, rounds: int, gram: bool = False
) -> Fused:
    """Does the same as `fuse`, with one gate per dimension and at least one round.

    This has no factored form: every pair holds its r x d fused regions. Captions are processed one after the other and
    computed again for the gradient. Images may be split over devices. A pair is expensive: it costs K·r·d² FLOPs and
    r·d numbers of memory.
    """
    v = at_least_f32(images.rows)

    def one_caption(item):
        w, words, z_words = item
        fused, first = v, None
        valid = images.mask & jnp.any(words)
        for _ in range(rounds):
            cosines = jnp.einsum("ird,ld->irl", fused, w, precision=HIGHEST)
            cosines *= jax.lax.rsqrt(jnp.sum(fused * fused, axis=-1) + EPS**2)[..., None]
            chosen = most_relevant(cosines[:, :, None], words[None])[:, :, 0]
            cosine = jnp.take_along_axis(cosines, chosen[..., None], axis=-1)
            logit = jnp.einsum("ird,de->ire", fused, gate.u, precision=HIGHEST) + z_words[chosen]
            logit += gate.c[None, None] * cosine + gate.b[None, None]
            g = jnp.where(valid[..., None], jax.nn.sigmoid(logit), jnp.zeros((), v.dtype))
            if first is None:
                log_of_sum = jax.nn.logsumexp(jax.nn.log_sigmoid(logit), axis=-1)
                first = (jnp.mean(g, axis=-1), masked_softmax(gate.power * log_of_sum, valid, axis=1), chosen)
            fused += g * w[chosen]
        assert first is not None
        products = jnp.einsum("ird,ld->irl", fused, w, precision=HIGHEST)
        pairs = jnp.einsum("ird,isd->irs", fused, fused, precision=HIGHEST) if gram else None
        return products, jnp.sum(fused * fused, axis=-1), *first, pairs

    w = at_least_f32(captions.rows)
    z_words = jnp.einsum("tld,de->tle", w, gate.z, precision=HIGHEST)
    products, *rest = jax.lax.map(jax.checkpoint(one_caption), (w, captions.mask, z_words))
    to_pairs = lambda x: jnp.moveaxis(x, 0, -1)  # noqa: E731
    return Fused(jnp.moveaxis(products, 0, 2), *jax.tree.map(to_pairs, rest))
