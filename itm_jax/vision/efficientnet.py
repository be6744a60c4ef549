"""EfficientNet-Lite (Google, 2020): EfficientNet (Tan and Le, ICML 2019) without squeeze-and-excitation, with ReLU6.

The map is that before the pooling, [h w 1280]. The classifier of ImageNet is linear, so that it can be applied to the
mean over any box. BatchNorm is folded into the convolutions, because its statistics are fixed.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from itm_jax.structs import AnyArray
from itm_jax.vision.convolution import Convolution
from itm_jax.vision.weights import KINDS, fill, fold_norms, shapes_of

EPSILON = 1e-3  # of BatchNorm
STEM, HEAD, CLASSES = 32, 1280, 1000
SIDE = 64  # of images, where only the shapes of parameters are asked for
# Of B0, by stage: blocks, kernel, stride, expansion of the input, filters.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
DIVISOR = 8  # of the numbers of filters


@dataclasses.dataclass(frozen=True)
class Block:
    """An inverted residual block: expansion 1 x 1, depthwise convolution, projection 1 x 1."""

    inputs: int
    filters: int
    kernel: int
    stride: int
    expansion: int

    @property
    def residual(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.inputs == self.filters


def blocks(width: float, depth: float) -> tuple[Block, ...]:
    """Returns the blocks of a network.

    Args:
        width: factor of the filters of B0 (Lite0 1.0, Lite2 1.1).
        depth: factor of the number of blocks of a stage, but for the first and the last stage (Lite0 1.0, Lite2 1.2).
    """
    out: list[Block] = []
    inputs = STEM
    for k, (repeats, kernel, stride, expansion, filters) in enumerate(STAGES):
        filters = round_filters(filters * width)
        repeats = repeats if k in (0, len(STAGES) - 1) else math.ceil(repeats * depth)
        for n in range(repeats):
            out.append(Block(inputs, filters, kernel, stride if n == 0 else 1, expansion))
            inputs = filters
    return tuple(out)


def round_filters(filters: float) -> int:
    """Returns the multiple of 8 that is nearest, and not below nine tenths of the number.

    Examples:
        >>> [round_filters(n * 1.1) for n in (16, 24, 40, 80, 112, 192, 320)]
        [16, 24, 48, 88, 120, 208, 352]
    """
    out = max(DIVISOR, int(filters + DIVISOR / 2) // DIVISOR * DIVISOR)
    return out if out >= 0.9 * filters else out + DIVISOR


class EfficientNetLite(nn.Module):
    """The convolutions of EfficientNet-Lite.

    Attributes:
        width: factor of the filters.
        depth: factor of the number of blocks.
    """

    width: float
    depth: float

    @nn.compact
    def __call__(self, images: Float[AnyArray, "b h w 3"]) -> Float[Array, "b y x 1280"]:
        """Returns the map of images with values (x - 127) / 128; a place of it is 32 pixels wide."""
        x = _active(Convolution(STEM, 3, 2, name="stem")(images))
        for k, block in enumerate(blocks(self.width, self.depth)):
            before, wide = x, block.inputs * block.expansion
            if block.expansion > 1:
                x = _active(Convolution(wide, name=f"block_{k}_expand")(x))
            depthwise = Convolution(wide, block.kernel, block.stride, depthwise=True, name=f"block_{k}_depthwise")
            x = Convolution(block.filters, name=f"block_{k}_project")(_active(depthwise(x)))
            x = x + before if block.residual else x
        return _active(Convolution(HEAD, name="head")(x))


def _active(x):
    return jnp.clip(x, 0, 6)


def convert(tensors: Mapping[str, np.ndarray], width: float, depth: float, source: str) -> dict[str, Any]:
    """Returns the parameters of `EfficientNetLite`, and `classifier`, from the tensors of the published file.

    Raises:
        InputError: the tensors do not fit.
    """
    names = dict(layers(width, depth))
    table = {f"{ours}/{kind}": f"{conv}.{kind}" for ours, (conv, _) in names.items() for kind in KINDS}
    table |= {"classifier/kernel": "_fc.weight", "classifier/bias": "_fc.bias"}
    classifier = {"classifier/kernel": (HEAD, CLASSES), "classifier/bias": (CLASSES,)}
    return fill(
        shapes_of(EfficientNetLite(width, depth), SIDE) | classifier,
        table,
        fold_norms(tensors, dict(names.values()), EPSILON),
        source=source,
        ignored="num_batches_tracked$",
    )


def layers(width: float, depth: float) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yields (our name, (their convolution, their BatchNorm)) of every convolution."""
    yield "stem", ("_conv_stem", "_bn0")
    for k, block in enumerate(blocks(width, depth)):
        theirs = f"_blocks.{k}."
        if block.expansion > 1:
            yield f"block_{k}_expand", (f"{theirs}_expand_conv", f"{theirs}_bn0")
        yield f"block_{k}_depthwise", (f"{theirs}_depthwise_conv", f"{theirs}_bn1")
        yield f"block_{k}_project", (f"{theirs}_project_conv", f"{theirs}_bn2")
    yield "head", ("_conv_head", "_bn1")
