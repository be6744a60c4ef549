"""The variables of a model: their shapes, their first values, their number."""

from typing import Any

import jax
import jax.numpy as jnp

from itm_jax.structs import Batch, Constants


def initializer(model, batch: Batch, constants: Constants):
    """Returns a model's `init(key) -> {"params", "batch_stats"}`, for batches with shapes and dtypes of `batch`."""
    small = jax.tree.map(lambda x: jnp.zeros((2, *x.shape[1:]), x.dtype), batch)

    def init(key):
        _, variables = model.apply(
            constants, small.regions, small.tokens, train=False, rngs={"params": key}, mutable=("params", "batch_stats")
        )
        return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}

    return init


def abstract_variables(model, batch: Batch, constants: Constants) -> dict[str, Any]:
    """Returns shapes and dtypes of `{"params", "batch_stats"}` of a model; nothing is computed."""
    return jax.eval_shape(initializer(model, batch, constants), jax.random.key(0))


def count_params(params: Any) -> int:
    """Returns the number of scalars in a parameter tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
