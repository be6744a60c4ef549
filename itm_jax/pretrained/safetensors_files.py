"""Reads the safetensors files of a checkpoint's directory."""

import pathlib

import numpy as np
from safetensors import SafetensorError, safe_open

from itm_jax.errors import InputError
from itm_jax.files import LFS_HINT, is_lfs_pointer


def read_safetensors(directory: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns all tensors of the `model*.safetensors` files of a directory, by name.

    Raises:
        InputError: there is no such file, one cannot be read, or two have a tensor of the same name.
    """
    paths = sorted(directory.glob("model*.safetensors"))
    if not paths:
        others = sorted(p.name for p in directory.glob("*.bin"))
        hint = f"; {others[0]} is a pickle and is not read: save it as safetensors" if others else ""
        raise InputError(f"{directory}: no model.safetensors{hint}")
    out: dict[str, np.ndarray] = {}
    for path in paths:
        if is_lfs_pointer(path):
            raise InputError(f"{path}: {LFS_HINT}")
        try:
            with safe_open(path, framework="flax") as file:  # NumPy alone does not know bfloat16
                found = {name: np.asarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, OSError, TypeError, ValueError) as e:
            raise InputError(f"{path}: cannot be read as safetensors ({e})") from None
        if twice := sorted(out.keys() & found.keys()):
            raise InputError(f"{path}: {twice[0]}: in another file too; keep one of them")
        out |= found
    return out
