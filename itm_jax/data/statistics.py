"""Statistics of the train captions that are among a model's variables, so that its checkpoints keep them."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from itm_jax.data.pipeline import TextSplit
from itm_jax.structs import WORD_PRIOR


def data_statistics(config: Any, train: TextSplit, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Returns the entries of `batch_stats` among `names` that are computed from the train split, by name."""
    if WORD_PRIOR not in names:
        return {}
    size = config.model.text.vocab_size
    return {WORD_PRIOR: word_prior(train.table.ids, train.table.lengths, train.split.caption_image_index, size)}


def shapes_of_statistics(config: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes of all statistics that a run may have, by name."""
    return {WORD_PRIOR: jax.ShapeDtypeStruct((config.model.text.vocab_size,), np.float32)}


def word_prior(
    ids: Int[np.ndarray, " p"],
    lengths: Int[np.ndarray, " t"],
    caption_image_index: Int[np.ndarray, " t"],
    vocab_size: int,
) -> Float[np.ndarray, " v"]:
    """Returns ρ of each word piece, [v]: P(it occurs in two or more captions of an image | it occurs in one).

    Args:
        ids: word pieces of all train captions, one after the other.
        lengths: [t] pieces of each caption.
        caption_image_index: [t] index of each caption's image.
        vocab_size: v.

    Returns:
        float32. Each piece gets one extra count: the mean of all pieces that occur. So a piece that does not
        occur has the mean, and no piece has 0 where any piece occurs in two captions of an image.
    """
    caption = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    occurs = np.unique(caption * vocab_size + ids)  # once per caption
    image, piece = caption_image_index[occurs // vocab_size], occurs % vocab_size
    pairs, captions = np.unique(image * vocab_size + piece, return_counts=True)
    seen = np.bincount(pairs % vocab_size, minlength=vocab_size)
    again = np.bincount(pairs[captions > 1] % vocab_size, minlength=vocab_size)
    mean = np.mean(again[seen > 0] / seen[seen > 0])
    return ((again + mean) / (seen + 1)).astype(np.float32)
