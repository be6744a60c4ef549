"""Statistics of the train captions that are among a model's variables, so that its checkpoints keep them."""

import functools
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
    size, prior = config.model.text.vocab_size, config.model.alignment.prior
    table, owner = train.table, train.split.caption_image_index
    return {WORD_PRIOR: word_prior(table.ids, table.lengths, owner, size, prior=prior)}


def shapes_of_statistics(config: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes of all statistics that a run may have, by name."""
    return {WORD_PRIOR: jax.ShapeDtypeStruct((config.model.text.vocab_size,), np.float32)}


def word_prior(
    ids: Int[np.ndarray, " p"],
    lengths: Int[np.ndarray, " t"],
    caption_image_index: Int[np.ndarray, " t"],
    vocab_size: int,
    *,
    prior: str,
    least: int = 10,
) -> Float[np.ndarray, " v"]:
    """Returns ρ of each word piece, [v].

    `agreement` is P(the piece occurs in two or more captions of an image | it occurs in one). It is high for "a" and
    "." too, which tell no image from another.

    `lift` is `log(1 + q / b)`, where b is the share of all captions that have the piece, and q the share among the
    other captions of an image one of whose captions has it. It is `log 2` where captions of one image agree no more
    than by chance, and large for words that name what one image has and most have not. A piece in fewer than `least`
    captions is too rare to measure, and gets the mean of the others.

    Args:
        ids: word pieces of all train captions, one after the other.
        lengths: [t] pieces of each caption.
        caption_image_index: [t] index of each caption's image.
        vocab_size: v.
        prior: agreement or lift.
        least: (lift) captions that a piece must be in.

    Returns:
        float32. Each piece gets one extra count: for `agreement` the mean of all pieces that occur, for `lift` one by
        chance. A piece that does not occur has the mean of those that do.
    """
    caption = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    occurs = np.unique(caption * vocab_size + ids)  # once per caption
    image, piece = caption_image_index[occurs // vocab_size], occurs % vocab_size
    pairs, captions = np.unique(image * vocab_size + piece, return_counts=True)
    per_piece = functools.partial(np.bincount, pairs % vocab_size, minlength=vocab_size)
    seen = per_piece()
    if prior == "agreement":
        again = per_piece(weights=captions > 1)
        mean = np.mean(again[seen > 0] / seen[seen > 0])
        return ((again + mean) / (seen + 1)).astype(np.float32)
    of_image = np.bincount(caption_image_index)[pairs // vocab_size]
    count = per_piece(weights=captions)
    chance = count / len(lengths)
    others, with_it = per_piece(weights=captions * (of_image - 1)), per_piece(weights=captions * (captions - 1))
    together = (with_it + chance) / (others + 1)
    lift = np.log1p(together / np.where(seen > 0, chance, 1))
    known = count >= min(least, count.max())
    return np.where(known, lift, np.mean(lift[known])).astype(np.float32)
