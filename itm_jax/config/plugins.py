"""A user's own model, loss or data source, named in the config as MODULE:NAME (docs/extending.md)."""

import importlib
from typing import Any

from itm_jax.errors import InputError


def is_own(name: str | None) -> bool:
    """Whether a value of a config field names something of the user's."""
    return bool(name) and ":" in name


def load(name: str, field: str) -> Any:
    """What MODULE:NAME names.

    Args:
        name: the value of the field.
        field: its dotted name, for messages.

    Raises:
        InputError: there is no such module on the Python path, or nothing of that name in it.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute or module.startswith("."):
        raise InputError(f"config.{field}={name}: must be MODULE:NAME")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as e:
        if e.name is None or not f"{module}.".startswith(f"{e.name}."):
            raise
        raise InputError(
            f"config.{field}={name}: no module {module} on the Python path; run where it lies, or set PYTHONPATH"
        ) from None
    if not hasattr(found, attribute):
        raise InputError(f"config.{field}={name}: {module} has no {attribute}")
    return getattr(found, attribute)
