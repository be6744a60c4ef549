"""The vision Transformer (Dosovitskiy et al., ICLR 2021) in the forms of ViT, CLIP, SigLIP and DINOv2.

One network serves all four. `Form` says what differs, and `itm_jax.vision.vit_weights` reads their checkpoints.
"""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from itm_jax.modules.numerics import HIGHEST
from itm_jax.structs import AnyArray

CUBIC = -0.75  # the parameter a of the interpolation's kernel

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": lambda x: nn.gelu(x, approximate=False),
    "gelu_pytorch_tanh": lambda x: nn.gelu(x, approximate=True),
    "quick_gelu": lambda x: x * nn.sigmoid(1.702 * x),
}


@dataclasses.dataclass(frozen=True)
class Form:
    """What differs between the networks.

    Attributes:
        class_token: whether a token of the whole image comes before the patches.
        patch_bias: whether the projection of patches has a bias.
        first_norm: whether a LayerNorm comes before the first layer (CLIP).
        last_norm: whether a LayerNorm comes after the last layer, on every token.
        layer_scale: whether each branch is multiplied by a learned vector (DINOv2).
    """

    class_token: bool
    patch_bias: bool
    first_norm: bool
    last_norm: bool
    layer_scale: bool


FORMS = {
    "vit": Form(class_token=True, patch_bias=True, first_norm=False, last_norm=True, layer_scale=False),
    "clip": Form(class_token=True, patch_bias=False, first_norm=True, last_norm=False, layer_scale=False),
    "siglip": Form(class_token=False, patch_bias=True, first_norm=False, last_norm=True, layer_scale=False),
    "dinov2": Form(class_token=True, patch_bias=True, first_norm=False, last_norm=True, layer_scale=True),
}


@dataclasses.dataclass(frozen=True)
class ViTConfig:
    """The sizes of a network.

    Attributes:
        form: vit, clip, siglip or dinov2.
        width, layers, heads, hidden: of the Transformer; `hidden` is the width of its feed-forward parts.
        patch: side of a patch, in pixels.
        image_size: side of the images that the positions were learned for.
        activation: a key of ACTIVATIONS.
        epsilon: of the LayerNorms.
        qkv_bias: whether queries, keys and values have biases.
    """

    form: str
    width: int
    layers: int
    heads: int
    hidden: int
    patch: int
    image_size: int
    activation: str
    epsilon: float
    qkv_bias: bool = True

    @property
    def grid(self) -> int:
        """The number of patches along a side of the images that the positions were learned for."""
        return self.image_size // self.patch


class ViT(nn.Module):
    """A vision Transformer that gives a feature map: its last hidden states of the patches.

    Attributes:
        config: its sizes and form.
    """

    config: ViTConfig

    @nn.compact
    def __call__(self, images: Float[AnyArray, "b h w 3"]) -> Float[Array, "b y x f"]:
        """Returns the map of normalised images. Positions are interpolated where the images have another size."""
        c, form = self.config, FORMS[self.config.form]
        norm = lambda name: _norm(c, name)  # noqa: E731
        patches = nn.Conv(
            c.width, (c.patch, c.patch), (c.patch, c.patch), padding="VALID", use_bias=form.patch_bias, name="patches"
        )(images)
        b, y, x, _ = patches.shape
        tokens = patches.reshape(b, y * x, c.width)
        first = int(form.class_token)
        positions = self.param("positions", nn.initializers.normal(0.02), (first + c.grid**2, c.width))
        tokens = tokens + _resize(positions[first:], c.grid, y, x)[None]
        if form.class_token:
            token = self.param("class_token", nn.initializers.zeros, (c.width,)) + positions[0]
            tokens = jnp.concatenate([jnp.broadcast_to(token[None, None], (b, 1, c.width)), tokens], axis=1)
        if form.first_norm:
            tokens = norm("first_norm")(tokens)
        for k in range(c.layers):
            tokens = Layer(c, name=f"layer_{k}")(tokens)
        if form.last_norm:
            tokens = norm("last_norm")(tokens)
        return tokens[:, first:].reshape(b, y, x, c.width)


def _norm(config: ViTConfig, name: str) -> nn.LayerNorm:
    """A LayerNorm that takes the variance of the differences from the mean, as PyTorch does."""
    return nn.LayerNorm(epsilon=config.epsilon, use_fast_variance=False, name=name)


class Layer(nn.Module):
    """A pre-norm layer: attention, then a feed-forward part, each added to its input."""

    config: ViTConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b n f"]) -> Float[Array, "b n f"]:
        """Returns the tokens after the layer."""
        c = self.config
        scaled = self._scaled if FORMS[c.form].layer_scale else lambda _, y: y
        h = _norm(c, "attention_norm")(x)
        shape = (c.heads, c.width // c.heads)
        query, key, value = (
            nn.DenseGeneral(shape, use_bias=c.qkv_bias, name=name)(h) for name in ("query", "key", "value")
        )
        h = jax.nn.dot_product_attention(query, key, value)
        h = nn.DenseGeneral(c.width, axis=(-2, -1), name="output")(h)
        x = x + scaled("attention_scale", h)
        h = _norm(c, "mlp_norm")(x)
        h = ACTIVATIONS[c.activation](nn.Dense(c.hidden, name="mlp_in")(h))
        return x + scaled("mlp_scale", nn.Dense(c.width, name="mlp_out")(h))

    def _scaled(self, name: str, x: Array) -> Array:
        return x * self.param(name, nn.initializers.ones, (self.config.width,))[None, None]


def _resize(positions: Float[AnyArray, "n f"], grid: int, y: int, x: int) -> Float[Array, "m f"]:
    """Returns learned positions of grid x grid patches, for y x x patches (bicubic)."""
    if (y, x) == (grid, grid):
        return jnp.asarray(positions)
    square = positions.reshape(grid, grid, -1)
    out = jnp.einsum("yi,xj,ijf->yxf", cubic(grid, y), cubic(grid, x), square, precision=HIGHEST)
    return out.reshape(y * x, -1)


def cubic(inputs: int, outputs: int) -> Float[np.ndarray, "o i"]:
    """Returns the matrix of a bicubic interpolation along one axis, as PyTorch computes it (a = -0.75, edges repeated).

    The checkpoints were made with PyTorch, so the same kernel keeps their numbers; that of `jax.image` has a = -0.5.
    """
    centre = (np.arange(outputs) + 0.5) * inputs / outputs - 0.5
    low = np.floor(centre).astype(int)
    weights = np.zeros((outputs, inputs))
    for offset in range(-1, 3):
        distance = np.abs(centre - (low + offset))
        inner = (CUBIC + 2) * distance**3 - (CUBIC + 3) * distance**2 + 1
        outer = CUBIC * (distance**3 - 5 * distance**2 + 8 * distance - 4)
        at = np.clip(low + offset, 0, inputs - 1)
        np.add.at(weights, (np.arange(outputs), at), np.where(distance <= 1, inner, outer))
    return weights.astype(np.float32)
