"""AFA: adaptive feature aggregation (Wang, Yin, Ramakrishnan, ICASSP 2024, arXiv 2401.09725)."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from itm_jax.config import sections
from itm_jax.modules.aggregation import aggregate
from itm_jax.modules.bert import BertConfig
from itm_jax.modules.enhancement import Enhancement
from itm_jax.modules.gru import GRUConfig
from itm_jax.modules.numerics import HIGHEST, at_least_f32, l2_normalize
from itm_jax.modules.official import aggregate_official, batch_length, to_front
from itm_jax.modules.selection import GPO, select_max, select_mean
from itm_jax.modules.text_encoder import encoder_config, make_text_encoder, text_states
from itm_jax.structs import Regions, Tokens


class Branch(nn.Module):
    """Enhancement, aggregation and selection: from the rows of a modality to one unit vector per item.

    With the official aggregation, or `statistics="all"`, padding up to the batch's longest item takes part, as in the
    authors' code. Valid rows must then come first.
    """

    width: int
    mlp: bool
    statistics: str
    aggregation: sections.Aggregation
    selection: str
    start: str = "lecun"
    xavier: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, rows: Float[Array, "b n f"], mask: Bool[Array, "b n"], *, train: bool) -> Float[Array, "b d"]:
        """Returns float32 unit vectors, 0 for an item without valid rows. `train` needs the rng `aggregation`."""
        length = batch_length(mask)
        padded = jnp.broadcast_to(jnp.arange(mask.shape[1]) < length, mask.shape)
        a = self.aggregation
        rows = Enhancement(self.width, self.dtype, self.mlp, self.start, self.xavier, name="enhancement")(
            rows,
            padded if a.variant == "official" else mask,
            train=train,
            counted=padded if self.statistics == "all" else mask,
        )
        if a.enabled and a.variant != "paper":
            rows, mask = aggregate_official(rows, mask, length, single=a.variant == "official_single")
        elif a.enabled:
            key = self.make_rng("aggregation") if train else None
            rows, mask = aggregate(rows, mask, ratio=a.ratio, key=key, shuffle=a.shuffle, pairing=a.pairing)
        select = {"max": select_max, "mean": select_mean}.get(self.selection) or GPO(name="gpo")
        return l2_normalize(at_least_f32(select(rows, mask)))


class AFA(nn.Module):
    """Two branches over region features and the text's hidden states; the score is the cosine.

    Attributes:
        encoder: architecture of the model's text encoder; None where captions come with frozen hidden states.
        width: joint width d.
        statistics: the rows that BatchNorm counts, "valid" or "all".
        aggregation: the section of this name in the `model` config.
        selection: how rows become one vector, "max", "mean" or "gpo".
        text_mlp: whether the text branch has an MLP beside its linear layer.
        image_mlp: the same for the image branch.
        start: how the layers of both branches start, "lecun" or "authors".
        dtype: compute dtype.
    """

    encoder: BertConfig | GRUConfig | None
    width: int
    statistics: str
    aggregation: sections.Aggregation
    selection: str
    text_mlp: bool = True
    image_mlp: bool = True
    start: str = "lecun"
    dtype: DTypeLike = jnp.float32

    @classmethod
    def from_config(cls, c) -> "AFA":
        """Builds the model from a completed `model` section."""
        return cls(
            encoder=encoder_config(c),
            width=c.width,
            statistics=c.enhancement.statistics,
            aggregation=sections.read_section(sections.Aggregation, c.aggregation),
            selection=c.selection,
            text_mlp=c.enhancement.text == "mlp",
            start=c.enhancement.init,
            dtype=jnp.dtype(c.dtype),
        )

    def setup(self):
        """Makes the submodules."""
        self.image_branch, self.text_branch = (
            Branch(self.width, mlp, self.statistics, self.aggregation, self.selection, self.start, xavier, self.dtype)
            for mlp, xavier in ((self.image_mlp, True), (self.text_mlp, False))
        )
        self.text_encoder = make_text_encoder(self.encoder, self.dtype)

    def encode_images(self, regions: Regions, *, train: bool) -> Float[Array, "b d"]:
        """Returns the unit vectors of images."""
        rows, mask = jnp.asarray(regions.features), jnp.asarray(regions.mask)
        if self.aggregation.variant != "paper" or self.statistics == "all":
            rows, mask = to_front(rows, mask)
        return self.image_branch(rows, mask, train=train)

    def encode_captions(self, tokens: Tokens, *, train: bool) -> Float[Array, "b d"]:
        """Returns the unit vectors of captions, from `tokens.states` where set, else through the text encoder."""
        states = text_states(self.text_encoder, tokens, train=train)
        return self.text_branch(states, jnp.asarray(tokens.mask), train=train)

    def score(self, images: Float[Array, "i d"], captions: Float[Array, "t d"]) -> Float[Array, "i t"]:
        """Returns the cosine of every image with every caption."""
        return jnp.matmul(images, captions.T, precision=HIGHEST)

    def __call__(self, regions: Regions, tokens: Tokens, *, train: bool) -> tuple[Array, Array]:
        """Returns both encodings. `init` runs this."""
        return self.encode_images(regions, train=train), self.encode_captions(tokens, train=train)
