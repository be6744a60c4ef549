"""JSON texts, and the pointers of Git LFS that stand for files."""

import json
import pathlib
from typing import Any

from itm_jax.errors import InputError

DEEPEST = 100  # levels of a JSON text
LFS = b"version https://git-lfs.github.com/spec/"  # how a pointer of Git LFS begins
LFS_HINT = "a pointer of Git LFS, not the file itself; run git lfs pull where it was cloned"


def parse_json(text: str | bytes) -> Any:
    """Returns the value of a JSON text that is nested no deeper than `DEEPEST`.

    From Python 3.13 on the parser takes texts that are nested so deeply that whatever walks through the value fails.

    Raises:
        ValueError: the text is not JSON, or nested too deeply.
    """
    too_deep = ValueError(f"nested more than {DEEPEST} deep")
    try:
        value = json.loads(text)
    except RecursionError:
        raise too_deep from None
    brackets = text.count("[") + text.count("{") if isinstance(text, str) else text.count(b"[") + text.count(b"{")
    if brackets <= DEEPEST:  # the usual case: there is nothing to walk through
        return value
    left = [(value, 1)] if isinstance(value, dict | list) else []
    while left:
        node, depth = left.pop()
        if depth > DEEPEST:
            raise too_deep
        children = node.values() if isinstance(node, dict) else node
        left.extend((child, depth + 1) for child in children if isinstance(child, dict | list))
    return value


def read_json(path: Any, hint: str = "") -> Any:
    """Returns the value in a JSON file.

    Args:
        path: path of the file, or anything with `read_text`.
        hint: what the user can do where the file cannot be read, for the message.

    Raises:
        InputError: the file cannot be read, or is not JSON.
    """
    advice = f"; {hint}" if hint else ""
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror or e}){advice}") from None
    except ValueError as e:
        raise InputError(f"{path}: not JSON ({e}){advice}") from None


def is_lfs_pointer(path: pathlib.Path) -> bool:
    """Returns whether a file is a pointer of Git LFS, in place of the file that it stands for."""
    try:
        with path.open("rb") as file:
            return file.read(len(LFS)) == LFS
    except OSError:
        return False
