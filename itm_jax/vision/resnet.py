"""ResNet (He et al., CVPR 2016) with bottleneck blocks, as in torchvision: the stride is in the 3 x 3 convolution."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from itm_jax.errors import InputError
from itm_jax.structs import AnyArray
from itm_jax.vision.weights import KINDS, fill, fold_norms, shapes_of

EPSILON = 1e-5  # of BatchNorm
STEM, REDUCTION = 64, 4
SIDE = 64  # of images, where only the shapes of parameters are asked for
# More are damage. Without a limit, the names of the tensors alone could fill the memory.
MOST_BLOCKS, MOST_FILTERS = 1000, 10**6


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    """The sizes of a network: blocks and filters of each stage (ResNet-50: 3, 4, 6, 3 and 256, 512, 1024, 2048)."""

    depths: tuple[int, ...]
    filters: tuple[int, ...]

    def stages(self) -> Iterator[tuple[int, int, int, int, int]]:
        """Yields (stage, block, inputs, filters, stride) of every block."""
        inputs = STEM
        for stage, (depth, filters) in enumerate(zip(self.depths, self.filters, strict=True)):
            for block in range(depth):
                yield stage, block, inputs, filters, 2 if stage and not block else 1
                inputs = filters


class ResNet(nn.Module):
    """The convolutions of a ResNet. BatchNorm is folded into them, because its statistics are fixed.

    Attributes:
        config: its sizes.
    """

    config: ResNetConfig

    @nn.compact
    def __call__(self, images: Float[AnyArray, "b h w 3"]) -> Float[Array, "b y x f"]:
        """Returns the last map of normalised images; a place of it is 32 pixels wide."""
        x = nn.relu(_conv(images, "stem", STEM, 7, 2))
        x = nn.max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), (2, 2))  # after a ReLU nothing is below 0
        for stage, block, inputs, filters, stride in self.config.stages():
            name = f"stage_{stage}_{block}"
            h = nn.relu(_conv(x, f"{name}_reduce", filters // REDUCTION))
            h = nn.relu(_conv(h, f"{name}_middle", filters // REDUCTION, 3, stride))
            h = _conv(h, f"{name}_expand", filters)
            x = _conv(x, f"{name}_shortcut", filters, 1, stride) if inputs != filters or stride > 1 else x
            x = nn.relu(x + h)
        return x


def _conv(x, name, filters, kernel=1, stride=1):
    side = (kernel - 1) // 2
    return nn.Conv(filters, (kernel, kernel), (stride, stride), padding=((side, side), (side, side)), name=name)(x)


def config_of(values: Mapping[str, Any], source: str) -> ResNetConfig:
    """Returns the sizes in a config.json of transformers.

    Raises:
        InputError: it is not of a ResNet with bottleneck blocks of this form.
    """
    usual = {"model_type": "resnet", "layer_type": "bottleneck", "embedding_size": STEM, "hidden_act": "relu"}
    usual |= {"downsample_in_first_stage": False, "downsample_in_bottleneck": False, "num_channels": 3}
    for name, value in usual.items():
        if values.get(name, value if name != "model_type" else None) != value:
            raise InputError(f"{source}: {name} is {values.get(name)!r}; only {value!r} can be loaded")
    depths, filters = values.get("depths", (3, 4, 6, 3)), values.get("hidden_sizes", (256, 512, 1024, 2048))
    lists = isinstance(depths, list | tuple) and isinstance(filters, list | tuple)
    numbers = (*depths, *filters) if lists else (0,)
    if not all(type(n) is int and 0 < n <= MOST_FILTERS for n in numbers) or len(depths) != len(filters):
        raise InputError(f"{source}: depths {depths} and hidden_sizes {filters} make no network")
    if sum(depths) > MOST_BLOCKS:
        raise InputError(f"{source}: depths {depths} are more than {MOST_BLOCKS} blocks")
    return ResNetConfig(tuple(depths), tuple(filters))


def convert(tensors: Mapping[str, np.ndarray], config: ResNetConfig, source: str) -> dict[str, Any]:
    """Returns the parameters of `ResNet(config)`. Raises InputError where the tensors do not fit."""
    plain = {name.removeprefix("resnet."): value for name, value in tensors.items()}
    names = dict(layers(config))
    norms = {f"{theirs}.convolution": f"{theirs}.normalization" for theirs in names.values()}
    table = {f"{ours}/{kind}": f"{theirs}.convolution.{kind}" for ours, theirs in names.items() for kind in KINDS}
    return fill(
        shapes_of(ResNet(config), SIDE),
        table,
        fold_norms(plain, norms, EPSILON),
        source=source,
        ignored=r"^classifier\.|num_batches_tracked$",
    )


def layers(config: ResNetConfig) -> Iterator[tuple[str, str]]:
    """Yields (our name, the name in transformers) of every convolution with its BatchNorm."""
    yield "stem", "embedder.embedder"
    for stage, block, inputs, filters, stride in config.stages():
        ours, theirs = f"stage_{stage}_{block}", f"encoder.stages.{stage}.layers.{block}"
        for k, part in enumerate(("reduce", "middle", "expand")):
            yield f"{ours}_{part}", f"{theirs}.layer.{k}"
        if inputs != filters or stride > 1:
            yield f"{ours}_shortcut", f"{theirs}.shortcut"
