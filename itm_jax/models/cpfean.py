"""CPFEAN: cross-modal prominent-fragment enhancement and alignment (Zhang, arXiv 2311.02183; our reading).

The authors have no public code. Every choice that the paper leaves open is a field of the config.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from itm_jax.config import sections
from itm_jax.modules.alignment import cross_attention, global_score, over_captions, prominent_alignment, word_weights
from itm_jax.modules.bert import BertConfig
from itm_jax.modules.fusion import FeatureGate, Fused, RegionGate, fuse, fuse_features
from itm_jax.modules.graph import VisualTransformer, WordGCN, dependency_graph, drop_lonely, neighbours, whole_words
from itm_jax.modules.gru import GRUConfig
from itm_jax.modules.numerics import at_least_f32, l2_normalize, zero_invalid
from itm_jax.modules.regions import RegionEmbedding
from itm_jax.modules.text_encoder import encoder_config, make_text_encoder, text_states, word_mask
from itm_jax.structs import CONSTANTS, LABEL_BANK, WORD_PRIOR, Fragments, Regions, Tokens

Gate = RegionGate | FeatureGate


class CPFEAN(nn.Module):
    """Graph reasoning over regions and over words, then fusion and alignment of every pair.

    Attributes:
        encoder: architecture of the model's text encoder; None where captions come with frozen hidden states.
        width: joint width d.
        regions, graph, words, fusion, alignment: the sections of the same name in the `model` config.
        temperature: temperature of the cross-attention, where that is the alignment.
        vocab_size: number of entries of the corpus prior.
        dtype: compute dtype; products that decide scores are float32.
    """

    encoder: BertConfig | GRUConfig | None
    width: int
    regions: sections.RegionPriors
    graph: sections.Graph
    words: sections.Words
    fusion: sections.Fusion
    alignment: sections.Alignment
    temperature: float
    vocab_size: int
    dtype: DTypeLike = jnp.float32

    @classmethod
    def from_config(cls, c) -> "CPFEAN":
        """Builds the model from a completed `model` section."""
        read = sections.read_section
        return cls(
            encoder=encoder_config(c),
            width=c.width,
            vocab_size=c.text.vocab_size,
            dtype=jnp.dtype(c.dtype),
            regions=read(sections.RegionPriors, c.regions),
            graph=read(sections.Graph, c.graph),
            words=read(sections.Words, c.words),
            fusion=read(sections.Fusion, c.fusion),
            alignment=read(sections.Alignment, c.alignment),
            temperature=float(c.attention.temperature),
        )

    def setup(self):
        """Makes the submodules and the gate."""
        d = self.width
        regions, graph, words = self.regions, self.graph, self.words
        names = regions.label_names
        self.region_embedding = RegionEmbedding(
            d, regions.boxes, regions.labels, len(names) + 1 if names else 0, self.dtype
        )
        self.visual_transformer = VisualTransformer(graph.layers, graph.heads, graph.dropout, self.dtype)
        self.word_projection = nn.Dense(d, dtype=self.dtype)
        self.word_gcn = WordGCN(words.layers, words.scale, words.activation, self.dtype)
        self.text_encoder = make_text_encoder(self.encoder, self.dtype)
        self.gate = self._gate() if self.fusion.rounds else None
        if weight := self.alignment.global_weight:
            self.global_weight = self.param("log_global_weight", nn.initializers.constant(math.log(weight)), ())
        if self.alignment.uses_prior:
            self.word_prior = self.variable("batch_stats", WORD_PRIOR, jnp.ones, (self.vocab_size,))

    def _gate(self) -> Gate:
        """Makes the gate. Adam moves a scalar by the learning rate at most, so they are kept divided by their rate."""
        d, rate, feature = self.width, self.fusion.rate, self.fusion.gate == "feature"
        shape = (d,) if feature else ()

        def scalar(name: str, first: float, shape: tuple[int, ...] = shape) -> Array:
            return rate * jnp.asarray(self.param(f"gate_{name}", nn.initializers.constant(first / rate), shape))

        def weights(name: str) -> Array:
            if self.fusion.gate == "cosine":
                return jnp.zeros(d)
            normal = nn.initializers.normal(d**-0.5)
            return jnp.asarray(self.param(f"gate_{name}", normal, (d, d) if feature else (d,)))

        power = self.fusion.power
        learned = scalar("power", power, ()) if self.fusion.learn_power else power
        u, z, c, b = weights("u"), weights("z"), scalar("c", self.fusion.scale), scalar("b", self.fusion.bias)
        return FeatureGate(u, z, c, b, learned) if feature else RegionGate(u, z, c, b, learned)

    def encode_images(self, regions: Regions, *, train: bool) -> Fragments:
        """Returns unit vectors of regions, embedded with their priors and passed through the visual Transformer."""
        bank = self.get_variable(CONSTANTS, LABEL_BANK) if self.has_variable(CONSTANTS, LABEL_BANK) else None
        v = self.region_embedding(regions, None if bank is None else jnp.asarray(bank))
        mask = regions.mask
        if self.graph.layers:
            near = neighbours(regions, self.graph.iou)
            mask = drop_lonely(mask, near) if self.graph.filter else mask
            v = self.visual_transformer(v, near, train=train)
        return Fragments(zero_invalid(l2_normalize(at_least_f32(v)), mask), mask)

    def encode_captions(self, tokens: Tokens, *, train: bool) -> Fragments:
        """Returns unit vectors of word pieces, or with the sparse graph of whole words, passed through the word GCN."""
        states = text_states(self.text_encoder, tokens, train=train)
        h, mask = self.word_projection(states.astype(self.dtype)), word_mask(tokens)
        weight = self.word_prior.value[tokens.ids] if self.alignment.uses_prior else None
        graph = None
        if self.words.graph == "sparse":
            if tokens.word_ids is None or (tokens.edges is None and self.words.layers):
                raise ValueError("config.model.words.graph=sparse needs tokens.word_ids and tokens.edges")
            pieces = mask
            h, mask = whole_words(h, tokens.word_ids, pieces)
            if weight is not None:
                weight = whole_words(weight[..., None], tokens.word_ids, pieces)[0][..., 0]
            graph = dependency_graph(tokens.edges, mask) if self.words.layers and tokens.edges is not None else None
        if self.words.layers:
            h = self.word_gcn(h, mask, graph)
        return Fragments(zero_invalid(l2_normalize(at_least_f32(h)), mask), mask, weight)

    def fuse(self, images: Fragments, captions: Fragments) -> Fused:
        """Fuses all pairs. Products of fused regions are computed only where the alignment needs them."""
        return self._fused(self.gate, images, captions, gram=self.alignment.kind == "cross_attention")

    def _fused(self, gate: Gate | None, images: Fragments, captions: Fragments, *, gram: bool) -> Fused:
        if isinstance(gate, FeatureGate):
            return fuse_features(images, captions, gate, rounds=self.fusion.rounds, gram=gram)
        return fuse(images, captions, gate, rounds=self.fusion.rounds, gram=gram)

    def pair_weights(self, images: Fragments, captions: Fragments) -> dict[str, Float[Array, "..."]]:
        """Returns what decides the score of image k with caption k, for every k.

        Returns:
            `gate` [b r] and `relevance` [b r] of the regions, and `prominence` [b l], the weight of each word: those
            that enter the score of the configured model.
        """
        gate, a = self.gate, self.alignment  # parameters are read before `lax.map`, which Flax asks for
        by_words = a.kind == "prominent" and a.sides != "regions"
        by_regions = a.kind == "prominent" and (a.sides != "words" or a.beta > 0)

        def one(pair):
            image, caption = jax.tree.map(lambda x: x[None], pair)
            fused = self._fused(gate, image, caption, gram=False)
            out = {"gate": fused.gate[0, :, 0]} if self.fusion.rounds else {}
            if self.fusion.rounds and by_regions:
                out["relevance"] = fused.relevance[0, :, 0]
            if by_words:
                out["prominence"] = word_weights(fused, caption, beta=a.beta, gamma=a.gamma)[0, 0]
            return out

        return jax.lax.map(one, (images, captions))

    def score(self, images: Fragments, captions: Fragments) -> Float[Array, "i t"]:
        """Returns the score of every image with every caption, in float32, computed in blocks of captions.

        It is the alignment, or with a global score of weight w beside it, `(alignment + w · global) / (1 + w)`.
        """
        alignment = over_captions(self._align, images, captions)
        if not self.alignment.global_weight:
            return alignment
        weight = jnp.exp(self.global_weight)
        return (alignment + weight * global_score(images, captions)) / (1 + weight)

    def _align(self, images: Fragments, captions: Fragments) -> Float[Array, "i t"]:
        fused = self.fuse(images, captions)
        if self.alignment.kind == "cross_attention":
            assert fused.gram is not None
            return cross_attention(
                fused.products, fused.gram, images.mask, captions.mask, direction="t2i", temperature=self.temperature
            )
        a = self.alignment
        return prominent_alignment(fused, images.mask, captions, beta=a.beta, gamma=a.gamma, sides=a.sides)

    def __call__(self, regions: Regions, tokens: Tokens, *, train: bool) -> tuple[Fragments, Fragments]:
        """Returns both encodings. `init` runs this."""
        return self.encode_images(regions, train=train), self.encode_captions(tokens, train=train)
