"""Python files that hold a config."""

import importlib.util
import pathlib
import types

import ml_collections


def load_module(path: pathlib.Path) -> types.ModuleType:
    """The Python file, executed."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config_beside(file: str, name: str) -> ml_collections.ConfigDict:
    """The config of the file `name`.py in the directory of the config file `file`."""
    return load_module(pathlib.Path(file).with_name(f"{name}.py")).get_config()
