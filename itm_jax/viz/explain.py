"""Explains what a trained model sees in a pair: the region of each word, gates and prominence, or AFA's merged rows."""

import dataclasses
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from itm_jax.data.pipeline import TextSplit
from itm_jax.data.text.text_input import TextInput
from itm_jax.errors import InputError
from itm_jax.evaluation.open_run import OpenRun
from itm_jax.modules.aggregation import merged_pairs
from itm_jax.modules.alignment import prominence, weigh
from itm_jax.modules.enhancement import Enhancement
from itm_jax.modules.fusion import fuse


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


@dataclasses.dataclass(frozen=True)
class Merging:
    """The regions and the word pieces that AFA merged in a pair.

    Each merge is (row, the row that it was merged into, their cosine); the most similar rows come first.
    """

    words: list[str]
    regions: list[tuple[int, int, float]]
    pieces: list[tuple[int, int, float]]
    score: float


def explain(run: OpenRun, captions: np.ndarray) -> list[Matching | Merging]:
    """Returns what the model of a run sees in each of the captions and its image.

    Raises:
        InputError: the model keeps one vector per item and merges nothing, so there is nothing to show.
    """
    c = run.config.model
    if c.name in ("cpfean", "late", "scan"):
        return [_matching(run, int(caption)) for caption in captions]
    if c.name != "afa" or not c.aggregation.enabled or c.aggregation.variant != "paper":
        raise InputError(
            f"config.model.name={c.name}: nothing to show; use a run of cpfean, late or scan, or of afa with the "
            "aggregation of the paper"
        )
    return [_merging(run, int(caption)) for caption in captions]


def _inputs(data: TextSplit, caption: int) -> tuple[Any, Any]:
    batch = data.batch(np.array([caption]))
    return batch.regions, batch.tokens


def _names(text: TextInput, tokens, mask: np.ndarray) -> list[str]:
    ids = np.asarray(tokens.ids[0])[mask]
    return [cast(str, text.tokenizer.id_to_token(int(i))) for i in ids]  # the tokenizer made the ids: none is unknown


def _matching(run: OpenRun, caption: int) -> Matching:
    regions, tokens = _inputs(run.data, caption)
    variables = run.variables | run.data.constants
    images, words = run.model.apply(variables, regions, tokens, train=False)
    score = float(run.model.apply(variables, images, words, method="score")[0, 0])
    valid_words, valid_regions = np.asarray(words.mask[0]), np.asarray(images.mask[0])
    c = run.config.model
    gate: np.ndarray | None = None
    weight: np.ndarray | None = None
    if c.name == "cpfean":
        fused = run.model.apply(variables, images, words, method="fuse")
        if c.fusion.rounds:
            gate = np.asarray(fused.gate[0, :, 0])
        if c.alignment.kind == "prominent" and c.alignment.sides != "regions":
            weights = prominence(fused, words.mask, beta=c.alignment.beta)
            weights = weigh(weights, words.weight, c.alignment.gamma) if c.alignment.gamma else weights
            weight = np.asarray(weights)[0, 0][valid_words]
    else:
        fused = fuse(images, words, None, rounds=0)
    cosines = np.where(valid_regions[:, None], np.asarray(fused.cosines[0, :, 0]), np.nan)[:, valid_words]
    if c.name == "cpfean" and c.words.graph == "sparse":
        written = run.data.split.captions[caption].split()
        names = [written[k] for k in np.flatnonzero(valid_words)]
    else:
        names = _names(run.text, tokens, valid_words)
    return Matching(names, cosines, gate, weight, score)


def _merging(run: OpenRun, caption: int) -> Merging:
    regions, tokens = _inputs(run.data, caption)
    (image, text), seen = run.model.apply(
        run.variables, regions, tokens, train=False, capture_intermediates=lambda m, _: isinstance(m, Enhancement)
    )
    a = run.config.model.aggregation
    merged: list[list[tuple[int, int, float]]] = []
    for branch, mask in (("image_branch", regions.mask), ("text_branch", tokens.mask)):
        rows = seen["intermediates"][branch]["enhancement"]["__call__"][0]
        pairs = merged_pairs(rows, jnp.asarray(mask), ratio=a.ratio, shuffle=a.shuffle, pairing=a.pairing)
        into, cosine = (np.asarray(x[0]) for x in pairs)
        merges = [(int(k), int(into[k]), float(cosine[k])) for k in np.flatnonzero(into >= 0)]
        merged.append(sorted(merges, key=lambda merge: -merge[2]))
    words = _names(run.text, tokens, np.asarray(tokens.mask[0]))
    merged_regions, merged_pieces = merged
    return Merging(words, merged_regions, merged_pieces, float(np.sum(np.asarray(image[0]) * np.asarray(text[0]))))
