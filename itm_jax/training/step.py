"""One step of training: a pure function (state, batch, key) -> (state, metrics)."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import optax
from jaxtyping import PRNGKeyArray

from itm_jax.config.sections import Loss, read_section
from itm_jax.data.bank import take
from itm_jax.losses.matching import matching_loss
from itm_jax.losses.negatives import excluded_pairs
from itm_jax.modules.text_encoder import encode_in_parts, encoder_config, make_text_encoder
from itm_jax.structs import Batch, Constants, Regions, TrainState
from itm_jax.training.augment import AugmentConstants, augment
from itm_jax.training.state import TEXT_ENCODER

Metrics = dict[str, jax.Array]


def make_train_step(
    model,
    optimizer: optax.GradientTransformation,
    augmentation: AugmentConstants,
    config: ml_collections.ConfigDict,
    *,
    constants: Constants,
    warmup_steps: int,
) -> Callable[[TrainState, Batch, PRNGKeyArray], tuple[TrainState, Metrics]]:
    """Makes the training step, to be compiled with `jit`.

    Args:
        model: from `models.build`.
        optimizer: from `training.state.make_optimizer`.
        augmentation: what word augmentation needs.
        config: a completed config; the step reads `data.augment`, `loss`, and what saves memory in the text encoder.
        constants: collections of the model's variables that come with the data (`TextSplit.constants`).
        warmup_steps: steps in which the triplet terms sum over all negatives.

    Returns:
        A function of the state, a host-independent batch, the run's key and, where batches have no regions, the feature
        cache on the devices. The step's randomness is `fold_in(key, state.step)`. The metrics are scalars: `loss`,
        `plateau` (the loss of a collapsed model), `grad_norm`, `skipped`.
    """
    encoder = make_text_encoder(encoder_config(config.model), jnp.dtype(config.model.dtype), remat=config.train.remat)

    loss = read_section(Loss, config.loss)

    def loss_fn(params, batch_stats, batch: Batch, bank: Regions | None, step, key):
        image = jnp.asarray(batch.image)
        if batch.regions is None:
            assert bank is not None
            batch = dataclasses.replace(batch, regions=take(bank, image))
        augment_key, aggregation_key, dropout_key, loss_key = jax.random.split(key, 4)
        batch = augment(augment_key, batch, augmentation, config.data.augment)
        variables = {"params": params, "batch_stats": batch_stats, **constants}
        if config.train.text_parts > 1 or config.train.remat:
            assert encoder is not None  # only a trainable encoder takes these fields
            states = encode_in_parts(
                encoder, params[TEXT_ENCODER], batch.tokens, parts=config.train.text_parts, key=dropout_key
            )
            batch = dataclasses.replace(batch, tokens=dataclasses.replace(batch.tokens, states=states))
        (images, captions), updates = model.apply(
            variables,
            batch.regions,
            batch.tokens,
            train=True,
            rngs={"aggregation": aggregation_key, "dropout": dropout_key},
            mutable=["batch_stats"],
        )
        excluded = excluded_pairs(image, same_image=loss.same_image, num_negatives=loss.num_negatives)
        scores = model.apply(variables, images, captions, method="score")
        value, plateau = matching_loss(
            loss_key, scores, images, captions, excluded, warmup=step < warmup_steps, config=loss
        )
        return value, (updates.get("batch_stats", batch_stats), plateau)

    def train_step(
        state: TrainState, batch: Batch, key: PRNGKeyArray, bank: Regions | None = None
    ) -> tuple[TrainState, Metrics]:
        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        step_key = jax.random.fold_in(key, state.step)
        (value, (batch_stats, plateau)), grads = grad_fn(
            state.params, state.batch_stats, batch, bank, state.step, step_key
        )
        norm = optax.tree.norm(grads)
        with jax.numpy_dtype_promotion("standard"):  # Adam's bias correction is a float to the power of an integer
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        new = (optax.apply_updates(state.params, updates), batch_stats, opt_state)
        finite = jnp.isfinite(norm) & jnp.isfinite(value) & jnp.isfinite(optax.tree.norm(new[:2]))
        old = (state.params, state.batch_stats, state.opt_state)
        params, batch_stats, opt_state = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
        skipped = state.skipped + jnp.where(finite, 0, 1)
        metrics = {"loss": value, "plateau": plateau, "grad_norm": norm, "skipped": skipped}
        return TrainState(state.step + 1, params, batch_stats, opt_state, skipped), metrics

    return train_step
