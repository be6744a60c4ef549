"""Encodings of a split: batch by batch on the devices, gathered on the host."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from itm_jax.config.model_fields import depends_on_batch
from itm_jax.data.pipeline import TextSplit
from itm_jax.devices.mesh import put_batch, replicated


class Encoders(NamedTuple):
    """The compiled functions of a model; its variables are their first argument.

    Attributes:
        images: (variables, regions) -> encodings.
        captions: (variables, tokens) -> encodings.
        score: (variables, images, captions) -> [i t], to be compiled with the tile that it is used for.
    """

    images: Callable[..., Any]
    captions: Callable[..., Any]
    score: Callable[..., Any]


class Encoded(NamedTuple):
    """The encodings of a split, on the host.

    Attributes:
        images: of all images.
        captions: (indices of captions, their encodings) for each shape that encodings have: one for single vectors, one
            for every padded length of a model that keeps its words.
    """

    images: Any
    captions: list[tuple[np.ndarray, Any]]


def make_encoders(model, mesh: Mesh) -> Encoders:
    """The compiled functions of a model.

    Make them once: each evaluation with the same functions finds its programs compiled. Every device computes its part
    of a batch, every process gets all of it.
    """
    whole = functools.partial(jax.jit, out_shardings=replicated(mesh))
    images = whole(lambda v, regions: model.apply(v, regions, train=False, method="encode_images"))
    captions = whole(lambda v, tokens: model.apply(v, tokens, train=False, method="encode_captions"))
    return Encoders(images, captions, lambda v, i, t: model.apply(v, i, t, method="score"))


def _encode(
    encode: Callable, variables: Any, read: Callable, order: np.ndarray, batch_size: int, mesh
) -> list[tuple[np.ndarray, Any]]:
    """Encodes the items in `order`, batch by batch: (indices of items, encodings) for each shape that encodings have."""
    batch_size = -(-min(batch_size, len(order)) // mesh.size) * mesh.size
    parts: dict[tuple, list] = {}
    for start in range(0, len(order), batch_size):
        items = order[start : start + batch_size]
        whole = np.resize(items, batch_size)  # the last batch is whole again
        n, encoded = len(items), encode(variables, put_batch(read(whole), mesh))
        encoded = jax.tree.map(lambda x, n=n: np.asarray(x)[:n], encoded)
        parts.setdefault(tuple(x.shape[1:] for x in jax.tree.leaves(encoded)), []).append((items, encoded))
    return [_in_order(*zip(*group, strict=True)) for group in parts.values()]


def _in_order(items: Sequence[np.ndarray], encoded: Sequence[Any]) -> tuple[np.ndarray, Any]:
    """The parts of one shape as one, by rising index."""
    index = np.concatenate(items)
    order = np.argsort(index, kind="stable")
    return index[order], jax.tree.map(lambda *x: np.concatenate(x)[order], *encoded)


def encode_split(encoders: Encoders, variables: Any, data: TextSplit, *, config, mesh) -> Encoded:
    """Encodes all images and all captions of a split.

    Captions of like length share a batch, except where an embedding depends on its batch: then the batches are those
    of the authors' code, in the split's order and as large as in training.
    """
    fixed = depends_on_batch(config.model)
    batch_size = config.data.batch_size if fixed else config.data.eval_batch_size
    lengths = data.table.lengths
    order = np.arange(len(lengths)) if fixed else np.argsort(lengths, kind="stable")
    variables = variables | data.constants
    [(_, images)] = _encode(
        encoders.images, variables, data.regions, np.arange(data.split.num_images), batch_size, mesh
    )
    return Encoded(images, _encode(encoders.captions, variables, data.tokens, order, batch_size, mesh))
