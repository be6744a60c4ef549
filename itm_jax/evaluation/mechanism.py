"""What the parts of a model do on a split, in a few numbers, so that you see when a part sleeps.

`metrics.jsonl` has them for every evaluation on dev, `results.json` under `mechanism`, and the report explains them.
"""

from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float

from itm_jax.data.text.kinds import Kind
from itm_jax.devices.mesh import put, replicated
from itm_jax.evaluation.encode import Encoded
from itm_jax.modules.aggregation import num_merges
from itm_jax.structs import Fragments

PAIRS = 200  # images that are looked at, spread over the split, each with its first caption


def mechanism(scorer: Any, encoded: Encoded) -> dict[str, float]:
    """Returns the numbers of the scorer's model on its split; empty for a model without such parts.

    CPFEAN: `gate_right` and `gate_wrong`, the mean gate of the regions, in pairs of an image with its own caption and
    with that of another image; `region_perplexity`, how many regions have weight in the regions' side of the score,
    as the exponential of the entropy of their weights, beside `regions`, the number that could have; and
    `prominence_content`, `_function`, `_punctuation`, the share of prominence p on each kind of word, in percent,
    beside `pieces_content`, the share of the word pieces that are content words.

    AFA: `merged_regions` and `merged_pieces`, how many rows of an image and of a caption are merged away.

    Args:
        scorer: a model with its variables on a split (`evaluation.rank.Scorer`).
        encoded: the encodings of the split.
    """
    if scorer.encoders.pairs is not None and isinstance(encoded.images, Fragments):
        return _of_fragments(scorer, encoded)
    model = scorer.config.model
    if model.name == "afa" and model.aggregation.enabled and model.aggregation.variant == "paper":
        return _of_merges(scorer)
    return {}


def _of_fragments(scorer: Any, encoded: Encoded) -> dict[str, float]:
    images, captions, rows = _sample(scorer, encoded)
    seen = [_look(scorer, images, jax.tree.map(lambda x, k=k: np.roll(x, k, axis=0), captions)) for k in (0, 1)]
    right, wrong = seen
    out: dict[str, float] = {}
    valid = np.asarray(images.mask)
    if "gate" in right:
        out |= {f"gate_{name}": _mean(s["gate"], valid) for name, s in (("right", right), ("wrong", wrong))}
    if "relevance" in right:
        out["region_perplexity"] = float(np.mean(perplexity(right["relevance"])))
        out["regions"] = float(valid.sum(axis=1).mean())
    if "prominence" not in right or scorer.data.kinds is None:
        return out
    kind, words = _kinds(scorer, rows, captions.mask.shape[1]), np.asarray(captions.mask)
    share = right["prominence"] / np.maximum(right["prominence"].sum(), 1e-30)
    out |= {f"prominence_{k.name.lower()}": 100 * float(share[words & (kind == k)].sum()) for k in Kind}
    out["pieces_content"] = 100 * float(np.mean(kind[words] == Kind.CONTENT)) if words.any() else 0.0
    return out


def perplexity(weights: Float[np.ndarray, "b r"]) -> Float[np.ndarray, " b"]:
    """Returns the exponential of the entropy of each row of weights: n where n of them are equal and the rest 0.

    Examples:
        >>> perplexity(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])).round(3).tolist()
        [2.0, 1.0]
    """
    logs = np.log(np.where(weights > 0, weights, 1.0))
    return np.exp(-np.sum(weights * logs, axis=1))


def _sample(scorer: Any, encoded: Encoded) -> tuple[Any, Any, np.ndarray]:
    """Returns the fragments of up to PAIRS images, those of their first captions, and the indices of these captions."""
    split = scorer.data.split
    chosen = np.unique(np.linspace(0, split.num_images - 1, min(PAIRS, split.num_images)).astype(np.int64))
    rows = split.caption_starts[:-1][chosen]
    longest = max(part.mask.shape[1] for _, part in encoded.captions)
    place = np.empty(len(split.captions), np.int64)
    place[np.concatenate([index for index, _ in encoded.captions])] = np.arange(len(place))
    together = jax.tree.map(lambda *x: np.concatenate(x), *(_padded(part, longest) for _, part in encoded.captions))
    take = lambda tree, at: jax.tree.map(lambda x: np.asarray(x)[at], tree)  # noqa: E731
    return take(encoded.images, chosen), take(together, place[rows]), rows


def _padded(captions: Fragments, length: int) -> Fragments:
    def pad(x: np.ndarray) -> np.ndarray:
        return np.pad(x, [(0, 0), (0, length - x.shape[1]), *[(0, 0)] * (x.ndim - 2)])

    return jax.tree.map(pad, captions)


def _look(scorer: Any, images: Any, captions: Any) -> dict[str, np.ndarray]:
    """Returns what the model sees in the pairs of each image with the caption of the same row."""
    pairs = put((images, captions), replicated(scorer.mesh))
    return jax.tree.map(np.asarray, scorer.encoders.pairs(scorer.variables, *pairs))


def _mean(values: Float[np.ndarray, "b r"], valid: Bool[np.ndarray, "b r"]) -> float:
    return float(values[valid].mean()) if valid.any() else 0.0


def _kinds(scorer: Any, captions: np.ndarray, length: int) -> np.ndarray:
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


def _of_merges(scorer: Any) -> dict[str, float]:
    a, data = scorer.config.model.aggregation, scorer.data
    images = np.arange(0, data.split.num_images, max(1, data.split.num_images // PAIRS))
    regions = data.regions(images).mask.sum(axis=1)
    pieces = np.minimum(data.table.lengths, data.max_tokens)
    counts = {"merged_regions": regions, "merged_pieces": pieces}
    return {
        name: float(np.mean(num_merges(int(n.max()), a.ratio, a.shuffle)[n])) if len(n) else 0.0
        for name, n in counts.items()
    }
