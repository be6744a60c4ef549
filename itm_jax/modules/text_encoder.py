"""The text encoder of any model: its architecture from the config, and the states of a batch of captions."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from itm_jax.modules.bert import Bert, BertConfig
from itm_jax.modules.gru import BiGRU, GRUConfig
from itm_jax.structs import Tokens


def encoder_config(c) -> BertConfig | GRUConfig | None:
    """Architecture of the text encoder that a `model` section describes; None where its states come frozen."""
    if c.text.encoder == "gru":
        return GRUConfig(c.text.vocab_size, c.text.embed_size, c.width, c.text.dropout or 0.0)
    return BertConfig.from_config(c.text) if c.text.trainable else None


def make_text_encoder(
    encoder: BertConfig | GRUConfig | None, dtype: DTypeLike, *, remat: bool = False
) -> nn.Module | None:
    """The encoder, to be kept by a model as `text_encoder`; None where states come frozen."""
    if encoder is None:
        return None
    return BiGRU(encoder, dtype) if isinstance(encoder, GRUConfig) else Bert(encoder, dtype, remat)


def encode_in_parts(
    encoder: nn.Module, params: Any, tokens: Tokens, *, parts: int, key: PRNGKeyArray
) -> Float[Array, "b l e"]:
    """Training states of a batch, a part of it at a time; the gradient goes through the parts again, with their keys.

    Only one part's activations are ever held, and whatever follows sees the states of the whole batch (gradient
    caching, Gao et al., RepL4NLP 2021). Part k has the rows k, k + parts, ...: of every device its share.
    """

    @jax.checkpoint
    def encode(part):
        ids, mask, k = part
        return encoder.apply({"params": params}, ids, mask, train=True, rngs={"dropout": jax.random.fold_in(key, k)})

    def cut(x: Array) -> Array:
        return jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1)

    states = jax.lax.map(encode, (cut(tokens.ids), cut(tokens.mask), jnp.arange(parts)))
    return jnp.swapaxes(states, 0, 1).reshape(*tokens.ids.shape, -1)


def text_states(encoder: nn.Module | None, tokens: Tokens, *, train: bool) -> Float[Array, "b l e"]:
    """`tokens.states` where given, else those of the encoder.

    Raises:
        ValueError: neither is there.
    """
    if tokens.states is not None:
        return tokens.states
    if encoder is None:
        raise ValueError("this model has a frozen text encoder: give tokens.states (data.text.states)")
    return encoder(tokens.ids, tokens.mask, train=train)


def word_mask(tokens: Tokens) -> Bool[Array, "b l"]:
    """Valid tokens without [CLS] and [SEP]: without the first and the last, where nothing says which are words."""
    if tokens.word_ids is not None:
        return tokens.mask & (tokens.word_ids >= 0)
    following = jnp.pad(tokens.mask[:, 1:], ((0, 0), (0, 1)))
    return tokens.mask & following & (jnp.arange(tokens.mask.shape[1]) > 0)[None]
