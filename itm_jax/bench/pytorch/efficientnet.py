"""EfficientNet-Lite in plain PyTorch, with our parameters, to be measured in turn with ours."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from itm_jax.vision.efficientnet import EfficientNetLite, blocks


def make_network(network: EfficientNetLite, params: Any):
    """Returns a function from images [b, h, w, 3] to the map [b, y, x, 1280], both NumPy arrays.

    Args:
        network: ours.
        params: its parameters, with BatchNorm folded in.
    """
    weights = {
        name: (torch.tensor(np.asarray(p["kernel"]).transpose(3, 2, 0, 1).copy()), torch.tensor(np.asarray(p["bias"])))
        for name, p in params.items()
    }

    def conv(x, name, stride=1, groups=1):
        kernel, bias = weights[name]
        sides = [_padding(n, kernel.shape[-1], stride) for n in (x.shape[3], x.shape[2])]
        return F.conv2d(F.pad(x, [*sides[0], *sides[1]]), kernel, bias, stride=stride, groups=groups)

    @torch.inference_mode()
    def run(images: np.ndarray) -> np.ndarray:
        x = torch.tensor(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        x = F.relu6(conv(x, "stem", 2))
        for k, block in enumerate(blocks(network.width, network.depth)):
            before = x
            if block.expansion > 1:
                x = F.relu6(conv(x, f"block_{k}_expand"))
            x = F.relu6(conv(x, f"block_{k}_depthwise", block.stride, x.shape[1]))
            x = conv(x, f"block_{k}_project")
            x = x + before if block.residual else x
        return F.relu6(conv(x, "head")).permute(0, 2, 3, 1).numpy()

    return run


def _padding(size: int, side: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + side - size, 0)
    return total // 2, total - total // 2
