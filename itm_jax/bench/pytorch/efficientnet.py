"""EfficientNet-Lite in plain PyTorch, with our parameters, to be measured in turn with ours."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from itm_jax.vision.convolution import same_padding
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
        columns, rows = (same_padding(n, kernel.shape[-1], stride) for n in (x.shape[3], x.shape[2]))
        if len({*columns, *rows}) == 1:  # the same on all sides, which the convolution does itself
            return F.conv2d(x, kernel, bias, stride=stride, padding=rows[0], groups=groups)
        return F.conv2d(F.pad(x, [*columns, *rows]), kernel, bias, stride=stride, groups=groups)

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
