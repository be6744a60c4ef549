"""Reads the safetensors files of a checkpoint's directory."""

import os
import pathlib
import re

import numpy as np
from safetensors import SafetensorError, safe_open

from itm_jax.errors import InputError
from itm_jax.files import LFS_HINT, is_lfs_pointer, read_json

INDEX = "model.safetensors.index.json"
SHARD = re.compile(r"model-\d{5}-of-(\d{5})\.safetensors")


def read_safetensors(directory: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns all tensors of the weights in a directory, by name.

    These are `model*.safetensors`: without the numbered shards where `model.safetensors` exists, and else the shards
    that `model.safetensors.index.json` names where that exists.

    Raises:
        InputError: there is no such file, a shard is missing, one cannot be read, or two have a tensor of the same
            name.
    """
    out: dict[str, np.ndarray] = {}
    for path in _files(directory):
        tensors = read_file(path)
        if twice := sorted(out.keys() & tensors.keys()):
            raise InputError(f"{path}: {twice[0]}: in another file too; keep one of them")
        out |= tensors
    return out


def read_file(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns all tensors of a safetensors file, by name. Raises InputError where it cannot be read."""
    if is_lfs_pointer(path):
        raise InputError(f"{path}: {LFS_HINT}")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, TypeError, ValueError) as e:
        raise InputError(f"{path}: cannot be read as safetensors ({e})") from None


def _files(directory: pathlib.Path) -> list[pathlib.Path]:
    """Returns the files with the weights. Raises InputError where there is none, or not every shard."""
    index = directory / INDEX
    whole = (directory / "model.safetensors").exists()
    if index.exists() and not whole:
        return _shards(index)
    paths = sorted(directory.glob("model*.safetensors"))
    if not paths:
        others = sorted(p.name for p in directory.glob("*.bin"))
        hint = f"; {others[0]} is a pickle and is not read: save it as safetensors" if others else ""
        raise InputError(f"{directory}: no model.safetensors{hint}")
    if whole:
        return [p for p in paths if not SHARD.fullmatch(p.name)]
    for count in {match[1] for p in paths if (match := SHARD.fullmatch(p.name))}:
        expected = [f"model-{i:05d}-of-{count}.safetensors" for i in range(1, int(count) + 1)]
        _check_shards(directory, expected, "the names of the others count it")
    return paths


def _shards(index: pathlib.Path) -> list[pathlib.Path]:
    if is_lfs_pointer(index):
        raise InputError(f"{index}: {LFS_HINT}")
    content = read_json(index)
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not names or not all(isinstance(n, str) for n in names.values()):
        raise InputError(f"{index}: no weight_map of tensors to files; download the checkpoint again")
    shards = sorted(set(names.values()))
    for name in shards:
        if pathlib.PurePath(name).name != name:
            raise InputError(f"{index}: names {name!r}, which is not a file beside it; download the checkpoint again")
    _check_shards(index.parent, shards, f"{INDEX} names it")
    return [index.parent / name for name in shards]


def _check_shards(directory: pathlib.Path, names: list[str], why: str) -> None:
    missing = [name for name in names if not os.path.exists(directory / name)]  # also for a name that no disk takes
    if missing:
        more = f" (and {len(missing) - 1} more of {len(names)} shards)" if len(missing) > 1 else ""
        raise InputError(f"{directory / missing[0]}: no such file, but {why}{more}; download the missing shards")
