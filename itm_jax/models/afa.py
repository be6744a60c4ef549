"""AFA: adaptive feature aggregation (Wang, Yin, Ramakrishnan, ICASSP 2024, arXiv 2401.09725)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from itm_jax.config import decided_by_variant
from itm_jax.modules.aggregation import aggregate
from itm_jax.modules.bert import Bert, BertConfig
from itm_jax.modules.enhancement import Enhancement
from itm_jax.modules.gru import BiGRU, GRUConfig
from itm_jax.modules.numerics import at_least_f32, l2_normalize
from itm_jax.modules.official import aggregate_official, batch_length, to_front
from itm_jax.modules.selection import GPO, select_max, select_mean
from itm_jax.structs import Regions, Tokens


class Branch(nn.Module):
    """Enhancement, aggregation and selection: from the rows of a modality to one unit vector per item.

    `variant` is that of the aggregation. With "official", or `statistics="all"`, padding up to the batch's longest item
    takes part, as in the authors' code, and valid rows have to come first.
    """

    width: int
    dtype: jnp.dtype
    mlp: bool
    statistics: str
    variant: str
    aggregation: bool
    ratio: float
    pairing: str
    shuffle: bool
    selection: str

    @nn.compact
    def __call__(self, rows: Float[Array, "b n f"], mask: Bool[Array, "b n"], *, train: bool) -> Float[Array, "b d"]:
        """Returns float32 unit vectors, 0 for an item without valid rows. `train` needs the rng `aggregation`."""
        length = batch_length(mask)
        padded = jnp.broadcast_to(jnp.arange(mask.shape[1]) < length, mask.shape)
        rows = Enhancement(self.width, self.dtype, self.mlp, name="enhancement")(
            rows,
            padded if self.variant == "official" else mask,
            train=train,
            counted=padded if self.statistics == "all" else mask,
        )
        if self.aggregation and self.variant == "official":
            rows, mask = aggregate_official(rows, mask, length)
        elif self.aggregation:
            key = self.make_rng("aggregation") if train else None
            rows, mask = aggregate(
                rows,
                mask,
                ratio=self.ratio,
                key=key,
                shuffle=self.shuffle,
                pairing=self.pairing,
            )
        select = {"max": select_max, "mean": select_mean}.get(self.selection) or GPO(name="gpo")
        return l2_normalize(at_least_f32(select(rows, mask)))


HIGHEST = jax.lax.Precision.HIGHEST


def text_encoder(c) -> BertConfig | GRUConfig | None:
    """Architecture of the text encoder that a `model` section describes; None where its states come frozen."""
    if c.text.encoder == "gru":
        return GRUConfig(c.text.vocab_size, c.text.embed_size, c.width, c.text.dropout or 0.0)
    return BertConfig.from_config(c.text) if c.text.trainable else None


class AFA(nn.Module):
    """Two branches over region features and text states; the score is the cosine.

    Attributes:
        encoder: architecture of a text encoder that is part of the model, None where captions come with frozen states.
        branch: arguments of both branches.
        text_mlp: whether the text branch has an MLP beside its linear layer.
        dtype: compute dtype.
    """

    encoder: BertConfig | GRUConfig | None
    branch: tuple[tuple[str, object], ...]
    text_mlp: bool = True
    dtype: jnp.dtype = jnp.float32

    @classmethod
    def from_config(cls, c) -> "AFA":
        """From the `model` section of a config."""
        decided = decided_by_variant(c)
        branch = {
            "width": c.width,
            "statistics": decided["enhancement.statistics"],
            "variant": decided["aggregation.variant"],
            "aggregation": c.aggregation.enabled,
            "ratio": c.aggregation.ratio,
            "pairing": c.aggregation.pairing,
            "shuffle": c.aggregation.shuffle,
            "selection": c.selection,
        }
        text_mlp = decided["enhancement.text"] == "mlp"
        return cls(encoder=text_encoder(c), branch=tuple(branch.items()), text_mlp=text_mlp, dtype=jnp.dtype(c.dtype))

    def setup(self):
        """Submodules."""
        branch = dict(self.branch)
        self.image_branch = Branch(**branch, mlp=True, dtype=self.dtype)
        self.text_branch = Branch(**branch, mlp=self.text_mlp, dtype=self.dtype)
        if self.encoder is not None:
            kind = BiGRU if isinstance(self.encoder, GRUConfig) else Bert
            self.text_encoder = kind(self.encoder, self.dtype)

    def encode_images(self, regions: Regions, *, train: bool) -> Float[Array, "b d"]:
        """Unit vectors of images."""
        rows, mask = regions.features, regions.mask
        branch = dict(self.branch)
        if branch["variant"] == "official" or branch["statistics"] == "all":
            rows, mask = to_front(rows, mask)
        return self.image_branch(rows, mask, train=train)

    def encode_captions(self, tokens: Tokens, *, train: bool) -> Float[Array, "b d"]:
        """Unit vectors of captions, from `tokens.states` where given, else through the text encoder."""
        states = tokens.states
        if states is None:
            if self.encoder is None:
                raise ValueError("this model has a frozen text encoder: give tokens.states (data.text_states)")
            states = self.text_encoder(tokens.ids, tokens.mask, train=train)
        return self.text_branch(states, tokens.mask, train=train)

    def score(self, images: Float[Array, "i d"], captions: Float[Array, "t d"]) -> Float[Array, "i t"]:
        """Cosine of every image with every caption."""
        return jnp.matmul(images, captions.T, precision=HIGHEST)  # decides ranks: never in reduced precision

    def __call__(self, regions: Regions, tokens: Tokens, *, train: bool) -> tuple[Array, Array]:
        """Both encodings; what `init` runs."""
        return self.encode_images(regions, train=train), self.encode_captions(tokens, train=train)
