"""The parts of a run, built from its completed config: model, mesh, optimiser, first state, and the compiled step."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array

from itm_jax.data import pipeline
from itm_jax.data.bank import bank_dtype, make_bank, on_device
from itm_jax.data.statistics import data_statistics
from itm_jax.data.text.states import lone_mask_state
from itm_jax.data.text.text_input import TextInput
from itm_jax.devices.mesh import make_mesh, put, replicated
from itm_jax.models import build
from itm_jax.structs import Regions, TrainState
from itm_jax.training.augment import AugmentConstants
from itm_jax.training.state import init_state, learning_rate, make_optimizer
from itm_jax.training.step import make_train_step


@dataclasses.dataclass(frozen=True)
class Run:
    """A model with its text side, mesh and freshly initialised state."""

    config: ml_collections.FrozenConfigDict
    text: TextInput
    mesh: Mesh
    model: Any
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    steps_per_epoch: int
    state: TrainState


def build_run(config: ml_collections.FrozenConfigDict, text: TextInput, data: pipeline.TextSplit) -> Run:
    """Builds the parts of a run.

    Args:
        config: a config that `data.prepare` completed.
        text: the text side of the run.
        data: the train split of the run.
    """
    mesh = make_mesh(config.data.batch_size)
    steps = pipeline.steps_per_epoch(data.split, config.data.batch_size)
    model = build(config.model)
    schedule = learning_rate(config.optim, steps)
    optimizer = make_optimizer(config.optim, schedule)
    state = init_state(
        jax.random.key(config.seed),
        model,
        optimizer,
        data.batch(np.arange(2)),
        data.constants,
        bert_params=text.params,
        sharded=config.optim.sharded,
        mesh=mesh,
    )
    if statistics := data_statistics(config, data, state.batch_stats):
        batch_stats = {**state.batch_stats, **put(statistics, replicated(mesh))}
        state = dataclasses.replace(state, batch_stats=batch_stats)
    return Run(config, text, mesh, model, optimizer, schedule, steps, state)


def augment_constants(config, text: TextInput) -> AugmentConstants:
    """What word augmentation needs of the text side."""
    mask_state = None if config.model.text.trainable else lone_mask_state(text)
    return AugmentConstants(text.mask_id, jnp.asarray(text.replacements), mask_state)


@dataclasses.dataclass(frozen=True)
class Step:
    """The jitted training step of a run, and its arguments besides state and batch.

    Attributes:
        function: (state, batch, key, bank) -> (state, metrics); the state is donated.
        key: the key of the run; a step draws its randomness from it and from the number of the step.
        bank: the feature cache of the train split on the devices; None where a batch has its own features.
    """

    function: jax.stages.Wrapped
    key: Array
    bank: Regions | None

    def __call__(self, state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Array]]:
        """Does one step."""
        return self.function(state, batch, self.key, self.bank)


def build_step(run: Run, data: pipeline.TextSplit, state: TrainState, *, warmup: bool = True) -> Step:
    """Builds the training step of a run on its train split, for states laid out like `state`.

    Without `warmup` it is the step after the warm-up epochs.

    Raises:
        InputError: `data.bank=device` is set, and the features do not fit on the devices.
    """
    config = run.config
    function = make_train_step(
        run.model,
        run.optimizer,
        augment_constants(config, run.text),
        config,
        constants=data.constants,
        warmup_steps=round(config.loss.warmup_epochs * run.steps_per_epoch) if warmup else 0,
    )
    layout = (jax.tree.map(lambda x: x.sharding, state), replicated(run.mesh))
    key = jax.jit(lambda: jax.random.key(config.seed + 1), out_shardings=replicated(run.mesh))()
    bank = None
    if on_device(config, data, run.mesh):
        bank = make_bank(data, run.mesh, bank_dtype(data.split.features.dtype, config.model.dtype))
    return Step(jax.jit(function, donate_argnums=0, out_shardings=layout), key, bank)
