"""Writing files so that nothing half written is left."""

import os
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


def cache_dir(configured: str | None) -> pathlib.Path:
    """`config.data.cache_dir`, else `$XDG_CACHE_HOME/itm_jax`, else `~/.cache/itm_jax`."""
    if configured:
        return pathlib.Path(configured).expanduser()
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "itm_jax"
