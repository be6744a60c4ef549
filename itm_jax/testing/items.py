"""A tiny model of a config, and a few items of `scenes` for it."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from itm_jax.config.fields import mutable_copy
from itm_jax.data.prepare import prepare
from itm_jax.losses.triplet import triplet_loss
from itm_jax.models.variables import abstract_variables
from itm_jax.structs import Batch, Regions, Tokens
from itm_jax.training.build import build_run

COUNT = 4  # items
MORE = 3  # invalid rows that padding adds


@dataclasses.dataclass(frozen=True)
class Items:
    """A model with its variables, and COUNT matching pairs, each with a different number of valid regions."""

    config: ml_collections.FrozenConfigDict
    model: Any
    variables: dict[str, Any]
    regions: Regions
    tokens: Tokens

    @functools.cached_property
    def _images(self):
        return jax.jit(lambda v, x: self.model.apply(v, x, train=False, method="encode_images"))

    @functools.cached_property
    def _captions(self):
        return jax.jit(lambda v, x: self.model.apply(v, x, train=False, method="encode_captions"))

    @functools.cached_property
    def _score(self):
        return jax.jit(self.score)

    def score(self, variables: dict[str, Any], images: Any, captions: Any) -> jax.Array:
        """The scores of encoded items."""
        return self.model.apply(variables, images, captions, method="score")

    def encode(self, regions: Regions, tokens: Tokens) -> tuple[Any, Any]:
        """The encodings of images and of captions."""
        return self._images(self.variables, regions), self._captions(self.variables, tokens)

    def scores(self, regions: Regions, tokens: Tokens) -> np.ndarray:
        """The score of every image with every caption."""
        return np.asarray(self._score(self.variables, *self.encode(regions, tokens)))

    def abstract_params(self) -> Any:
        """The shapes and dtypes of the parameters that the model would be given at first."""
        batch = Batch(self.regions, self.tokens, np.arange(COUNT, dtype=np.int32))
        constants = {k: v for k, v in self.variables.items() if k not in ("params", "batch_stats")}
        return abstract_variables(self.model, batch, constants)["params"]

    @functools.cached_property
    def _gradient(self):
        def loss(params, features, regions, tokens):
            regions = dataclasses.replace(regions, features=features)
            variables = self.variables | {"params": params}
            keys = dict(zip(("aggregation", "dropout"), jax.random.split(jax.random.key(0)), strict=True))
            encoded, _ = self.model.apply(variables, regions, tokens, train=True, rngs=keys, mutable=["batch_stats"])
            scores = self.model.apply(variables, *encoded, method="score")
            return triplet_loss(scores, margin=0.2, hardest=True)

        return jax.jit(jax.grad(loss, argnums=(0, 1)))

    def gradient(self, regions: Regions, tokens: Tokens) -> Any:
        """The gradient of the hardest triplet loss in training: by parameter, and by feature."""
        return self._gradient(self.variables["params"], regions.features, regions, tokens)


def tiny(config: Any) -> ml_collections.ConfigDict:
    """A copy of a config with a tiny model, a tiny text encoder from scratch, and tiny `scenes`."""
    config = mutable_copy(config)
    batch = jax.device_count() * -(-8 // jax.device_count())  # the devices share a batch evenly
    config.data.update({"source": "scenes", "name": "scenes", "pairing": "order"})
    config.data.update({"batch_size": batch, "eval_batch_size": batch})
    config.data.update({"max_tokens": 32, "token_buckets": (24, 32), "train_split": "train", "dev_split": "dev"})
    config.data.update(
        {"bank": "host", "train_share": 1.0, "alter": {"regions": 0, "permuted_labels": 0.0, "noisy_words": 0.0}}
    )
    config.data.scenes.update({"train": 2 * batch, "dev": 4, "test": 4, "regions": 6, "features": 12})
    config.model.width, config.model.graph.heads = 16, 2
    config.model.text.update({"pretrained": None, "vocab": None, "trainable": True, "num_layers": 1, "num_heads": 2})
    config.model.text.update({"hidden_size": 16, "intermediate_size": 16, "max_positions": 32})
    if config.model.text.encoder == "gru":
        config.model.text.min_count = 1
    config.train.update({"epochs": 1.0, "eval_every_epochs": 1.0, "log_every": 1, "checkpoint_every": 0})
    config.train.update({"text_parts": 1, "remat": False, "profile": (0, 0)})
    config.init_from = None
    return config


def tiny_items(config: Any) -> Items:
    """Builds the tiny model of a config, and pairs for it."""
    prepared = prepare(tiny(config), ["train"])
    data = prepared.with_text(prepared.splits[0])
    run = build_run(prepared.config, prepared.text, data)
    batch = data.batch(prepared.splits[0].caption_starts[:COUNT])
    assert batch.regions is not None
    count = batch.regions.mask.shape[1]
    valid = np.arange(count)[None] < count - np.arange(COUNT)[:, None]
    on_device = jax.tree.map(jnp.asarray, (dataclasses.replace(batch.regions, mask=valid), batch.tokens))
    variables = {"params": _moved(run.state.params), "batch_stats": run.state.batch_stats, **data.constants}
    variables = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), variables)  # on one device
    return Items(prepared.config, run.model, variables, *on_device)


def _moved(params: Any) -> Any:
    """Returns parameters with noise added, so that parts that start as 0 or as the identity have an effect too."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: np.asarray(x) + 0.1 * rng.standard_normal(x.shape, np.float32), params)


def images_of(regions: Regions, rows: Sequence[int]) -> Regions:
    """The images with these indices."""
    return jax.tree.map(lambda x: x[np.array(rows)], regions)


def captions_of(tokens: Tokens, rows: Sequence[int]) -> Tokens:
    """The captions with these indices."""
    return jax.tree.map(lambda x: x[np.array(rows)], tokens)


def padded(items: Items) -> tuple[Regions, Tokens]:
    """The items with MORE invalid rows. Only the mask of these rows is right, all their other values are wrong."""
    regions, tokens = items.regions, items.tokens
    invalid = np.zeros((COUNT, MORE), bool)

    def more(x: Any, value: float | int, width: int = MORE) -> Any:
        return None if x is None else jnp.concatenate([x, jnp.full_like(x[:, :width], value)], axis=1)

    return (
        Regions(
            more(regions.features, 50.0),
            jnp.concatenate([regions.mask, invalid], axis=1),
            more(regions.boxes, 0.5),
            more(regions.labels, 1),
        ),
        dataclasses.replace(
            tokens,
            ids=more(tokens.ids, 7),
            mask=jnp.concatenate([tokens.mask, invalid], axis=1),
            word_ids=more(tokens.word_ids, 0),
            states=more(tokens.states, 50.0),
        ),
    )
