"""Reads checkpoints that `torch.save` wrote, without running what is in them (extra `parity`)."""

import argparse
import pathlib
import re
import warnings
from typing import Any

from itm_jax.errors import InputError
from itm_jax.files import LFS_HINT, is_lfs_pointer

REFUSED = re.compile(r"GLOBAL (\S+)")  # how PyTorch names what it does not load


def read_pytorch(path: pathlib.Path) -> Any:
    """Returns the content of a file of `torch.save`; its tensors are on the CPU.

    Only data is loaded: PyTorch's own unpickler (`weights_only`) makes tensors, numbers, strings and containers, and
    calls nothing that the file names. One class is allowed besides: `argparse.Namespace`, in which training scripts
    keep their options. It has nothing but attributes, and no code of its own runs when one is made.

    Raises:
        InputError: PyTorch is not installed, or the file cannot be read, is damaged, or holds more than data.
    """
    try:
        import torch
    except ImportError:
        raise InputError(f"{path}: reading it needs PyTorch; pip install 'itm_jax[parity]'") from None
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if is_lfs_pointer(path):
        raise InputError(f"{path}: {LFS_HINT}")
    allowed = torch.serialization.safe_globals([argparse.Namespace])
    with allowed, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch, on old forms of files
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except MemoryError:
            raise InputError(f"{path}: needs more memory than there is; it is damaged, or too large") from None
        except Exception as e:  # torch raises many kinds for files that are damaged or no checkpoints
            raise InputError(_reason(path, str(e))) from None


def _reason(path: pathlib.Path, message: str) -> str:
    if found := REFUSED.search(message):
        return (
            f"{path}: holds {found[1]}, which is not data; it was not loaded, because loading it can run code. Save "
            "its tensors and options alone (torch.save of a dict of tensors, numbers and strings)"
        )
    return f"{path}: not a checkpoint of PyTorch (torch.save), or damaged; get the file again"
