"""AFA: adaptive feature aggregation (Wang, Yin, Ramakrishnan, ICASSP 2024, arXiv 2401.09725)."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from itm_jax.config.derived import decided
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


class AFA(nn.Module):
    """Two branches over region features and text states; the score is the cosine.

    Attributes:
        encoder: architecture of a text encoder that is part of the model, None where captions come with frozen states.
        branch: arguments of both branches.
        text_mlp: whether the text branch has an MLP beside its linear layer.
        image_mlp: the same of the image branch.
        dtype: compute dtype.
    """

    encoder: BertConfig | GRUConfig | None
    branch: tuple[tuple[str, object], ...]
    text_mlp: bool = True
    image_mlp: bool = True
    dtype: jnp.dtype = jnp.float32

    @classmethod
    def from_config(cls, c) -> "AFA":
        """From the `model` section of a config."""
        fields = decided(c)
        branch = {
            "width": c.width,
            "statistics": fields["enhancement.statistics"],
            "variant": fields["aggregation.variant"],
            "aggregation": c.aggregation.enabled,
            "ratio": c.aggregation.ratio,
            "pairing": c.aggregation.pairing,
            "shuffle": c.aggregation.shuffle,
            "selection": fields["selection"],
        }
        text_mlp = fields["enhancement.text"] == "mlp"
        return cls(encoder=encoder_config(c), branch=tuple(branch.items()), text_mlp=text_mlp, dtype=jnp.dtype(c.dtype))

    def setup(self):
        """Submodules."""
        branch = dict(self.branch)
        self.image_branch = Branch(**branch, mlp=self.image_mlp, dtype=self.dtype)
        self.text_branch = Branch(**branch, mlp=self.text_mlp, dtype=self.dtype)
        self.text_encoder = make_text_encoder(self.encoder, self.dtype)

    def encode_images(self, regions: Regions, *, train: bool) -> Float[Array, "b d"]:
        """Unit vectors of images."""
        rows, mask = regions.features, regions.mask
        branch = dict(self.branch)
        if branch["variant"] == "official" or branch["statistics"] == "all":
            rows, mask = to_front(rows, mask)
        return self.image_branch(rows, mask, train=train)

    def encode_captions(self, tokens: Tokens, *, train: bool) -> Float[Array, "b d"]:
        """Unit vectors of captions, from `tokens.states` where given, else through the text encoder."""
        states = text_states(self.text_encoder, tokens, train=train)
        return self.text_branch(states, tokens.mask, train=train)

    def score(self, images: Float[Array, "i d"], captions: Float[Array, "t d"]) -> Float[Array, "i t"]:
        """Cosine of every image with every caption."""
        return jnp.matmul(images, captions.T, precision=HIGHEST)

    def __call__(self, regions: Regions, tokens: Tokens, *, train: bool) -> tuple[Array, Array]:
        """Both encodings; what `init` runs."""
        return self.encode_images(regions, train=train), self.encode_captions(tokens, train=train)
