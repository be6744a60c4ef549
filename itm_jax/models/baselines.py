"""The baselines that AFA and CPFEAN are compared with: VSE++, VSE∞, SCAN, plain late interaction."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from itm_jax.config.sections import Aggregation
from itm_jax.models.afa import AFA
from itm_jax.modules.alignment import cross_attention, late_interaction, over_captions
from itm_jax.modules.bert import BertConfig
from itm_jax.modules.fusion import fuse
from itm_jax.modules.gru import GRUConfig
from itm_jax.modules.numerics import HIGHEST, at_least_f32, l2_normalize, zero_invalid
from itm_jax.modules.text_encoder import encoder_config, make_text_encoder, text_states, word_mask
from itm_jax.structs import Fragments, Regions, Tokens

NO_AGGREGATION = Aggregation(enabled=False, variant="paper", ratio=0.0, pairing="similarity", shuffle=False)


class VSE(AFA):
    """One vector per item, pooled from its projected rows: AFA without aggregation and without enhancement of the text.

    VSE++ (Faghri et al., BMVC 2018): linear projections, mean or maximum over the rows. VSE∞ (Chen et al., CVPR 2021):
    linear + MLP for regions, linear for words, both pooled by GPO.
    As in AFA, [CLS] and [SEP] are pooled too.
    """

    @classmethod
    def from_config(cls, c) -> "VSE":
        """Builds the model from a completed `model` section; `selection` says how rows are pooled."""
        return cls(
            encoder=encoder_config(c),
            width=c.width,
            statistics="valid",
            aggregation=NO_AGGREGATION,
            selection=c.selection,
            image_mlp=c.name == "vseinf",
            text_mlp=False,
            dtype=jnp.dtype(c.dtype),
        )


class FragmentModel(nn.Module):
    """Linear projections of regions and words to unit vectors. Each subclass scores them in its own way."""

    encoder: BertConfig | GRUConfig | None
    width: int
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Makes the projections and the text encoder."""
        self.region_projection = nn.Dense(self.width, dtype=self.dtype)
        self.word_projection = nn.Dense(self.width, dtype=self.dtype)
        self.text_encoder = make_text_encoder(self.encoder, self.dtype)

    def encode_images(self, regions: Regions, *, train: bool) -> Fragments:
        """Returns the unit vectors of regions."""
        del train
        v = self.region_projection(regions.features.astype(self.dtype))
        return Fragments(zero_invalid(l2_normalize(at_least_f32(v)), regions.mask), regions.mask)

    def encode_captions(self, tokens: Tokens, *, train: bool) -> Fragments:
        """Returns the unit vectors of word pieces."""
        states, mask = text_states(self.text_encoder, tokens, train=train), word_mask(tokens)
        w = self.word_projection(states.astype(self.dtype))
        return Fragments(zero_invalid(l2_normalize(at_least_f32(w)), mask), mask)

    def score(self, images: Fragments, captions: Fragments) -> Float[Array, "i t"]:
        """Returns the score of every image with every caption, computed in blocks of captions."""
        return over_captions(self._align, images, captions)

    def __call__(self, regions: Regions, tokens: Tokens, *, train: bool) -> tuple[Fragments, Fragments]:
        """Returns both encodings. `init` runs this."""
        return self.encode_images(regions, train=train), self.encode_captions(tokens, train=train)


class LateInteraction(FragmentModel):
    """Mean, over the words, of the cosine with the best region.

    This is ColBERT (Khattab and Zaharia, SIGIR 2020) with regions as documents.
    """

    @classmethod
    def from_config(cls, c) -> "LateInteraction":
        """Builds the model from a completed `model` section."""
        return cls(encoder_config(c), c.width, jnp.dtype(c.dtype))

    def _align(self, images: Fragments, captions: Fragments) -> Float[Array, "i t"]:
        return late_interaction(fuse(images, captions, None, rounds=0), images.mask, captions.mask)


class SCAN(FragmentModel):
    """Stacked cross attention (Lee et al., ECCV 2018), averaged over the queries (their t2i and i2t AVG)."""

    direction: str = "t2i"
    temperature: float = 9.0

    @classmethod
    def from_config(cls, c) -> "SCAN":
        """Builds the model from a completed `model` section."""
        direction, temperature = c.attention.direction, float(c.attention.temperature)
        return cls(encoder_config(c), c.width, jnp.dtype(c.dtype), direction=direction, temperature=temperature)

    def _align(self, images: Fragments, captions: Fragments) -> Float[Array, "i t"]:
        v, w = images.rows, captions.rows
        products = jnp.einsum("ird,tld->irtl", v, w, precision=HIGHEST)
        if self.direction == "t2i":
            gram = jnp.einsum("ird,isd->irs", v, v, precision=HIGHEST)
        else:
            gram = jnp.einsum("tld,tmd->tlm", w, w, precision=HIGHEST)
        return cross_attention(
            products, gram, images.mask, captions.mask, direction=self.direction, temperature=self.temperature
        )
