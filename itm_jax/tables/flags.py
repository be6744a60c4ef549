"""The fields of a run as the flags of its command."""

from collections.abc import Mapping
from typing import Any

from itm_jax.config.fields import FREE_FIELDS, flatten, set_field
from itm_jax.config.model_fields import idle_flags
from itm_jax.tables.cell import Cell


def as_flags(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns `--config.FIELD=VALUE` for every field that has a value."""
    return tuple(f"--config.{name}={value}" for name, value in fields.items() if value is not None)


def place(cell: Cell) -> dict[str, Any]:
    """Returns the field with the present place of the data; the run may have been trained with them elsewhere."""
    return {} if cell.config.data.source == "scenes" else {"data.dir": cell.config.data.dir}


def free(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the given fields that do not decide a run's numbers."""
    return {name: value for name, value in given.items() if name in FREE_FIELDS}


def fields_in_use(config: Any, of_model: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields that a base sets for a model, without those that other fields make idle.

    A command line that sets an idle field would be refused.

    Args:
        config: the base config; it is not changed.
        of_model: the base's fields for the model of a row.
        others: the fields of the base, of the row and of the command line.
    """
    tried = config.copy_and_resolve_references()
    known = flatten(tried)
    for name, value in {**of_model, **others}.items():
        if name in known and value is not None:  # what is wrong with a field is said later
            set_field(tried, name, value)
    return {name: value for name, value in of_model.items() if not list(idle_flags(tried, [name]))}
