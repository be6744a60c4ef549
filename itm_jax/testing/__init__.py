"""The contract that every model keeps, as a function: run it on your own model before you trust its numbers.

from itm_jax import quickstart
from itm_jax.testing import check_model

config = quickstart()
config.model.name = "mine:MeanPooling"
check_model(config)
"""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial

from itm_jax.config.fields import mutable_copy
from itm_jax.config.model_fields import depends_on_batch
from itm_jax.models import build
from itm_jax.scoring import score_matrix
from itm_jax.testing.items import Items, captions_of, images_of, padded, tiny_items
from itm_jax.testing.resume import check_resume

__all__ = ["check_model", "check_resume"]


def check_model(config: Any, *, workdir: str | pathlib.Path | None = None, tolerance: float = 1e-4) -> list[str]:
    """Checks the contract of the model of a config, with tiny sizes, on a few items of `scenes`.

    Args:
        config: a whole config, as `itm_jax.quickstart()` returns it; it stays as it is. Its text encoder is replaced by
            a tiny one.
        workdir: an empty directory, or None. With a directory, a run is trained there, stopped and continued, and must
            end like an undisturbed one; that takes some seconds more.
        tolerance: the largest difference of two scores that must be equal.

    Returns:
        The clauses that were checked. Embeddings that depend on their batch by design (`ModelFields.batch_dependent`)
        are not asked to be independent of padding and batch.

    Raises:
        AssertionError: the model breaks a clause; the message says which one, and by how much.
    """
    items = tiny_items(config)
    checked = list(_clauses(items, tolerance))
    if workdir is not None:
        check_resume(config, pathlib.Path(workdir))
        checked.append("resume")
    return checked


def _clauses(items: Items, tolerance: float) -> Iterator[str]:
    scores = items.scores(items.regions, items.tokens)
    _shapes(items, scores)
    yield "shapes"
    if not depends_on_batch(items.config.model):
        _same(scores, items.scores(*padded(items)), tolerance, "padding: invalid rows and tokens change a score")
        yield "padding"
        alone = items.scores(images_of(items.regions, [1]), captions_of(items.tokens, [1]))
        _same(scores[1:2, 1:2], alone, tolerance, "batch: a score depends on the other items of its batch")
        yield "batch"
        order = [2, 0, 3, 1]
        again = items.scores(images_of(items.regions, order), captions_of(items.tokens, order))
        _same(scores[np.ix_(order, order)], again, tolerance, "order: a score depends on its place in the batch")
        yield "order"
    tiles = score_matrix(Partial(items.score, items.variables), *items.encode(items.regions, items.tokens), tile=2)
    _same(scores, tiles, tolerance, "tile: a score depends on the tile in which it is computed")
    yield "tile"
    _nothing_valid(items)
    yield "nothing valid"
    _gradients(items)
    yield "gradients"
    _bfloat16(items, scores)
    yield "bfloat16"


def _same(expected: np.ndarray, got: np.ndarray, tolerance: float, what: str) -> None:
    difference = float(np.max(np.abs(np.asarray(expected) - np.asarray(got))))
    assert difference <= tolerance, f"{what} (by {difference:.2g})"


def _shapes(items: Items, scores: np.ndarray) -> None:
    count = len(items.regions.mask)
    assert scores.shape == (count, count), f"shapes: the scores are {scores.shape}, not [images, captions]"
    assert scores.dtype == np.float32, f"shapes: the scores are {scores.dtype}, not float32"
    assert np.isfinite(scores).all(), "shapes: a score is not finite"
    assert np.ptp(scores) > 0, "shapes: all scores are the same"
    for encoded in items.encode(items.regions, items.tokens):
        for leaf in jax.tree.leaves(encoded):
            assert len(leaf) == count, f"shapes: an encoding is {leaf.shape}; its first axis must be the items"


def _nothing_valid(items: Items) -> None:
    """An image without regions and a caption without words score 0, and leave the gradient finite."""
    empty = np.arange(len(items.regions.mask)) == 0
    regions = dataclasses.replace(items.regions, mask=items.regions.mask & ~empty[:, None])
    tokens = dataclasses.replace(items.tokens, mask=items.tokens.mask & ~empty[:, None])
    for what, pairs, axis in (
        ("an image without regions", (regions, items.tokens), 0),
        ("a caption without words", (items.regions, tokens), 1),
    ):
        scores = np.take(items.scores(*pairs), 0, axis=axis)
        assert not scores.any(), f"nothing valid: {what} scores {np.abs(scores).max():.2g}, not 0"
        gradients = jax.tree.leaves(items.gradient(*pairs))
        assert all(np.isfinite(g).all() for g in gradients), f"nothing valid: the gradient of {what} is not finite"


def _gradients(items: Items) -> None:
    """The gradient of the hardest triplet loss in training is finite, and reaches both sides of the model."""
    gradients = items.gradient(items.regions, items.tokens)
    flat = jax.tree_util.tree_leaves_with_path(gradients)
    for path, gradient in flat:
        assert np.isfinite(gradient).all(), f"gradients: {jax.tree_util.keystr(path)} is not finite"
    params, features = gradients
    assert np.asarray(features).any(), "gradients: none reaches the features of the regions"
    words = params.get("text_encoder", params)
    assert any(np.asarray(x).any() for x in jax.tree.leaves(words)), "gradients: none reaches the text encoder"


def _bfloat16(items: Items, scores: np.ndarray) -> None:
    """Computing in bfloat16 keeps parameters and scores in float32, and scores near those of float32."""
    model = mutable_copy(items.config.model)
    model.dtype = "bfloat16"
    other = dataclasses.replace(items, model=build(model))
    with jax.numpy_dtype_promotion("standard"):  # Flax's norms mix bfloat16 and float32 on purpose
        params = other.abstract_params()
        low = other.scores(items.regions, items.tokens)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        where = jax.tree_util.keystr(path)
        assert leaf.dtype == np.float32, f"bfloat16: the parameter {where} is {leaf.dtype}, not float32"
    assert low.dtype == np.float32, f"bfloat16: the scores are {low.dtype}, not float32"
    _same(
        scores, low, 0.1 * max(1.0, float(np.abs(scores).max())), "bfloat16: the scores are far from those of float32"
    )
