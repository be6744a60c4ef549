"""The form of a model in which the encoding of an item does not depend on other items."""

from typing import Any

from itm_jax.config.fields import mutable_copy
from itm_jax.config.model_fields import depends_on_batch


def alone(config: Any) -> Any:
    """Returns a config with which each item is encoded as in a batch of its own.

    In the aggregation of AFA's authors the number of merges depends on the other items of a batch, in the paper's it
    does not. The variables of a model are the same in both forms.
    """
    if not depends_on_batch(config.model):
        return config
    out = mutable_copy(config)
    out.model.aggregation.variant = "official_single"
    return out
