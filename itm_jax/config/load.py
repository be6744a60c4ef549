"""Python files that hold a config, and where those of the library are."""

import importlib.util
import pathlib
import types

import ml_collections

import itm_jax


def load_module(path: pathlib.Path) -> types.ModuleType:
    """The Python file, executed."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config_beside(file: str, name: str) -> ml_collections.ConfigDict:
    """The config of the file `name`.py in the directory of the config file `file`."""
    return load_module(pathlib.Path(file).with_name(f"{name}.py")).get_config()


def config_directory() -> pathlib.Path:
    """The directory of the library's configs: in the package where it is installed, beside it in a checkout."""
    package = pathlib.Path(itm_jax.__file__).parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def config_names() -> list[str]:
    """The names of the library's configs."""
    return sorted(path.stem for path in config_directory().glob("*.py"))


def find_config(name: str) -> pathlib.Path | None:
    """The file of a config or a table of the library, by `NAME`, `configs/NAME.py` or `configs/tables/NAME.py`.

    None where `name` is a file of the user's, or of nothing in the library.
    """
    if pathlib.Path(name.split(".py:")[0]).expanduser().exists():
        return None
    inside = name.removeprefix("configs/")
    path = config_directory() / (inside if inside.endswith(".py") else f"{inside}.py")
    return path if path.is_file() else None
