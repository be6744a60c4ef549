"""The form of a model in which the encoding of an item does not depend on the other items of its batch."""

from typing import Any

from itm_jax.config.fields import mutable_copy
from itm_jax.config.model_fields import depends_on_batch
from itm_jax.errors import InputError


def batch_independent(config: Any) -> Any:
    """Returns a config with which each item is encoded as in a batch of its own.

    In the aggregation of AFA's authors the number of merges depends on the other items of a batch, in the paper's it
    does not. The variables of a model are the same in both forms.

    Raises:
        InputError: a model of the user's own has no such form.
    """
    if not depends_on_batch(config.model):
        return config
    out = mutable_copy(config)
    out.model.aggregation.variant = "official_single"
    if depends_on_batch(out.model):
        raise InputError(
            f"config.model.name={config.model.name}: the embedding of an item depends on its batch, so that single "
            "images and captions have none; evaluate the run instead (itm_jax.main --mode=evaluate)"
        )
    return out
