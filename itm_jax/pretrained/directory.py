"""Finds the directory of a pretrained checkpoint: a path, a Hugging Face hub name, or a folder of a Python package."""

import importlib.util
import pathlib

from itm_jax.errors import InputError

PACKAGE = "package:"
FILES = (
    "config.json",
    "*.safetensors",
    "model.safetensors.index.json",
    "tokenizer*",
    "vocab.txt",
    "special_tokens_map.json",
)


def checkpoint_dir(path_or_name: str) -> pathlib.Path:
    """Returns the local directory of a checkpoint: the path itself, or the hub's snapshot, downloaded when needed.

    `package:NAME/FOLDER` is a folder of an installed Python package, wherever it is installed.
    """
    if path_or_name.startswith(PACKAGE):
        return _in_package(path_or_name)
    path = pathlib.Path(path_or_name).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or path_or_name.startswith((".", "~")) or path_or_name.count("/") > 1 or path.exists():
        raise InputError(
            f"{path_or_name}: no such directory; config.model.text.pretrained is a directory or a hub name"
        )
    import huggingface_hub

    try:
        return pathlib.Path(huggingface_hub.snapshot_download(path_or_name, allow_patterns=list(FILES)))
    except Exception as e:  # the hub raises many kinds: no network, no such name, no access
        reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise InputError(
            f"{path_or_name}: not a local directory, and not available from the Hugging Face hub ({reason}); "
            "download it and pass its directory as config.model.text.pretrained"
        ) from None


def _in_package(name: str) -> pathlib.Path:
    package, _, folder = name.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"{name}: no Python package {package} is installed; pip install it, or pass a directory")
    directory = pathlib.Path(next(iter(spec.submodule_search_locations))) / folder
    if not directory.is_dir():
        raise InputError(f"{name}: the package {package} has no directory {folder}")
    return directory


def cache_hint(directory: pathlib.Path) -> str:
    """Says what to pass instead of a directory that is a folder of the hub's cache; empty for others."""
    if directory.name == "snapshots":
        directory = directory.parent
    snapshots = sorted((directory / "snapshots").glob("*/config.json"), key=lambda p: p.stat().st_mtime)
    if not snapshots:
        return ""
    name = directory.name.removeprefix("models--").replace("--", "/")
    return f"a folder of the hub's cache; pass {snapshots[-1].parent}, or the name {name}"
