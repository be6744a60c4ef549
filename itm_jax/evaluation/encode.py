"""Encodings of a split: batch by batch on the devices, gathered on the host."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from itm_jax.config.model_fields import depends_on_batch
from itm_jax.data.pipeline import TextSplit
from itm_jax.devices.mesh import put_batch, replicated
from itm_jax.terminal import Bar


class Encoders(NamedTuple):
    """The compiled functions of a model; its variables are their first argument.

    Attributes:
        images: (variables, regions) -> encodings.
        captions: (variables, tokens) -> encodings.
        score: (variables, images, captions) -> [i t]. It is not compiled: the caller compiles it for its tiles.
        pair_weights: (variables, images, captions) -> what decides the score of image k with caption k, for a model
            that has a method of this name (`models.cpfean.CPFEAN.pair_weights`), else None.
    """

    images: Callable[..., Any]
    captions: Callable[..., Any]
    score: Callable[..., Any]
    pair_weights: Callable[..., Any] | None = None


class Encoded(NamedTuple):
    """The encodings of a split, on the host.

    Attributes:
        images: the encodings of all images.
        captions: (indices of captions, their encodings) for each shape of encodings. Single vectors have one shape;
            a model that keeps its words has one shape for each padded length.
    """

    images: Any
    captions: list[tuple[np.ndarray, Any]]


def make_encoders(model, mesh: Mesh) -> Encoders:
    """The compiled functions of a model.

    Make them once: later evaluations with the same functions find their programs compiled. Every device computes its
    part of a batch, and every process gets the encodings of the whole batch.
    """
    compiled = functools.partial(jax.jit, out_shardings=replicated(mesh))
    images = compiled(lambda v, regions: model.apply(v, regions, train=False, method="encode_images"))
    captions = compiled(lambda v, tokens: model.apply(v, tokens, train=False, method="encode_captions"))
    weights = None
    if hasattr(model, "pair_weights"):
        weights = compiled(lambda v, i, t: model.apply(v, i, t, method="pair_weights"))
    return Encoders(images, captions, lambda v, i, t: model.apply(v, i, t, method="score"), weights)


def encode_items(
    encode: Callable,
    variables: Any,
    read: Callable,
    order: np.ndarray,
    batch_size: int,
    mesh,
    encoded: Callable[[int], None] = lambda n: None,
) -> list[tuple[np.ndarray, Any]]:
    """Encodes items batch by batch. Returns (indices, encodings) for each shape of encodings.

    Args:
        encode: one of `Encoders`.
        variables: of the model, with the constants of the data.
        read: indices of items -> a batch of them.
        order: the indices of all items, in the order in which batches are made.
        batch_size: items per batch; one with fewer items is filled up.
        mesh: the devices.
        encoded: is called after each batch with the number of its items.
    """
    batch_size = -(-batch_size // mesh.size) * mesh.size
    parts: dict[tuple, list] = {}
    for start in range(0, len(order), batch_size):
        items = order[start : start + batch_size]
        filled = np.resize(items, batch_size)  # repeats items in the last batch, so that it is full
        n, out = len(items), encode(variables, put_batch(read(filled), mesh))
        out = jax.tree.map(lambda x, n=n: np.asarray(x)[:n], out)
        parts.setdefault(tuple(x.shape[1:] for x in jax.tree.leaves(out)), []).append((items, out))
        encoded(n)
    return [_in_order(*zip(*group, strict=True)) for group in parts.values()]


def _in_order(items: Sequence[np.ndarray], encoded: Sequence[Any]) -> tuple[np.ndarray, Any]:
    """Joins the parts of one shape, in the order of their indices."""
    index = np.concatenate(items)
    order = np.argsort(index, kind="stable")
    return index[order], jax.tree.map(lambda *x: np.concatenate(x)[order], *encoded)


def encode_split(encoders: Encoders, variables: Any, data: TextSplit, *, config, mesh, shown: bool = False) -> Encoded:
    """Encodes all images and all captions of a split.

    Captions of similar length share a batch. Where an embedding depends on its batch, the batches are those of the
    authors' code instead: in the split's order, and as large as in training. With `shown`, a bar shows the progress.
    """
    fixed = depends_on_batch(config.model)
    batch_size = config.data.batch_size if fixed else config.data.eval_batch_size
    lengths = data.table.lengths
    order = np.arange(len(lengths)) if fixed else np.argsort(lengths, kind="stable")
    variables = variables | data.constants
    bar = Bar("images and captions encoded", data.split.num_images + len(lengths), short=True) if shown else None
    done = 0

    def encoded_items(n: int) -> None:
        nonlocal done
        done += n
        if bar:
            bar.update(done)

    every = np.arange(data.split.num_images)
    images_size, captions_size = min(batch_size, len(every)), min(batch_size, len(order))
    with bar or contextlib.nullcontext():
        [(_, images)] = encode_items(encoders.images, variables, data.regions, every, images_size, mesh, encoded_items)
        captions = encode_items(encoders.captions, variables, data.tokens, order, captions_size, mesh, encoded_items)
    return Encoded(images, captions)
