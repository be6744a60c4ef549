"""Convolutions in the form that is fastest on the machine. All forms give the same numbers.

XLA has no fast depthwise convolution on a CPU: the sum of shifted images is 4 to 30 times as fast there. `python -m
itm_jax.bench extract` measures both.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from itm_jax.structs import AnyArray


class Convolution(nn.Module):
    """A convolution with a bias, over squares with SAME padding: dense, 1 x 1, or depthwise.

    Attributes:
        filters: channels of the output.
        kernel: side of the kernel.
        stride: of both axes.
        depthwise: whether each channel has a kernel of its own, and sees no other.
    """

    filters: int
    kernel: int = 1
    stride: int = 1
    depthwise: bool = False

    @nn.compact
    def __call__(self, x: Float[AnyArray, "b h w c"]) -> Float[Array, "b y x f"]:
        """Returns the maps after the convolution."""
        inputs = 1 if self.depthwise else x.shape[-1]
        init = nn.initializers.lecun_normal()
        kernel = self.param("kernel", init, (self.kernel, self.kernel, inputs, self.filters))
        bias = self.param("bias", nn.initializers.zeros, (self.filters,))[None, None, None]
        if self.kernel == self.stride == 1:
            return jnp.matmul(x, kernel[0, 0]) + bias
        if self.depthwise and jax.default_backend() == "cpu":
            return shifted(x, kernel, self.stride) + bias
        return convolved(x, kernel, self.stride, groups=x.shape[-1] if self.depthwise else 1) + bias


def convolved(x: Float[AnyArray, "b h w c"], kernel: Float[AnyArray, "k k i f"], stride: int, *, groups: int) -> Array:
    """Returns XLA's convolution with SAME padding."""
    return lax.conv_general_dilated(
        jnp.asarray(x),
        jnp.asarray(kernel),
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def shifted(x: Float[AnyArray, "b h w c"], kernel: Float[AnyArray, "k k 1 c"], stride: int) -> Array:
    """Returns a depthwise convolution with SAME padding.

    The image is shifted to each position of the kernel and multiplied by the weight there; the products are added.
    """
    b, height, width, c = x.shape
    side = kernel.shape[0]
    rows, columns = (same_padding(n, side, stride) for n in (height, width))
    x = jnp.pad(x, ((0, 0), rows, columns, (0, 0)))
    y_end, x_end = ((-(-n // stride) - 1) * stride + 1 for n in (height, width))
    out = jnp.zeros((b, -(-height // stride), -(-width // stride), c), x.dtype)
    for i in range(side):
        for j in range(side):
            part = lax.slice(x, (0, i, j, 0), (b, i + y_end, j + x_end, c), (1, stride, stride, 1))
            out = out + part * kernel[i, j][None, None]
    return out


def same_padding(size: int, side: int, stride: int) -> tuple[int, int]:
    """Returns how many zeros SAME padding adds to an axis, before and after."""
    total = max((-(-size // stride) - 1) * stride + side - size, 0)
    return total // 2, total - total // 2
