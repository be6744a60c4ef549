"""The state of training, its initialisation on a mesh, and the optimiser chain."""

from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import PRNGKeyArray

from itm_jax.devices.mesh import put, replicated, spread
from itm_jax.models.variables import initializer
from itm_jax.structs import Batch, Constants, TrainState

TEXT_ENCODER = "text_encoder"


def learning_rate(config, steps_per_epoch: int) -> optax.Schedule:
    """Step decay: `lr · decay_factor^(number of decay_epochs passed)`."""
    boundaries = {int(epoch * steps_per_epoch): config.decay_factor for epoch in config.decay_epochs}
    return optax.piecewise_constant_schedule(config.lr, boundaries)


def text_encoder_factor(factor: float) -> optax.GradientTransformation:
    """Scales the updates of the pretrained text encoder (BERT learns at a tenth of the rate in the recipe)."""

    def scale(updates, params=None):
        del params
        return {k: jax.tree.map(lambda u: u * factor, v) if k == TEXT_ENCODER else v for k, v in updates.items()}

    return optax.stateless(scale)


def make_optimizer(config, schedule: optax.Schedule) -> optax.GradientTransformation:
    """AdamW after clipping by the global norm, as the `optim` section of the config says."""
    chain = [optax.clip_by_global_norm(config.clip)] if config.clip else []
    chain += [
        optax.scale_by_adam(),
        optax.add_decayed_weights(config.weight_decay),
        text_encoder_factor(config.text_lr_factor),
        optax.scale_by_learning_rate(schedule),
    ]
    return optax.chain(*chain)


def init_optimizer(optimizer, params, *, sharded: bool, mesh) -> Any:
    """Returns the optimiser's first state: on every device, or `sharded`.

    A sharded state has each array in parts over the mesh, if an axis of the array divides evenly. This saves memory,
    because a device holds only its share of Adam's two moments, and costs sending the updates around (ZeRO stage 1,
    Rajbhandari et al., SC 2020). The numbers are the same.
    """
    shapes = jax.eval_shape(optimizer.init, params)
    layout = jax.tree.map(lambda x: spread(x, mesh) if sharded else replicated(mesh), shapes)
    return jax.jit(optimizer.init, out_shardings=layout)(params)


def init_state(
    key: PRNGKeyArray, model, optimizer, batch: Batch, constants: Constants, *, bert_params=None, sharded=False, mesh
) -> TrainState:
    """Returns a fresh state, replicated over the mesh; only the optimiser's state may be sharded.

    Args:
        key: draws the parameters.
        model: from `models.build`.
        optimizer: from `make_optimizer`.
        batch: an example batch; only its shapes and dtypes matter.
        constants: collections that come with the data (`TextSplit.constants`).
        bert_params: pretrained parameters that replace those of the text encoder.
        sharded: whether the optimiser's state is in parts over the mesh (`init_optimizer`).
        mesh: from `devices.mesh.make_mesh`.
    """
    init = initializer(model, batch, constants)
    variables = jax.jit(init, out_shardings=replicated(mesh))(key)
    params, batch_stats = variables["params"], variables["batch_stats"]
    if bert_params is not None and TEXT_ENCODER in params:
        params = dict(params) | {TEXT_ENCODER: put(bert_params, replicated(mesh))}
    opt_state = init_optimizer(optimizer, params, sharded=sharded, mesh=mesh)
    zeros = put((np.zeros((), np.int32), np.zeros((), np.int32)), replicated(mesh))
    return TrainState(zeros[0], params, batch_stats, opt_state, zeros[1])
