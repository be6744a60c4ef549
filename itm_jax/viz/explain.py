"""Explains what a trained model sees in a pair: the region of each word, gates and prominence, or AFA's shares."""

import dataclasses
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from itm_jax.data.pipeline import TextSplit
from itm_jax.data.text.text_input import TextInput
from itm_jax.errors import InputError
from itm_jax.evaluation.open_run import OpenModel
from itm_jax.modules.aggregation import merged_pairs
from itm_jax.modules.alignment import word_weights
from itm_jax.modules.enhancement import Enhancement
from itm_jax.modules.fusion import fuse
from itm_jax.modules.numerics import at_least_f32, l2_normalize
from itm_jax.structs import Fragments, Tokens

FRAGMENTS = ("cpfean", "late", "scan")  # models that keep the fragments of an item
CLOSED = 0.01  # a gate below this value is called closed


@dataclasses.dataclass(frozen=True)
class Matching:
    """What a model of fragments sees in a pair.

    Attributes:
        words: the l valid fragments of the caption.
        cosines: cosines of regions (fused, where the model fuses) with words; NaN for invalid regions.
        gate: the gate of each region; None where the model has no gates.
        prominence: the weight of each word; None where the model has no weights.
        score: the score of the pair.
    """

    words: list[str]
    cosines: Float[np.ndarray, "r l"]
    gate: Float[np.ndarray, " r"] | None
    prominence: Float[np.ndarray, " l"] | None
    score: float

    @property
    def region_of_word(self) -> Int[np.ndarray, " l"]:
        """For each word, the region with the largest cosine."""
        return np.nanargmax(self.cosines, axis=0)

    @property
    def has_open_gate(self) -> bool:
        """Whether a gate is open: if the largest one is below CLOSED, the fusion has almost no effect."""
        return self.gate is not None and float(np.max(self.gate)) >= CLOSED


@dataclasses.dataclass(frozen=True)
class Shares:
    """What AFA's score of a pair is made of.

    In each dimension one region and one word piece have the maximum; the product of the two is a part of the score.

    Attributes:
        words: the l valid word pieces of the caption, [CLS] and [SEP] included.
        shares: the parts of the score by region and word; their sum is the score. NaN for invalid regions.
        merged_regions: (row, the row that it was merged into, their cosine); the most similar come first.
        merged_pieces: the same for word pieces.
        score: the score of the pair.
    """

    words: list[str]
    shares: Float[np.ndarray, "r l"]
    merged_regions: list[tuple[int, int, float]]
    merged_pieces: list[tuple[int, int, float]]
    score: float

    @property
    def region_of_word(self) -> Int[np.ndarray, " l"]:
        """For each word, the region with the largest share of the score with it; -1 where no region has a share > 0."""
        best = np.nanargmax(self.shares, axis=0)
        return np.where(np.nanmax(self.shares, axis=0) > 0, best, -1)


def explain(run: OpenModel, captions: np.ndarray) -> list[Matching | Shares]:
    """Returns what the model of a run sees in each of the captions and its image.

    Raises:
        InputError: the model keeps one vector per item and does not choose its rows, so there is nothing to show.
    """
    c = run.config.model
    if c.name in FRAGMENTS:
        return [_matching(run, int(caption)) for caption in captions]
    if not explains(c):
        raise InputError(
            f"config.model.name={c.name}: nothing to show; use a run of cpfean, late or scan, or of afa with the "
            "aggregation of the paper and model.selection=max"
        )
    return [_shares(run, int(caption)) for caption in captions]


def explains(model: Any) -> bool:
    """Returns whether it can be shown what a model sees in a pair, by the `model` section of its config."""
    shares = model.name == "afa" and model.aggregation.variant == "paper" and model.selection == "max"
    return model.name in FRAGMENTS or shares


def _inputs(data: TextSplit, caption: int) -> tuple[Any, Any]:
    batch = data.batch(np.array([caption]))
    return batch.regions, batch.tokens


def names_of_tokens(text: TextInput, tokens: Tokens, mask: Bool[np.ndarray, " l"]) -> list[str]:
    """Returns the word pieces of the first caption of a batch at the places of `mask`."""
    ids = np.asarray(tokens.ids[0])[mask]
    return [cast(str, text.tokenizer.id_to_token(int(i))) for i in ids]  # the tokenizer made the ids: none is unknown


