"""BERT encoder (Devlin et al., 2019); pretrained parameters come through pretrained/huggingface.py."""

import dataclasses
import functools
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from itm_jax.modules.dropout import Dropout
from itm_jax.modules.numerics import NEG
from itm_jax.structs import AnyArray

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": functools.partial(nn.gelu, approximate=False),
    "gelu_new": nn.gelu,
    "gelu_pytorch_tanh": nn.gelu,
    "relu": nn.relu,
    "silu": nn.silu,
}
# Larger sizes in a file are damage. Without a limit, the names of the tensors alone could fill the memory.
MOST, MOST_OTHERS = {"num_layers": 1000, "vocab_size": 10**8}, 10**6


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """Architecture of a BERT encoder; the names are those of the `model.text` section of the config."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    max_positions: int
    type_vocab_size: int = 2
    activation: str = "gelu"
    layer_norm_eps: float = 1e-12
    dropout: float = 0.1

    @classmethod
    def from_config(cls, text) -> "BertConfig":
        """Reads the fields of this class from a `model.text` config section. A field that is None takes its default."""
        return cls(**{f.name: text[f.name] for f in dataclasses.fields(cls) if text[f.name] is not None})

    @property
    def problem(self) -> str:
        """What is wrong with a value that comes from a file; empty where nothing is."""
        for field in dataclasses.fields(self):
            value, most = getattr(self, field.name), MOST.get(field.name, MOST_OTHERS)
            if isinstance(field.default, float):
                if type(value) not in (int, float) or not 0 <= value < 1:
                    return f"{field.name} is {value!r:.40}, expected a number from 0 to 1"
            elif field.name == "activation":
                if not isinstance(value, str) or value not in ACTIVATIONS:
                    return f"activation is {value!r:.40}, expected one of {', '.join(ACTIVATIONS)}"
            elif type(value) is not int or not 1 <= value <= most:
                return f"{field.name} is {value!r:.40}, expected a whole number from 1 to {most:,}"
        if self.hidden_size % self.num_heads:
            return f"hidden_size is {self.hidden_size}, no multiple of num_heads, {self.num_heads}"
        return ""


class Attention(nn.Module):
    """Multi-head self-attention; a token attends to valid tokens only."""

    config: BertConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b l e"], mask: Bool[AnyArray, "b l"], *, train: bool) -> Float[Array, "b l e"]:
        """Returns the attended values, projected."""
        c = self.config
        heads, width = c.num_heads, c.hidden_size // c.num_heads
        q, k, v = (
            nn.DenseGeneral((heads, width), dtype=self.dtype, kernel_init=normal_init, name=name)(x)
            for name in ("query", "key", "value")
        )
        logits = jnp.einsum("blhd,bmhd->bhlm", q, k).astype(jnp.float32) * width**-0.5
        weights = nn.softmax(jnp.where(mask[:, None, None, :], logits, NEG), axis=-1).astype(self.dtype)
        weights = Dropout(c.dropout)(weights, train=train)
        values = jnp.einsum("bhlm,bmhd->blhd", weights, v)
        out = nn.DenseGeneral(c.hidden_size, axis=(-2, -1), dtype=self.dtype, kernel_init=normal_init, name="output")
        return out(values)


class Layer(nn.Module):
    """One post-norm Transformer layer."""

    config: BertConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b l e"], mask: Bool[AnyArray, "b l"], *, train: bool) -> Float[Array, "b l e"]:
        """Returns the layer's output."""
        c = self.config
        norm = functools.partial(nn.LayerNorm, epsilon=c.layer_norm_eps, dtype=self.dtype)
        dense = functools.partial(nn.Dense, dtype=self.dtype, kernel_init=normal_init)
        attended = Attention(c, self.dtype, name="attention")(x, mask, train=train)
        x = norm(name="attention_norm")(x + Dropout(c.dropout)(attended, train=train))
        shape, x = x.shape, x.reshape(-1, x.shape[-1])  # as a matrix: XLA multiplies it twice as fast on a CPU
        hidden = ACTIVATIONS[c.activation](dense(c.intermediate_size, name="intermediate")(x))
        hidden = Dropout(c.dropout)(dense(c.hidden_size, name="output")(hidden), train=train)
        return norm(name="output_norm")(x + hidden).reshape(shape)


class Bert(nn.Module):
    """Word, position and type embeddings, then the layers.

    Attributes:
        config: architecture.
        dtype: compute dtype; parameters are float32.
        remat: whether to compute each layer again for the gradient, instead of keeping its activations.
    """

    config: BertConfig
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self, ids: Int[AnyArray, "b l"], mask: Bool[AnyArray, "b l"], *, train: bool = False
    ) -> Float[Array, "b l e"]:
        """Returns the last hidden states; those of invalid tokens have no meaning. `train` needs the rng `dropout`.

        Raises:
            ValueError: there are more tokens than the checkpoint has positions.
        """
        c = self.config
        if ids.shape[1] > c.max_positions:
            raise ValueError(f"{ids.shape[1]} tokens, but the text encoder has {c.max_positions} positions")
        embed = functools.partial(nn.Embed, features=c.hidden_size, dtype=self.dtype, embedding_init=normal_init)
        x = embed(c.vocab_size, name="word")(ids)
        x += embed(c.max_positions, name="position")(jnp.arange(ids.shape[1]))[None]
        x += embed(c.type_vocab_size, name="type")(jnp.zeros((1, 1), jnp.int32))
        x = nn.LayerNorm(epsilon=c.layer_norm_eps, dtype=self.dtype, name="norm")(x)
        x = Dropout(c.dropout)(x, train=train)
        through = lambda layer, x, mask: layer(x, mask, train=train)  # noqa: E731
        through = nn.remat(through) if self.remat else through
        for i in range(c.num_layers):
            x = through(Layer(c, self.dtype, name=f"layer_{i}"), x, mask)
        return x


normal_init = nn.initializers.normal(0.02)
