"""Region embedding, IoU graph, word graph: by hand, and against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.models import awake

from itm_jax.modules.graph import (
    VisualTransformer,
    WordGCN,
    dependency_graph,
    drop_lonely,
    iou,
    neighbours,
    whole_words,
)
from itm_jax.modules.regions import RegionEmbedding, box_code
from itm_jax.structs import Regions

BOXES = np.array([[[0, 0, 0.4, 0.4], [0.2, 0, 0.6, 0.4], [0.8, 0.8, 1, 1], [0.1, 0.1, 0.1, 0.5]]], np.float32)


def regions(rng, boxes=True, labels=True):
    """Two images with four regions; the last of the first image is invalid."""
    return Regions(
        jnp.array(rng.standard_normal((2, 4, 6)), jnp.float32),
        jnp.array([[True, True, True, False], [True] * 4]),
        jnp.array(np.concatenate([BOXES, BOXES])) if boxes else None,
        jnp.array([[0, 1, 2, 0], [2, 2, 1, 0]]) if labels else None,
    )


def test_box_code_and_iou_by_hand():
    np.testing.assert_allclose(box_code(jnp.array(BOXES))[0, 1], [0.2, 0, 0.6, 0.4, 0.4, 0.4, 0.16], atol=1e-6)
    overlap = np.asarray(iou(jnp.array(BOXES))[0])
    np.testing.assert_allclose(overlap[0, 1], 0.08 / 0.24, atol=1e-4)
    np.testing.assert_allclose(np.diag(overlap), [1, 1, 1, 0], atol=1e-3)
    assert overlap[0, 2] == 0
    assert (overlap == overlap.T).all()


def test_neighbours_and_filter_by_hand(rng):
    near = np.asarray(neighbours(regions(rng), 0.2))
    assert near[1].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert not near[0, 3].any()  # invalid
    assert np.asarray(neighbours(regions(rng), None))[1].all()
    assert np.asarray(neighbours(regions(rng, boxes=False), 0.2))[1].all()
    assert drop_lonely(regions(rng).mask, jnp.array(near)).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0]]
    alone = neighbours(regions(rng), 0.9)
    assert drop_lonely(regions(rng).mask, alone).tolist() == regions(rng).mask.tolist()  # none would remain


def test_a_region_sees_its_neighbours_and_no_others(rng):
    x = jnp.array(rng.standard_normal((2, 4, 16)), jnp.float32)
    near = neighbours(regions(rng), 0.2)
    layer = VisualTransformer(1, 4, 0.1)
    variables = awake(layer.init(jax.random.key(0), x, near, train=False))
    out = layer.apply(variables, x, near, train=False)
    changed = layer.apply(variables, x.at[1, 0].multiply(jnp.arange(16.0)), near, train=False)
    differs = np.abs(np.asarray(out - changed)).max(axis=-1) > 1e-6
    assert differs.tolist() == [[False] * 4, [True, True, False, False]]
    first, second = (layer.apply(variables, x, near, train=True, rngs={"dropout": jax.random.key(k)}) for k in (0, 1))
    assert not np.allclose(first, second)


def test_priors_are_used_where_they_are_there(rng):
    bank = jnp.array(rng.standard_normal((3, 5)), jnp.float32)

    def names(module, given, bank=None):
        return set(module.init(jax.random.key(0), given, bank)["params"])

    assert names(RegionEmbedding(8), regions(rng, False, False)) == {"features", "norm"}
    assert names(RegionEmbedding(8), regions(rng)) == {"features", "boxes", "norm"}  # nothing to look labels up in
    assert names(RegionEmbedding(8), regions(rng), bank) == {"features", "boxes", "labels", "norm"}
    assert names(RegionEmbedding(8, boxes=False, labels=False), regions(rng), bank) == {"features", "norm"}
    assert "label_table" in names(RegionEmbedding(8, table=4), regions(rng))
    for module, given in (
        (RegionEmbedding(8, boxes=True), regions(rng, boxes=False)),
        (RegionEmbedding(8, labels=True), regions(rng)),
    ):
        with pytest.raises(ValueError, match=r"config\.model\.regions"):
            names(module, given)


def test_embedding_is_the_formula(rng):
    module, given = RegionEmbedding(8), regions(rng)
    bank = rng.standard_normal((3, 5)).astype(np.float32)
    out, variables = module.init_with_output(jax.random.key(0), given, jnp.array(bank))
    p = jax.tree.map(np.asarray, variables["params"])
    v = np.asarray(given.features) @ p["features"]["kernel"] + np.asarray(box_code(given.boxes)) @ p["boxes"]["kernel"]
    v = v + bank[np.asarray(given.labels)] @ p["labels"]["kernel"]
    v = (v - v.mean(-1, keepdims=True)) / np.sqrt(v.var(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(out, np.where(np.asarray(given.mask)[..., None], v, 0), atol=1e-5)


def test_words_are_the_means_of_their_pieces():
    pieces = jnp.array([[[9.0], [1.0], [3.0], [5.0], [9.0]]])
    ids, mask = jnp.array([[-1, 0, 0, 2, -1]]), jnp.array([[False, True, True, True, False]])  # word 1 was deleted
    words, there = whole_words(pieces, ids, mask)
    assert words[0, :, 0].tolist() == [2.0, 0.0, 5.0, 0.0, 0.0]
    assert there[0].tolist() == [True, False, True, False, False]


def test_dependency_graph_by_hand():
    edges = jnp.array([[[0, 1], [2, 0], [1, 7], [-1, -1]]])  # 7: a word that was cut off
    there = jnp.array([[True, True, True, False]])
    graph = np.asarray(dependency_graph(edges, there))[0]
    a = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]], float)
    degree = np.array([3, 2, 2, 1])
    np.testing.assert_allclose(graph, a / np.sqrt(degree[:, None] * degree[None]), atol=1e-6)
    without = np.asarray(dependency_graph(edges, jnp.array([[False, True, True, False]])))[0]
    np.testing.assert_allclose(without, np.diag([0, 1, 1, 0]), atol=1e-6)


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_word_gcn_starts_as_near_to_the_identity_as_asked(rng, scale):
    h, words = jnp.array(rng.standard_normal((2, 5, 64)), jnp.float32), jnp.ones((2, 5), bool)
    params = WordGCN(1, scale).init(jax.random.key(0), h, words)["params"]
    assert np.std(params["weight_0"]["kernel"]) == pytest.approx(scale / 8, rel=0.05)
    assert np.std(params["query_0"]["kernel"]) == pytest.approx(1 / 8, rel=0.05)


@pytest.mark.parametrize("activation", ["relu", "none"])
@pytest.mark.parametrize("sparse", [False, True])
def test_word_gcn_is_the_formula(rng, sparse, activation):
    h = rng.standard_normal((2, 5, 8)).astype(np.float32)
    words = np.array([[1, 1, 1, 0, 0], [1, 0, 1, 1, 1]], bool)
    graph = dependency_graph(jnp.array([[[0, 1]], [[2, 3]]]), jnp.array(words)) if sparse else None
    module = WordGCN(2, activation=activation)
    variables = module.init(jax.random.key(0), jnp.array(h), jnp.array(words), graph)
    out = module.apply(variables, jnp.array(h), jnp.array(words), graph)
    p = {k: np.asarray(v["kernel"]) for k, v in variables["params"].items()}
    for b in range(2):
        x = h[b][words[b]]
        for k in range(2):
            if sparse:
                mixing = np.asarray(graph[b])[np.ix_(words[b], words[b])]
            else:
                logits = (x @ p[f"query_{k}"]) @ (x @ p[f"key_{k}"]).T / np.sqrt(8)
                mixing = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            change = mixing @ x @ p[f"weight_{k}"]
            x = x + (np.maximum(change, 0) if activation == "relu" else change)
        np.testing.assert_allclose(np.asarray(out[b])[words[b]], x, atol=1e-5)
    assert not np.asarray(out)[~words].any()
