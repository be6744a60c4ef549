"""The parts of a run, built from its config: model, text side, mesh, optimiser, first state; and its workdir."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from itm_jax.config.derived import resolve
from itm_jax.data import pipeline
from itm_jax.data.labels import word_prior
from itm_jax.data.text.states import lone_mask_state
from itm_jax.data.text.text_input import TextInput
from itm_jax.devices.mesh import make_mesh, put, replicated
from itm_jax.models import build
from itm_jax.models.cpfean import WORD_PRIOR
from itm_jax.structs import TrainState
from itm_jax.training.augment import AugmentConstants
from itm_jax.training.state import init_state, learning_rate, make_optimizer


@dataclasses.dataclass(frozen=True)
class Run:
    """A model with its text side, mesh and freshly initialised state."""

    config: Any
    text: TextInput
    mesh: Any
    model: Any
    optimizer: Any
    schedule: Any
    steps_per_epoch: int
    state: TrainState


def build_run(config, text: TextInput, data: pipeline.TextSplit) -> Run:
    """The run's parts; `data`, its training split, gives the shapes."""
    resolve(config)
    mesh = make_mesh(config.data.batch_size)
    steps = pipeline.steps_per_epoch(data.split, config.data.batch_size)
    model = build(config.model)
    schedule = learning_rate(config.optim, steps)
    optimizer = make_optimizer(config.optim, schedule)
    example = data.batch(np.arange(2))
    state = init_state(
        jax.random.key(config.seed),
        model,
        optimizer,
        example,
        data.constants,
        bert_params=text.params,
        sharded=config.optim.sharded,
        mesh=mesh,
    )
    if WORD_PRIOR in state.batch_stats:
        prior = word_prior(
            data.table.ids, data.table.lengths, data.split.captions_per_image, config.model.text.vocab_size
        )
        stats = dict(state.batch_stats) | {WORD_PRIOR: put(prior, replicated(mesh))}
        state = state.replace(batch_stats=stats)
    return Run(config, text, mesh, model, optimizer, schedule, steps, state)


def augment_constants(config, text: TextInput) -> AugmentConstants:
    """What word augmentation needs of the text side."""
    mask_state = None if config.model.text.trainable else lone_mask_state(text)
    return AugmentConstants(text.mask_id, jnp.asarray(text.replacements), mask_state)