def _matching(run: OpenModel, caption: int) -> Matching:
    regions, tokens = _inputs(run.data, caption)
    images, words = run.model.apply(run.variables | run.data.constants, regions, tokens, train=False)
    c, valid = run.config.model, np.asarray(words.mask[0])
    if c.name == "cpfean" and c.words.graph == "sparse":
        written = run.data.split.captions[caption].split()
        names = [written[k] for k in np.flatnonzero(valid)]
    else:
        names = names_of_tokens(run.text, tokens, valid)
    return match(run.model, run.variables, c, images, words, names)


def match(model: Any, variables: Any, c: Any, images: Fragments, words: Fragments, names: list[str]) -> Matching:
    """Returns what a model of fragments sees in one encoded image and one encoded caption.

    Args:
        model: the Linen module.
        variables: its variables.
        c: the `model` section of its config.
        images: of one image.
        words: of one caption.
        names: of the valid words.
    """
    score = float(model.apply(variables, images, words, method="score")[0, 0])
    valid_words, valid_regions = np.asarray(words.mask[0]), np.asarray(images.mask[0])
    gate: np.ndarray | None = None
    weight: np.ndarray | None = None
    if c.name == "cpfean":
        fused = model.apply(variables, images, words, method="fuse")
        if c.fusion.rounds:
            gate = np.asarray(fused.gate[0, :, 0])
        if c.alignment.kind == "prominent" and c.alignment.sides != "regions":
            weights = word_weights(fused, words, beta=c.alignment.beta, gamma=c.alignment.gamma)
            weight = np.asarray(weights)[0, 0][valid_words]
    else:
        fused = fuse(images, words, None, rounds=0)
    cosines = np.where(valid_regions[:, None], np.asarray(fused.cosines[0, :, 0]), np.nan)[:, valid_words]
    return Matching(names, cosines, gate, weight, score)


def _shares(run: OpenModel, caption: int) -> Shares:
    regions, tokens = _inputs(run.data, caption)
    (image, text), seen = run.model.apply(
        run.variables, regions, tokens, train=False, capture_intermediates=lambda m, _: isinstance(m, Enhancement)
    )
    a = run.config.model.aggregation
    merged: list[list[tuple[int, int, float]]] = []
    winners: list[np.ndarray] = []
    for branch, mask in (("image_branch", regions.mask), ("text_branch", tokens.mask)):
        rows = seen["intermediates"][branch]["enhancement"]["__call__"][0]
        into, cosine = np.full(rows.shape[1], -1), np.zeros(rows.shape[1])
        if a.enabled:
            pairs = merged_pairs(rows, jnp.asarray(mask), ratio=a.ratio, shuffle=a.shuffle, pairing=a.pairing)
            into, cosine = (np.asarray(x[0]) for x in pairs)
        merges = [(int(k), int(into[k]), float(cosine[k])) for k in np.flatnonzero(into >= 0)]
        merged.append(sorted(merges, key=lambda merge: -merge[2]))
        unit = np.asarray(l2_normalize(at_least_f32(rows)) if a.enabled else rows)[0]
        winners.append(winning_rows(unit, np.asarray(mask[0]), into))
    parts = np.asarray(image[0]) * np.asarray(text[0])
    shares = np.zeros((regions.mask.shape[1], tokens.mask.shape[1]), np.float32)
    np.add.at(shares, (winners[0], winners[1]), parts)
    valid_words, valid_regions = np.asarray(tokens.mask[0]), np.asarray(regions.mask[0])
    shares = np.where(valid_regions[:, None], shares, np.nan)[:, valid_words]
    words, (of_regions, of_pieces) = names_of_tokens(run.text, tokens, valid_words), merged
    return Shares(words, shares, of_regions, of_pieces, float(np.sum(parts)))


def winning_rows(
    rows: Float[np.ndarray, "n d"], mask: Bool[np.ndarray, " n"], into: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " d"]:
    """Returns the row that has the maximum in each dimension, after the merges.

    A row that others were merged into is the mean of all of them, and stands for them.

    Args:
        rows: the rows before the merges.
        mask: which of them are valid.
        into: the row that each row is merged into, -1 where it is not merged.
    """
    group = np.where(into >= 0, into, np.arange(len(rows)))
    count = np.bincount(group[mask], minlength=len(rows))
    sums = np.zeros(rows.shape, np.float64)
    np.add.at(sums, group[mask], rows[mask])
    means = np.where(count[:, None] > 0, sums / np.maximum(count, 1)[:, None], -np.inf)
    return means.argmax(axis=0)
