"""The text encoder of any model: its architecture from the config, and the hidden states of a batch of captions."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from itm_jax.modules.bert import Bert, BertConfig
from itm_jax.modules.gru import BiGRU, GRUConfig
from itm_jax.structs import AnyArray, Tokens


def encoder_config(c) -> BertConfig | GRUConfig | None:
    """Returns the architecture of a `model` section's text encoder; None where its hidden states are frozen."""
    if c.text.encoder == "gru":
        return GRUConfig(c.text.vocab_size, c.text.embed_size, c.width, c.text.dropout or 0.0)
    return BertConfig.from_config(c.text) if c.text.trainable else None


def make_text_encoder(
    encoder: BertConfig | GRUConfig | None, dtype: DTypeLike, *, remat: bool = False
) -> nn.Module | None:
    """Returns the encoder, which a model keeps as `text_encoder`; None where the hidden states are frozen."""
    if encoder is None:
        return None
    return BiGRU(encoder, dtype) if isinstance(encoder, GRUConfig) else Bert(encoder, dtype, remat)


def encode_in_parts(
    encoder: nn.Module, params: Any, tokens: Tokens, *, parts: int, key: PRNGKeyArray
) -> Float[Array, "b l e"]:
    """Returns the hidden states of a batch in training, computed part by part.

    The gradient computes each part again, with the same key. Only one part's activations are held at a time, and later
    code sees the hidden states of the whole batch (gradient caching, Gao et al., RepL4NLP 2021). Part k has the rows k,
    k + parts, ..., so that every device has a share of each part.
    """

    @jax.checkpoint
    def encode(part):
        ids, mask, k = part
        return encoder.apply({"params": params}, ids, mask, train=True, rngs={"dropout": jax.random.fold_in(key, k)})

    def cut(x: AnyArray) -> Array:
        return jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1)

    states = jax.lax.map(encode, (cut(tokens.ids), cut(tokens.mask), jnp.arange(parts)))
    return jnp.swapaxes(states, 0, 1).reshape(*tokens.ids.shape, -1)


def text_states(encoder: nn.Module | None, tokens: Tokens, *, train: bool) -> Float[Array, "b l e"]:
    """Returns `tokens.states` where they are set, else the hidden states of the encoder.

    Raises:
        ValueError: both the states and the encoder are missing.
    """
    if tokens.states is not None:
        return jnp.asarray(tokens.states)
    if encoder is None:
        raise ValueError("this model has a frozen text encoder: set tokens.states (data.text.states)")
    return encoder(tokens.ids, tokens.mask, train=train)


def word_mask(tokens: Tokens) -> Bool[AnyArray, "b l"]:
    """Returns the mask of the valid tokens without [CLS] and [SEP].

    Without `tokens.word_ids`, the first and the last valid token are taken for these two.
    """
    if tokens.word_ids is not None:
        return tokens.mask & (tokens.word_ids >= 0)
    following = jnp.pad(tokens.mask[:, 1:], ((0, 0), (0, 1)))
    return tokens.mask & following & (jnp.arange(tokens.mask.shape[1]) > 0)[None]
