"""What the parts of a model do on a split, in a few numbers, so that you see when a part has no effect.

`metrics.jsonl` has them for every evaluation on dev, `results.json` under `mechanism`, and the report explains them.
"""

from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float

from itm_jax.config.model_fields import fields_of
from itm_jax.data.text.kinds import Kind
from itm_jax.devices.mesh import put, replicated
from itm_jax.evaluation.encode import Encoded
from itm_jax.evaluation.rank import Scorer
from itm_jax.modules.aggregation import num_merges
from itm_jax.structs import Fragments

PAIRS = 200  # images that are looked at, spread over the split, each with its first caption


def mechanism(scorer: Scorer, encoded: Encoded) -> dict[str, float]:
    """Returns the numbers of the scorer's model on its split. A part that does not enter the score has none.

    A model with the method `pair_weights` (CPFEAN):
        gate_right: the mean gate of a region, in pairs of an image with its own caption.
        gate_wrong: the same, with the caption of another image.
        region_perplexity: how many regions share the weight: the exponential of the entropy of their relevance.
        regions: the number of regions of an image.
        prominence_content, prominence_function, prominence_punctuation: the weight of each kind of word, in percent.
        pieces_content: the same for content words if all words weighed the same.

    A model that merges rows as AFA's paper does:
        merged_regions, merged_pieces: how many rows of an image, and of a caption, are merged away.

    Args:
        scorer: a model with its variables on a split.
        encoded: the encodings of the split.
    """
    if scorer.encoders.pair_weights is not None and isinstance(encoded.images, Fragments):
        return _pair_numbers(scorer, encoded)
    model = scorer.config.model
    merges = "model.aggregation" in (fields_of(model.name).reads or ())
    if merges and model.aggregation.enabled and model.aggregation.variant == "paper":
        return _merge_numbers(scorer)
    return {}


def _pair_numbers(scorer: Scorer, encoded: Encoded) -> dict[str, float]:
    images, captions, rows = _sample(scorer, encoded)
    right = _pair_weights(scorer, images, captions)
    out: dict[str, float] = {}
    valid, words = np.asarray(images.mask), np.asarray(captions.mask)
    has_words: Bool[np.ndarray, " b"] = np.any(words, axis=1)
    if "gate" in right and has_words.any():
        out["gate_right"] = _mean(right["gate"], valid & has_words[:, None])
        if len(rows) > 1:
            other = jax.tree.map(lambda x: np.roll(x, 1, axis=0), captions)
            out["gate_wrong"] = _mean(
                _pair_weights(scorer, images, other)["gate"], valid & np.roll(has_words, 1)[:, None]
            )
    if "relevance" in right and has_words.any():
        out["region_perplexity"] = float(np.mean(perplexity(right["relevance"][has_words])))
        out["regions"] = float(valid[has_words].sum(axis=1).mean())
    if "prominence" not in right or scorer.data.kinds is None or not has_words.any():
        return out
    kind = _kinds(scorer, rows, captions.mask.shape[1])
    share = right["prominence"] / np.maximum(right["prominence"].sum(), 1e-30)
    out |= {f"prominence_{k.name.lower()}": 100 * float(share[words & (kind == k)].sum()) for k in Kind}
    content, length = np.sum(words & (kind == Kind.CONTENT), axis=1), np.sum(words, axis=1)
    out["pieces_content"] = 100 * float(np.mean(content[has_words] / length[has_words]))
    return out


def perplexity(weights: Float[np.ndarray, "b r"]) -> Float[np.ndarray, " b"]:
    """Returns the exponential of the entropy of each row of weights: n where n of them are equal and the rest 0.

    Examples:
        >>> perplexity(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])).round(3).tolist()
        [2.0, 1.0]
    """
    logs = np.log(np.where(weights > 0, weights, 1.0))
    return np.exp(-np.sum(weights * logs, axis=1))


def _sample(scorer: Scorer, encoded: Encoded) -> tuple[Any, Any, np.ndarray]:
    """Returns the fragments of up to PAIRS images, those of their first captions, and the indices of these captions."""
    chosen = _chosen(scorer)
    rows = scorer.data.split.caption_starts[:-1][chosen]
    longest = max(part.mask.shape[1] for _, part in encoded.captions)
    take = lambda tree, at: jax.tree.map(lambda x: np.asarray(x)[at], tree)  # noqa: E731
    parts, indices = [], []
    for index, part in encoded.captions:
        wanted = np.flatnonzero(np.isin(index, rows))
        parts.append(_padded(take(part, wanted), longest))
        indices.append(index[wanted])
    together = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    return take(encoded.images, chosen), take(together, np.argsort(np.concatenate(indices))), rows


def _chosen(scorer: Scorer) -> np.ndarray:
    """Returns the indices of up to PAIRS images, spread over the split."""
    images = scorer.data.split.num_images
    return np.unique(np.linspace(0, images - 1, min(PAIRS, images)).astype(np.int64))


def _padded(captions: Fragments, length: int) -> Fragments:
    def pad(x: np.ndarray) -> np.ndarray:
        return np.pad(x, [(0, 0), (0, length - x.shape[1]), *[(0, 0)] * (x.ndim - 2)])

    return jax.tree.map(pad, captions)


def _pair_weights(scorer: Scorer, images: Any, captions: Any) -> dict[str, np.ndarray]:
    """Returns what the model sees in the pairs of each image with the caption of the same row."""
    assert scorer.encoders.pair_weights is not None  # `mechanism` asks for it only there
    pairs = put((images, captions), replicated(scorer.mesh))
    return jax.tree.map(np.asarray, scorer.encoders.pair_weights(scorer.variables, *pairs))


def _mean(values: Float[np.ndarray, "b r"], valid: Bool[np.ndarray, "b r"]) -> float:
    return float(values[valid].mean()) if valid.any() else 0.0


def _kinds(scorer: Scorer, captions: np.ndarray, length: int) -> np.ndarray:
    """Returns the kind of each row of the captions, [t l]; a whole word has that of its first piece."""
    tokens = scorer.data.tokens(captions)
    kind = np.asarray(scorer.data.kinds)[np.asarray(tokens.ids)]
    if scorer.config.model.words.graph == "sparse":
        of_pieces, word = kind, np.asarray(tokens.word_ids)
        kind = np.zeros((len(captions), length), of_pieces.dtype)
        for k in range(of_pieces.shape[1] - 1, -1, -1):  # so that the first piece has the last word
            has = (word[:, k] >= 0) & (word[:, k] < length)
            kind[np.flatnonzero(has), word[has, k]] = of_pieces[has, k]
        return kind
    return np.pad(kind, [(0, 0), (0, max(0, length - kind.shape[1]))])[:, :length]


def _merge_numbers(scorer: Scorer) -> dict[str, float]:
    a, data, chosen = scorer.config.model.aggregation, scorer.data, _chosen(scorer)
    pieces = data.table.lengths[data.split.caption_starts[:-1][chosen]]
    counts = {
        "merged_regions": data.regions(chosen).mask.sum(axis=1),
        "merged_pieces": np.minimum(pieces, data.max_tokens),
    }
    return {name: float(np.mean(num_merges(int(n.max()), a.ratio, a.shuffle)[n])) for name, n in counts.items()}
