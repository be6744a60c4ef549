"""Checksums of files and JSON records, and of arrays on the device that holds them.

Checksums of arrays show damage on any way from the device and back, and need no copy of the array on the host. Each
array of 32-bit words w gives two sums Σ aᵢ·wᵢ mod 2³² with pseudo-random odd multipliers aᵢ. An odd multiplier is
invertible, so a change of any single word changes both sums for certain; other damage escapes with probability 2⁻⁶⁴.
"""

import hashlib
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt32

from itm_jax.errors import DamagedError, InputError
from itm_jax.files import is_inside, parse_json

FILES = "files.json"
CHANGES = "_CHECKPOINT_METADATA"  # Orbax later adds the time of the commit to this file


def _words(x: Array) -> UInt32[Array, " n"]:
    """The bits of an array as 32-bit words; a narrower value fills one word."""
    if x.dtype == jnp.bool_:
        x = x.astype(jnp.uint8)
    width = min(x.dtype.itemsize, 4) * 8
    bits = jax.lax.bitcast_convert_type(x, jnp.dtype(f"uint{width}"))
    return bits.reshape(-1).astype(jnp.uint32)


def _multipliers(n: int, seed: int) -> UInt32[Array, " n"]:
    """The indices 0..n-1 put through the finaliser of MurmurHash3, made odd."""
    x = jnp.arange(n, dtype=jnp.uint32) + jnp.uint32(seed)
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return (x ^ (x >> 16)) | jnp.uint32(1)


@jax.jit
def _sums(x: Array) -> UInt32[Array, "2"]:
    words = _words(x)
    sums = [jnp.sum(words * _multipliers(words.size, seed), dtype=jnp.uint32) for seed in (1, 0x9E3779B9)]
    return jnp.stack(sums)


def leaf_names(tree: Any) -> list[str]:
    """The path of every leaf, `params/image_branch/...`, in the order of `jax.tree.leaves`."""
    return [
        jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree_util.tree_leaves_with_path(tree)
    ]


def describe(tree: Any) -> dict[str, str]:
    """Dtype and shape of each leaf, such as `float32[2, 3]`, by its path; leaves are arrays or shape structs."""
    leaves = jax.tree.leaves(tree)
    return {n: f"{x.dtype}{list(x.shape)}" for n, x in zip(leaf_names(tree), leaves, strict=True)}


def array_differences(saved: dict[str, str], like: dict[str, str]) -> list[str]:
    """Returns a message for each array that is missing in `saved`, unexpected, or another one; both from `describe`."""
    out = [f"missing {n}" for n in sorted(set(like) - set(saved))]
    out += [f"unexpected {n}" for n in sorted(set(saved) - set(like))]
    return out + [f"{n} is {saved[n]}, not {like[n]}" for n in sorted(set(saved) & set(like)) if saved[n] != like[n]]


def checksums(tree: Any) -> dict[str, str]:
    """16 hexadecimal digits for each leaf, by its path. They do not depend on the devices that hold the arrays."""

    def sums_of_leaf(x: Any) -> Any:
        # Arrays in parts are summed one at a time: in several sums at once devices can wait for each other for ever.
        # This happens on CPUs.
        return _sums(x) if isinstance(x, np.ndarray) or x.is_fully_replicated else jax.device_get(_sums(x))

    sums = jax.device_get([sums_of_leaf(x) for x in jax.tree.leaves(tree)])
    return {n: f"{a:08x}{b:08x}" for n, (a, b) in zip(leaf_names(tree), sums, strict=True)}


def seal(content: dict[str, Any]) -> dict[str, Any]:
    """A JSON record with its own checksum, for `read_sealed`."""
    return {"content": content, "sha256": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()}


def read_sealed(path: pathlib.Path) -> dict[str, Any]:
    """Returns the content of a sealed record. Raises DamagedError where it differs from what was written."""
    name = path.name if path.name == FILES else f"{path.parent.name}/{path.name}"
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
        intact = record == seal(record["content"])
    except PermissionError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from None
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise DamagedError(f"damaged: {name} cannot be read ({' '.join(str(e).split())[:200]})") from None
    if not intact or not isinstance(record["content"], dict):
        raise DamagedError(f"damaged: {name} is not what was saved")
    return record["content"]


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def write_files(folder: pathlib.Path) -> None:
    """Writes `files.json`, a sealed record of the SHA-256 of every file in the folder; "" for one that will change."""
    files = {
        p.relative_to(folder).as_posix(): "" if p.name == CHANGES else _sha256(p)
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }
    (folder / FILES).write_text(json.dumps(seal(files)), encoding="utf-8")


def check_files(folder: pathlib.Path, prefix: str = "") -> None:
    """Raises DamagedError where a file whose name begins with `prefix` is missing or differs from `files.json`."""
    for name, expected in read_sealed(folder / FILES).items():
        path = folder / name
        if not name.startswith(prefix):
            continue
        if not is_inside(name) or not path.is_file():  # nothing outside the checkpoint is read
            raise DamagedError(f"damaged: {name} is missing")
        if expected and _sha256(path) != expected:
            raise DamagedError(f"damaged: {name} is not what was saved")
