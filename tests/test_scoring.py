"""Scores in tiles: the matrix, and ranks and best items without it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itm_jax.devices.mesh import make_mesh
from itm_jax.errors import InputError, NonFiniteScoresError
from itm_jax.evaluation.encode import Encoded
from itm_jax.evaluation.rank import streamed_ranks
from itm_jax.metrics import retrieval
from itm_jax.metrics.retrieval import query_ranks
from itm_jax.scoring import retrieve, score_matrix, tiles


def cosine(images, captions):
    return jnp.einsum("id,td->it", images, captions[:, :5])


def gallery(rng, images=23, captions=61, levels=3):
    """Images and captions of few different values, so that scores tie; captions in two shapes, every image owns one."""
    v = rng.integers(0, levels, (images, 5)).astype(np.float32)
    w = rng.integers(0, levels, (captions, 5)).astype(np.float32)
    owner = rng.permutation(np.concatenate([np.arange(images), rng.integers(0, images, captions - images)]))
    cut = rng.permutation(captions)
    wide = np.pad(w, ((0, 0), (0, 2)))
    groups = [(i, x[i]) for i, x in ((np.sort(cut[:40]), w), (np.sort(cut[40:]), wide))]
    return v, w, groups, owner


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("tile", [4, 7, 100])
@pytest.mark.parametrize("resident", [True, False])
def test_ranks_are_those_of_the_matrix(rng, tile, devices, resident, monkeypatch):
    if not resident:
        monkeypatch.setattr(tiles, "RESIDENT_BYTES", 0)
    v, w, groups, owner = gallery(rng)
    mesh = make_mesh(devices, jax.devices()[:devices])
    scores = v @ w.T
    assert np.array_equal(score_matrix(cosine, v, w, tile=tile, mesh=mesh), scores)
    found = retrieve(cosine, v, groups, owner, tile=tile, mesh=mesh, top=4)
    image, caption = query_ranks(scores, owner)
    assert found.image_ranks.tolist() == image.tolist()
    assert found.caption_ranks.tolist() == caption.tolist()
    for (values, index), matrix in ((found.captions_of_images, scores), (found.images_of_captions, scores.T)):
        assert np.array_equal(values, -np.sort(-matrix, axis=1)[:, :4])
        assert np.array_equal(np.take_along_axis(matrix, index, 1), values)
        assert all(len(set(row)) == 4 for row in index.tolist())


def test_without_best_items_there_are_none(rng):
    v, _, groups, owner = gallery(rng)
    found = retrieve(cosine, v, groups, owner, tile=8)
    assert found.captions_of_images is None
    assert found.images_of_captions is None


def test_folds_are_those_of_the_matrix(rng, monkeypatch):
    """COCO's 5-fold protocol without the matrix of all scores; folds of 4 images."""
    monkeypatch.setattr(retrieval, "FOLD", 4)
    v, w, groups, owner = gallery(rng, images=20)
    ranks = streamed_ranks(cosine, Encoded(v, groups), owner, tile=3, mesh=make_mesh(1, jax.devices()[:1]))
    found = retrieval.protocol_metrics(ranks, owner)
    expected = retrieval.protocols(v @ w.T, owner)
    assert set(expected) == {"full", "5fold_1k"}
    assert found == expected


def test_more_best_items_than_there_are(rng):
    v, _, groups, owner = gallery(rng, images=3, captions=61)
    found = retrieve(cosine, v, groups, owner, tile=2, top=5)
    assert found.images_of_captions[1].shape == (61, 3)
    assert np.array_equal(np.sort(found.images_of_captions[1], axis=1), np.tile(np.arange(3), (61, 1)))
    assert found.captions_of_images[0].shape == (3, 5)


def test_bad_input(rng):
    v, _, groups, owner = gallery(rng)
    v[3, 2] = np.nan
    with pytest.raises(NonFiniteScoresError, match="NaN"):
        retrieve(cosine, v, groups, owner, tile=8)
    with pytest.raises(InputError, match="each of the 23 images"):
        retrieve(cosine, v, groups, np.zeros(61, int), tile=8)
    with pytest.raises(ValueError, match="tile=0"):
        retrieve(cosine, v, groups, owner, tile=0)
