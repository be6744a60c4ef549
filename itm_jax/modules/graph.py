"""CPFEAN steps 2 and 3: the region graph (visual Transformer) and the word graph (GCN), arXiv 2311.02183."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from itm_jax.modules.boxes import area, intersection
from itm_jax.modules.dropout import Dropout
from itm_jax.modules.numerics import EPS, NEG, zero_invalid
from itm_jax.structs import AnyArray, Regions


class VisualLayer(nn.Module):
    """A pre-norm Transformer layer in which a region attends to its neighbours only.

    It starts as the identity: both output kernels are 0. With random kernels, training began from randomly mixed
    regions, which cost 13 points of dev rSum on a small data set (docs/measured.md).
    """

    heads: int
    dropout: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b r d"], near: Bool[AnyArray, "b r s"], *, train: bool
    ) -> Float[Array, "b r d"]:
        """Returns the regions after attention and a feed-forward part, each added to its input."""
        d = x.shape[-1]
        norm = lambda name: nn.LayerNorm(dtype=self.dtype, name=name)  # noqa: E731
        y = norm("attention_norm")(x)
        q, k, v = (
            nn.DenseGeneral((self.heads, d // self.heads), dtype=self.dtype, name=name)(y)
            for name in ("query", "key", "value")
        )
        logits = jnp.einsum("brhd,bshd->bhrs", q, k).astype(jnp.float32) * (d // self.heads) ** -0.5
        weights = jax.nn.softmax(jnp.where(near[:, None], logits, NEG), axis=-1).astype(self.dtype)
        values = jnp.einsum("bhrs,bshd->brhd", weights, v)
        y = nn.DenseGeneral(d, axis=(-2, -1), dtype=self.dtype, kernel_init=nn.initializers.zeros, name="output")(
            values
        )
        x += Dropout(self.dropout)(y, train=train)
        y = nn.Dense(2 * d, dtype=self.dtype, name="feed_in")(norm("feed_norm")(x))
        y = nn.Dense(d, dtype=self.dtype, kernel_init=nn.initializers.zeros, name="feed_out")(nn.gelu(y))
        return x + Dropout(self.dropout)(y, train=train)


class VisualTransformer(nn.Module):
    """A stack of `layers` pre-norm layers over the graph of neighbouring regions."""

    layers: int
    heads: int
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b r d"], near: Bool[AnyArray, "b r s"], *, train: bool
    ) -> Float[Array, "b r d"]:
        """Returns the regions. `near` is True where region r may attend to s; `train` needs the rng `dropout`."""
        for i in range(self.layers):
            x = VisualLayer(self.heads, self.dropout, self.dtype, name=f"layer_{i}")(x, near, train=train)
        return x


def whole_words(
    pieces: Float[Array, "b l d"], word_ids: Int[AnyArray, "b l"], mask: Bool[AnyArray, "b l"]
) -> tuple[Float[Array, "b l d"], Bool[Array, "b l"]]:
    """Returns the mean of each whitespace word's pieces, and the mask of the words that have pieces.

    Word w is in row w, also where other words are deleted.
    """
    belongs = (word_ids[:, None, :] == jnp.arange(word_ids.shape[1])[None, :, None]) & mask[:, None, :]
    share = belongs.astype(pieces.dtype) / jnp.maximum(jnp.sum(belongs, axis=2, keepdims=True), 1).astype(pieces.dtype)
    return jnp.einsum("bwl,bld->bwd", share, pieces), jnp.any(belongs, axis=2)


def dependency_graph(
    edges: Int[AnyArray, "b k 2"], words: Bool[AnyArray, "b l"], dtype=jnp.float32
) -> Float[Array, "b l m"]:
    """Returns `D^-½ (A + Aᵀ + I) D^-½` over the valid words; A is 1 at [head, dependent]."""
    n = words.shape[1]
    head, dependent = (jax.nn.one_hot(edges[..., k], n, dtype=dtype) for k in (0, 1))  # -1 and cut words: all 0
    a = jnp.minimum(jnp.einsum("bkl,bkm->blm", head, dependent), 1.0)
    a = a + jnp.swapaxes(a, 1, 2) + jnp.eye(n, dtype=dtype)[None]
    a = jnp.where(words[:, :, None] & words[:, None, :], a, jnp.zeros((), dtype))
    degree = jnp.sum(a, axis=2)
    scale = jnp.where(degree > 0, jax.lax.rsqrt(jnp.maximum(degree, 1.0)), jnp.zeros((), dtype))
    return a * scale[:, :, None] * scale[:, None, :]


class WordGCN(nn.Module):
    """Applies `H ← H + ReLU(Â H W)` `layers` times; without the activation `H ← H + Â H W`.

    It starts near the identity: the standard deviation of W is `scale` times the usual one (LeCun's). At first the
    dense Â mixes all words of a caption alike, so that a W of the usual size makes them similar (docs/cpfean.md).

    Â is the given graph (sparse). Where no graph is given, Â is `softmax((H W_q)(H W_k)ᵀ / √d)` over the valid words
    (dense: fully connected).
    """

    layers: int
    scale: float = 0.1
    activation: Literal["relu", "none"] = "relu"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, h: Float[Array, "b l d"], words: Bool[AnyArray, "b l"], graph: Float[Array, "b l m"] | None = None
    ) -> Float[Array, "b l d"]:
        """Returns the words, 0 where invalid."""
        d = h.shape[-1]
        h = zero_invalid(h, words)
        for i in range(self.layers):

            def dense(name: str, scale: float = 1.0, i: int = i) -> nn.Dense:
                start = nn.initializers.variance_scaling(scale**2, "fan_in", "truncated_normal")
                return nn.Dense(d, use_bias=False, dtype=self.dtype, kernel_init=start, name=f"{name}_{i}")

            if graph is None:
                logits = jnp.einsum("bld,bmd->blm", dense("query")(h), dense("key")(h)).astype(jnp.float32) * d**-0.5
                weights = jax.nn.softmax(jnp.where(words[:, None], logits, NEG), axis=-1)
            else:
                weights = graph
            mixed = jnp.einsum("blm,bmd->bld", weights.astype(self.dtype), h)
            change = dense("weight", self.scale)(mixed)
            h = zero_invalid(h + (nn.relu(change) if self.activation == "relu" else change), words)
        return h


def iou(boxes: Float[AnyArray, "b r 4"]) -> Float[AnyArray, "b r s"]:
    """Intersection over union of every two boxes of an image; 0 for two boxes without area."""
    inside, size = intersection(boxes[:, :, None], boxes[:, None]), area(boxes)
    return inside / (size[:, :, None] + size[:, None, :] - inside + EPS)


def neighbours(regions: Regions, threshold: float | None) -> Bool[AnyArray, "b r s"]:
    """Returns True where region r may attend to region s: their IoU is above the threshold, or they are the same.

    Invalid regions never take part. With `threshold=None`, or without boxes, all pairs of valid regions may.
    """
    both = regions.mask[:, :, None] & regions.mask[:, None, :]
    if threshold is None or regions.boxes is None:
        return both
    return both & ((iou(regions.boxes) > threshold) | jnp.eye(regions.mask.shape[1], dtype=bool)[None])


def drop_lonely(mask: Bool[AnyArray, "b r"], near: Bool[AnyArray, "b r s"]) -> Bool[Array, "b r"]:
    """Returns the mask without regions that have no neighbour; unchanged for images where none would remain."""
    others = near & ~jnp.eye(mask.shape[1], dtype=bool)[None]
    kept = mask & jnp.any(others, axis=2)
    return jnp.where(jnp.any(kept, axis=1, keepdims=True), kept, mask)
