"""Finds the directory of a pretrained checkpoint: a path, a Hugging Face hub name, or a folder of a Python package."""

import importlib.util
import pathlib

from itm_jax.errors import InputError

PACKAGE = "package:"
FIELD = "config.model.text.pretrained"  # what names a checkpoint where nothing else is said
HUB_SECONDS = 10.0  # that the hub may take to say whether it has a name
LONGEST_REASON = 160  # characters of an error of the hub that are shown
FILES = (
    "config.json",
    "preprocessor_config.json",
    "*.safetensors",
    "model.safetensors.index.json",
    "tokenizer*",
    "vocab.txt",
    "special_tokens_map.json",
)


def checkpoint_dir(path_or_name: str, *, flag: str = FIELD) -> pathlib.Path:
    """Returns the local directory of a checkpoint: the path itself, or the hub's snapshot, downloaded when needed.

    `package:NAME/FOLDER` is a folder of an installed Python package, wherever it is installed.

    Args:
        path_or_name: the directory, the name on the hub, or the folder of a package.
        flag: the flag or field that names it, for messages.
    """
    local = _local(path_or_name, flag)
    if local is not None:
        return local
    import huggingface_hub

    try:
        return pathlib.Path(huggingface_hub.snapshot_download(path_or_name, allow_patterns=list(FILES)))
    except Exception as e:  # the hub raises many kinds: no network, no such name, no access
        raise _not_on_hub(path_or_name, e, flag) from None


def revision_of(directory: pathlib.Path) -> str | None:
    """Returns the revision of a snapshot of the hub; None for another directory."""
    return directory.name if directory.parent.name == "snapshots" else None


def check_available(path_or_name: str) -> None:
    """Raises InputError where a checkpoint is neither on this machine nor on the hub; nothing is downloaded."""
    if _local(path_or_name) is not None:
        return
    import huggingface_hub

    try:
        huggingface_hub.snapshot_download(path_or_name, allow_patterns=list(FILES), local_files_only=True)
        return
    except Exception:  # not in the hub's cache
        pass
    try:
        huggingface_hub.HfApi().model_info(path_or_name, timeout=HUB_SECONDS)
    except Exception as e:
        raise _not_on_hub(path_or_name, e) from None


def _local(path_or_name: str, flag: str = FIELD) -> pathlib.Path | None:
    """Returns the directory that a path or `package:` names; None for a name of the hub."""
    if path_or_name.startswith(PACKAGE):
        return _in_package(path_or_name)
    path = pathlib.Path(path_or_name).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or path_or_name.startswith((".", "~")) or path_or_name.count("/") > 1 or path.exists():
        raise InputError(f"{path_or_name}: no such directory; {flag} takes a directory or a hub name")
    return None


def _not_on_hub(name: str, error: Exception, flag: str = FIELD) -> InputError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if len(reason) > LONGEST_REASON:
        reason = f"{reason[:LONGEST_REASON]} ..."
    return InputError(
        f"{name}: not a local directory, and not available from the Hugging Face hub ({reason}); download it and pass "
        f"its directory as {flag}"
    )


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
