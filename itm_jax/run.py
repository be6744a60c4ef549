"""The parts of a run, built from its config: model, text side, mesh, optimiser, first state; and its workdir."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from itm_jax import config as config_lib
from itm_jax.choices import depends_on_batch, resolve
from itm_jax.data import pipeline
from itm_jax.data.augment import AugmentConstants
from itm_jax.data.labels import word_prior
from itm_jax.data.text import TextInput, run_vocabulary
from itm_jax.data.text_states import lone_mask_state
from itm_jax.data.vocabulary import VOCAB
from itm_jax.errors import InputError
from itm_jax.mesh import make_mesh, put, replicated
from itm_jax.models import build
from itm_jax.models.cpfean import WORD_PRIOR
from itm_jax.train_state import TrainState, abstract_variables, init_state, learning_rate, make_optimizer


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


def build_for_evaluation(config, data: pipeline.TextSplit) -> tuple[Any, Any, dict[str, Any]]:
    """(model, mesh, shapes of its variables); nothing is initialised."""
    mesh = make_mesh(config.data.batch_size if depends_on_batch(config.model) else jax.device_count())
    model = build(config.model)
    shapes = abstract_variables(model, data.batch(np.arange(2)), data.constants)
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)), shapes)
    return model, mesh, like


def augment_constants(config, text: TextInput) -> AugmentConstants:
    """What word augmentation needs of the text side."""
    mask_state = None if config.model.text.trainable else lone_mask_state(text)
    return AugmentConstants(text.mask_id, jnp.asarray(text.replacements), mask_state)


def check_workdir(config, workdir: pathlib.Path) -> None:
    """Raises InputError where the workdir belongs to a run with another config."""
    path = workdir / "config.json"
    changed = config_lib.differences(config, config_lib.read_json(path)) if path.exists() else []
    if changed:
        raise InputError(
            f"{workdir}: belongs to a run with another config ({'; '.join(changed[:4])}); "
            "take another --workdir, or the same config to continue"
        )


def check_vocabulary(text: TextInput, other: pathlib.Path) -> None:
    """Raises InputError where the run `other`, whose parameters are to be taken over, has another word vocabulary.

    One whose own vocab.txt is gone is refused too: nothing says which words its embeddings are of.
    """
    path = other / VOCAB
    theirs = run_vocabulary(other) if text.words else None
    if theirs and theirs != text.words:
        raise InputError(f"{path}: not the vocabulary of this run; set config.model.text.vocab={path} to take it over")
