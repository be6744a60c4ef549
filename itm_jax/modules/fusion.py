"""CPFEAN step 4, cross-modal semantic fusion (arXiv 2311.02183, our reading): regions take up their words.

In each round a region finds its most relevant word and takes a share of it that a gate decides: `v ← v + g·w`. With a
gate that is one number per region, nothing of width d is computed for a pair but `V Wᵀ`: products with all words and
the norm follow from `W Wᵀ` of the caption.
"""

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from itm_jax.modules.numerics import EPS, HIGHEST, NEG, at_least_f32
from itm_jax.structs import AnyArray, Fragments


class RegionGate(NamedTuple):
    """`g = σ(u·v + z·w + c·cos(v, w) + b)`, one number per region."""

    u: Float[Array, " d"]
    z: Float[Array, " d"]
    c: Float[Array, ""]
    b: Float[Array, ""]


class FeatureGate(NamedTuple):
    """`g = σ(v U + w Z + c·cos(v, w) + b)`, one number per region and dimension."""

    u: Float[Array, "d d"]
    z: Float[Array, "d d"]
    c: Float[Array, " d"]
    b: Float[Array, " d"]


@flax.struct.dataclass
class Fused:
    """What fusion leaves of all pairs of images and captions.

    Attributes:
        products: fused regions times words.
        square: squared norm of the fused regions.
        gate: of the first round; for a feature gate its mean over the dimensions; 1 without fusion, 0 for invalid regions.
        chosen: index of the word that a region took in the first round.
        gram: products of the fused regions of an image with each other, where asked for.
    """

    products: Float[Array, "i r t l"]
    square: Float[Array, "i r t"]
    gate: Float[Array, "i r t"]
    chosen: Int[Array, "i r t"]
    gram: Float[Array, "i r s t"] | None = None

    @property
    def cosines(self) -> Float[Array, "i r t l"]:
        """Of the fused regions with the words."""
        return self.products * jax.lax.rsqrt(self.square + EPS**2)[..., None]


def most_relevant(cosines: Float[Array, "i r t l"], words: Bool[AnyArray, "t l"]) -> Int[Array, "i r t"]:
    """Index of the valid word with the largest cosine (ties: the lowest; 0 for a caption without words)."""
    masked = jnp.where(words[None, None], jax.lax.stop_gradient(cosines), jnp.asarray(NEG, cosines.dtype))
    return jnp.argmax(masked, axis=-1)


def fuse(images: Fragments, captions: Fragments, gate: RegionGate | None, *, rounds: int, gram: bool = False) -> Fused:
    """All pairs of a block of images and captions, gated region by region; without rounds nothing is fused.

    Args:
        images: unit vectors of regions, [i r d].
        captions: unit vectors of words, [t l d].
        gate: its parameters; None without rounds.
        rounds: K; the parameters are shared between the rounds.
        gram: whether the fused regions' products with each other are wanted.

    Returns:
        float32 (float64 where given so). A pair costs one r x l x d product and O(K·r·l) more.
    """
    v, w = at_least_f32(images.rows), at_least_f32(captions.rows)
    products = jnp.einsum("ird,tld->irtl", v, w, precision=HIGHEST)
    among_words = jnp.einsum("tld,tmd->tlm", w, w, precision=HIGHEST)
    square = jnp.broadcast_to(jnp.sum(v * v, axis=-1)[:, :, None], products.shape[:3])
    valid = images.mask[:, :, None] & jnp.any(captions.mask, axis=1)[None, None]
    caption = jnp.arange(len(w))[None, None]
    steps = []
    if rounds:
        logit = jnp.broadcast_to(jnp.matmul(v, gate.u, precision=HIGHEST)[:, :, None], square.shape)
        z_words, u_words = (jnp.matmul(w, x, precision=HIGHEST) for x in (gate.z, gate.u))
        own = jnp.sum(w * w, axis=-1)
    for _ in range(rounds):
        scale = jax.lax.rsqrt(square + EPS**2)
        # one scale per region: the largest product is the largest cosine
        chosen = most_relevant(products, captions.mask)
        product = jnp.take_along_axis(products, chosen[..., None], axis=-1)[..., 0]
        g = jax.nn.sigmoid(logit + z_words[caption, chosen] + gate.c * (product * scale) + gate.b)
        g = jnp.where(valid, g, jnp.zeros((), g.dtype))
        steps.append((g, chosen))
        products += g[..., None] * among_words[caption, chosen]
        square = jnp.maximum(square + g * (2 * product + g * own[caption, chosen]), 0.0)
        logit += g * u_words[caption, chosen]
    first = steps[0] if steps else (valid.astype(products.dtype), most_relevant(products, captions.mask))
    pairs = _gram(v, w, steps, among_words) if gram else None
    return Fused(products, square, *first, pairs)


def _gram(v, w, steps, among_words) -> Float[Array, "i r s t"]:
    """`(V + C W)(V + C W)ᵀ` of every pair, from V Vᵀ, V Wᵀ and W Wᵀ; C says how much of each word a region took up."""
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
    """As `fuse` with a gate per dimension, which has no factored form: every pair holds its r x d fused regions.

    Captions are gone through one after the other and computed again for the gradient; images may be split over devices.
    Expensive: K·r·d² FLOPs and r·d numbers of memory for each pair.
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
            first = (jnp.mean(g, axis=-1), chosen) if first is None else first
            fused += g * w[chosen]
        products = jnp.einsum("ird,ld->irl", fused, w, precision=HIGHEST)
        pairs = jnp.einsum("ird,isd->irs", fused, fused, precision=HIGHEST) if gram else None
        return products, jnp.sum(fused * fused, axis=-1), *first, pairs

    w = at_least_f32(captions.rows)
    z_words = jnp.einsum("tld,de->tle", w, gate.z, precision=HIGHEST)
    products, *rest = jax.lax.map(jax.checkpoint(one_caption), (w, captions.mask, z_words))
    to_pairs = lambda x: jnp.moveaxis(x, 0, -1)  # noqa: E731
    return Fused(jnp.moveaxis(products, 0, 2), *jax.tree.map(to_pairs, rest))
