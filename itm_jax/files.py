"""Writing files so that nothing half written is left."""

import pathlib

from itm_jax.errors import InputError


def write_whole(path: pathlib.Path, text: str) -> None:
    """Writes a text file whole or not at all; one that cannot be written is an InputError."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as e:
        raise InputError(f"{path}: cannot be written ({e.strerror})") from None
