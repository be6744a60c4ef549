"""Fills a network with the tensors of a checkpoint by a table of names. All must be there, and nothing else.

The shapes are those of the network itself, so a table says only which of our parameters is which of their tensors.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from itm_jax.errors import InputError

KINDS = ("kernel", "bias")
SHOWN = 3  # of the parameters that do not fit
# Our name of a parameter, as a path with slashes -> the name of the tensor in the checkpoint.
Table = Mapping[str, str]


def shapes_of(network: nn.Module, side: int) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every parameter of a network, by its path. Nothing is computed."""
    init = lambda: network.init(jax.random.key(0), jnp.zeros((1, side, side, 3)))  # noqa: E731
    params = flax.traverse_util.flatten_dict(jax.eval_shape(init)["params"], sep="/")
    return {name: tuple(value.shape) for name, value in params.items()}


def fill(
    shapes: Mapping[str, tuple[int, ...]],
    table: Table,
    tensors: Mapping[str, np.ndarray],
    *,
    source: str,
    ignored: str = "",
) -> dict[str, Any]:
    """Returns the parameters of a network in float32.

    Args:
        shapes: of our parameters, by path.
        table: which tensor is which parameter. Kernels are turned from PyTorch's order of axes into ours.
        tensors: those of the checkpoint, by name.
        source: the checkpoint, for messages.
        ignored: a pattern of the names of tensors that the network does not need.

    Raises:
        InputError: tensors are missing, not expected, or of another shape; the message names the first of them.
    """
    assert set(table) == set(shapes), sorted(set(table) ^ set(shapes))
    known = set(table.values())
    problems = [f"missing {name}" for name in table.values() if name not in tensors]
    problems += [f"unexpected {n}" for n in tensors if n not in known and not (ignored and re.search(ignored, n))]
    params = {}
    for ours, theirs in table.items():
        if theirs in tensors:
            value = _in_our_order(tensors[theirs], shapes[ours], ours)
            if value is None:
                problems.append(
                    f"{theirs} has shape {tensors[theirs].shape}, which does not fit our shape {shapes[ours]}"
                )
            else:
                params[ours] = np.ascontiguousarray(value, np.float32)
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise InputError(f"{source}: the weights do not fit the network: {'; '.join(problems[:SHOWN])}{more}")
    return flax.traverse_util.unflatten_dict(params, sep="/")


def _in_our_order(value: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray | None:
    """Returns a tensor as our parameter, or None where it has another shape.

    A kernel of a convolution is [o i h w] there and [h w i o] here; one of a linear layer is [o i] there and [i o]
    here, and attention splits i or o into heads.
    """
    if name.endswith("kernel"):
        value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
        heads = 2 if "output" in name else 1  # how many of the three axes of an attention's kernel are its inputs
        flat = (int(np.prod(shape[:heads])), int(np.prod(shape[heads:]))) if len(shape) == 3 else shape
        return value.reshape(shape) if value.shape in (shape, flat) else None
    squeezed = tuple(n for n in value.shape if n > 1)
    fits = squeezed == tuple(n for n in shape if n > 1) or (
        name.endswith("bias") and squeezed == (int(np.prod(shape)),)
    )
    return value.reshape(shape) if fits else None


def fold_norms(tensors: Mapping[str, np.ndarray], norms: Mapping[str, str], epsilon: float) -> dict[str, np.ndarray]:
    """Returns the tensors with every BatchNorm folded into its convolution, as NAME.kernel and NAME.bias.

    A convolution that lacks a tensor, or whose BatchNorm does, stays as it is; `fill` then says what is missing.

    Args:
        tensors: those of the checkpoint, by name.
        norms: the name of each convolution (without a bias) -> that of its BatchNorm.
        epsilon: of the BatchNorms.
    """
    out = dict(tensors)
    for conv, norm in norms.items():
        names = [f"{conv}.weight", *(f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var"))]
        if not all(name in out for name in names):
            continue
        kernel, scale, bias, mean, var = (out.pop(name).astype(np.float64) for name in names)
        if kernel.ndim != 4 or any(x.shape != (len(kernel),) for x in (scale, bias, mean, var)):
            out |= dict(zip(names, (kernel, scale, bias, mean, var), strict=True))
            continue
        factor = scale / np.sqrt(var + epsilon)
        out[f"{conv}.kernel"] = kernel * factor[:, None, None, None]
        out[f"{conv}.bias"] = bias - mean * factor
    return out


def checksum(tensors: Mapping[str, np.ndarray]) -> str:
    """Returns the SHA-256 of the names and values of tensors, however they are spread over files."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {value.dtype} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
