"""A user's own model, loss or data source, named in the config as MODULE:NAME (docs/extending.md)."""

import importlib
from typing import Any

from itm_jax.errors import InputError


def is_own(name: str | None) -> bool:
    """Returns whether the value of a config field is MODULE:NAME, something of the user's own."""
    return name is not None and ":" in name


def load(name: str, field: str) -> Any:
    """Returns the object that MODULE:NAME names.

    Args:
        name: the value of the field.
        field: its dotted name, for messages.

    Raises:
        InputError: the Python path has no such module, or the module has no such name.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute or module.startswith("."):
        raise InputError(f"config.{field}={name}: must be MODULE:NAME, with a module on the Python path")
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as e:
        if e.name is None or not f"{module}.".startswith(f"{e.name}."):
            raise
        raise InputError(
            f"config.{field}={name}: no module {module} on the Python path; run in its directory, or set PYTHONPATH"
        ) from None
    if not hasattr(imported, attribute):
        raise InputError(f"config.{field}={name}: {module} has no {attribute}; correct the name, or define it there")
    return getattr(imported, attribute)
