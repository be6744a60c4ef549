"""The shape annotations of the package are executed while tests run; without this the suite would stay green."""

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from itm_jax.losses.triplet import triplet_loss
from itm_jax.modules.aggregation import aggregate
from itm_jax.structs import Regions


def test_a_wrong_shape_is_refused_at_the_call():
    with pytest.raises(TypeCheckError):
        aggregate(jnp.zeros((2, 3, 4)), jnp.ones((2, 5), bool), ratio=0.5)
    with pytest.raises(TypeCheckError):
        triplet_loss(jnp.zeros((2, 3)), margin=0.2, hardest=True)


def test_a_wrong_type_is_refused_at_the_call():
    with pytest.raises(TypeCheckError):
        triplet_loss(np.zeros((2, 2), np.float32), margin=0.2, hardest=True)


def test_a_struct_whose_arrays_do_not_fit_is_refused():
    with pytest.raises(TypeError):
        Regions(jnp.zeros((2, 3, 4)), jnp.ones((2, 5), bool))
