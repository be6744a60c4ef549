"""Loads Python files that hold a config, and finds those of the library."""

import importlib.util
import pathlib
import re
import types

import ml_collections

import itm_jax


def load_module(path: pathlib.Path) -> types.ModuleType:
    """Executes a Python file and returns it as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None  # the file ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config_beside(file: str, name: str) -> ml_collections.ConfigDict:
    """Returns the config of the file `name`.py, which lies in the directory of the config file `file`."""
    return load_module(pathlib.Path(file).with_name(f"{name}.py")).get_config()


def config_directory() -> pathlib.Path:
    """Returns the directory of the library's configs: inside the installed package, or beside it in a checkout."""
    package = pathlib.Path(itm_jax.__file__).parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def config_names() -> list[str]:
    """Returns the names of the library's configs, sorted."""
    return sorted(path.stem for path in config_directory().glob("*.py"))


def find_config(name: str) -> pathlib.Path | None:
    """Returns the file of a config or a table of the library.

    Args:
        name: `NAME`, `tables/NAME`, `configs/NAME.py` or `configs/tables/NAME.py`.

    Returns:
        None where `name` is an existing file of the user, or the library has no such file.
    """
    if pathlib.Path(re.sub(r"(\.py):.*", r"\1", name)).expanduser().is_file():
        return None
    inside = name.removeprefix("configs/")
    path = config_directory() / (inside if inside.endswith(".py") else f"{inside}.py")
    return path if path.is_file() else None
