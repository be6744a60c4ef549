"""What a trained model saw in a pair: which region a word took, gates and prominence, or which rows AFA merged."""

import dataclasses
from typing import Any

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
    """A pair as a model of fragments sees it.

    Attributes:
        words: the l valid fragments of the caption.
        cosines: of regions (fused, where the model fuses) with words; NaN for regions that are no fragments.
        gate: of each region, None where the model has none.
        prominence: weight of each word, None where the model has none.
        score: of the pair.
    """

    words: list[str]
    cosines: Float[np.ndarray, "r l"]
    gate: Float[np.ndarray, " r"] | None
    prominence: Float[np.ndarray, " l"] | None
    score: float

    @property
    def region_of_word(self) -> Int[np.ndarray, " l"]:
        """The region with the largest cosine for each word."""
        return np.nanargmax(self.cosines, axis=0)


@dataclasses.dataclass(frozen=True)
class Merging:
    """The rows that AFA merged: (row, the row it went into, their cosine), most similar first."""

    words: list[str]
    regions: list[tuple[int, int, float]]
    pieces: list[tuple[int, int, float]]
    score: float


def explain(run: OpenRun, captions: np.ndarray) -> list[Matching | Merging]:
    """What the model of a run makes of each of the captions and its image.

    Raises:
        InputError: the model keeps one vector per item and merges nothing, so that there is nothing to show.
    """
    c = run.config.model
    if c.name in ("cpfean", "late", "scan"):
        return [_matching(run, caption) for caption in captions]
    if c.name != "afa" or not c.aggregation.enabled or c.aggregation.variant != "paper":
        raise InputError(
            f"config.model.name={c.name}: nothing to show; pictures are of cpfean, late, scan, and of what afa "
            "(aggregation of the paper) merges"
        )
    return [_merging(run, caption) for caption in captions]


def _inputs(data: TextSplit, caption: int) -> tuple[Any, Any]:
    batch = data.batch(np.array([caption]))
    return batch.regions, batch.tokens


def _names(text: TextInput, tokens, mask: np.ndarray) -> list[str]:
    return [text.tokenizer.id_to_token(int(i)) for i in np.asarray(tokens.ids[0])[mask]]


def _matching(run: OpenRun, caption: int) -> Matching:
    regions, tokens = _inputs(run.data, caption)
    variables = run.variables | run.data.constants
    images, words = run.model.apply(variables, regions, tokens, train=False)
    score = float(run.model.apply(variables, images, words, method="score")[0, 0])
    there, valid = np.asarray(words.mask[0]), np.asarray(images.mask[0])
    c = run.config.model
    gate = weight = None
    if c.name == "cpfean":
        fused = run.model.apply(variables, images, words, method="fuse")
        if c.fusion.rounds:
            gate = np.asarray(fused.gate[0, :, 0])
        if c.alignment.kind == "prominent" and c.alignment.sides != "regions":
            weight = prominence(fused, words.mask, beta=c.alignment.beta)
            weight = weigh(weight, words.weight, c.alignment.gamma) if c.alignment.gamma else weight
            weight = np.asarray(weight)[0, 0][there]
    else:
        fused = fuse(images, words, None, rounds=0)
    cosines = np.where(valid[:, None], np.asarray(fused.cosines[0, :, 0]), np.nan)[:, there]
    if c.name == "cpfean" and c.words.graph == "sparse":
        written = run.data.split.captions[caption].split()
        names = [written[k] for k in np.flatnonzero(there)]
    else:
        names = _names(run.text, tokens, there)
    return Matching(names, cosines, gate, weight, score)


def _merging(run: OpenRun, caption: int) -> Merging:
    regions, tokens = _inputs(run.data, caption)
    (image, text), seen = run.model.apply(
        run.variables, regions, tokens, train=False, capture_intermediates=lambda m, _: isinstance(m, Enhancement)
    )
    a = run.config.model.aggregation
    found = []
    for branch, mask in (("image_branch", regions.mask), ("text_branch", tokens.mask)):
        rows = seen["intermediates"][branch]["enhancement"]["__call__"][0]
        into, cosine = merged_pairs(rows, jnp.asarray(mask), ratio=a.ratio, shuffle=a.shuffle, pairing=a.pairing)
        into, cosine = np.asarray(into[0]), np.asarray(cosine[0])
        found.append(
            sorted(((k, int(into[k]), float(cosine[k])) for k in np.flatnonzero(into >= 0)), key=lambda x: -x[2])
        )
    words = _names(run.text, tokens, np.asarray(tokens.mask[0]))
    return Merging(words, *found, score=float(np.sum(np.asarray(image[0]) * np.asarray(text[0]))))
