"""Finds the directory of a pretrained checkpoint: a path, a Hugging Face hub name, or a folder of a Python package."""

import importlib.util
import os
import pathlib
from collections.abc import Sequence

from itm_jax.errors import InputError
from itm_jax.pretrained.hub_names import check_on_hub, snapshot, split_revision

PACKAGE = "package:"
FIELD = "config.model.text.pretrained"  # what names a checkpoint where nothing else is said
WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
FILES = (
    "config.json",
    "preprocessor_config.json",
    *WEIGHTS,
    "tokenizer*",
    "vocab.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)


def checkpoint_dir(
    path_or_name: str, *, flag: str = FIELD, files: Sequence[str] = FILES, weights: Sequence[str] = WEIGHTS
) -> pathlib.Path:
    """Returns the local directory of a checkpoint: the path itself, or the hub's snapshot, downloaded when needed.

    `package:NAME/FOLDER` is a folder of an installed Python package, wherever it is installed. `user/name@revision` is
    one revision of a repository of the hub: a branch, a tag, a commit hash, or `refs/pr/N`.

    Args:
        path_or_name: the directory, the name on the hub, or the folder of a package.
        flag: the flag or field that names it, for messages.
        files: patterns of the files that are wanted from the hub.
        weights: patterns of the weights; a repository without any of them is refused before the download.

    Raises:
        InputError: there is no such directory, package or name on the hub, or the hub does not give it.
    """
    local = _local(path_or_name, flag)
    return local if local is not None else snapshot(path_or_name, files, weights=weights, flag=flag)


def revision_of(directory: pathlib.Path) -> str | None:
    """Returns the revision of a snapshot of the hub; None for another directory."""
    return directory.name if directory.parent.name == "snapshots" else None


def check_available(path_or_name: str) -> None:
    """Raises InputError where a checkpoint is neither on this machine nor on the hub; no weights are downloaded."""
    if _local(path_or_name) is None:
        check_on_hub(path_or_name, FILES, weights=WEIGHTS, flag=FIELD)


def _local(path_or_name: str, flag: str = FIELD) -> pathlib.Path | None:
    """Returns the directory that a path or `package:` names; None for a name of the hub."""
    if path_or_name.startswith(PACKAGE):
        return _in_package(path_or_name)
    path = pathlib.Path(path_or_name).expanduser()
    if os.path.isdir(path):  # False for a name that is too long, too
        return path
    name, _ = split_revision(path_or_name)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or os.path.exists(path):
        raise InputError(f"{path_or_name}: no such directory; {flag} takes a directory or a hub name")
    return None


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
