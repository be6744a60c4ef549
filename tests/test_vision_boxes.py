"""Boxes and the features of boxes: the layout, exact overlaps, and convolutions that agree in every form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itm_jax.vision.convolution import convolved, shifted
from itm_jax.vision.layout import MOST, layout
from itm_jax.vision.pooling import overlaps, pool_boxes
from itm_jax.vision.vit import cubic


def test_the_layout_is_a_list_that_begins_with_the_whole_image():
    boxes = layout(MOST)
    np.testing.assert_array_equal(boxes[0], [0, 0, 1, 1])
    np.testing.assert_allclose(boxes[1:5], [[0, 0, 0.6, 0.6], [0.4, 0, 1, 0.6], [0, 0.4, 0.6, 1], [0.4, 0.4, 1, 1]])
    np.testing.assert_allclose(boxes[35], [0.75, 0.75, 1, 1])  # the last of 4 x 4
    assert boxes.shape == (MOST, 4)
    assert len(np.unique(boxes.round(4), axis=0)) == MOST
    assert boxes.min() == 0
    assert boxes.max() <= 1 + 1e-6
    assert (boxes[:, 2:] - boxes[:, :2]).min() > 0.1
    for number in (1, 5, 36):
        np.testing.assert_array_equal(layout(number), boxes[:number])
    for number in (0, MOST + 1):
        with pytest.raises(ValueError, match="boxes"):
            layout(number)


def test_overlaps_by_hand():
    # Four places of a quarter each; the box reaches from 0.1 to 0.5: 0.15 of the first one, all of the second.
    np.testing.assert_allclose(
        overlaps(jnp.array([[0.1]]), jnp.array([[0.5]]), 4)[0, 0], [0.375, 0.625, 0, 0], atol=1e-6
    )


def test_pooling_equals_the_mean_over_fine_points(rng):
    """The mean over a box, as the mean of the map at many points of the box."""
    maps = rng.standard_normal((2, 5, 7, 3)).astype(np.float32)
    boxes = np.array([[[0, 0, 1, 1], [0.13, 0.3, 0.47, 0.91], [0.9, 0.9, 0.95, 1]]] * 2, np.float32)
    pooled = pool_boxes(maps, boxes)
    at = (np.arange(100_000) + 0.5) / 100_000
    for k, (x1, y1, x2, y2) in enumerate(boxes[0]):
        x = np.floor((x1 + (x2 - x1) * at) * 7).astype(int).clip(0, 6)
        y = np.floor((y1 + (y2 - y1) * at) * 5).astype(int).clip(0, 4)
        rows = maps.transpose(1, 0, 2, 3)[y].mean(0, dtype=np.float64)
        np.testing.assert_allclose(pooled[:, k], rows[:, x].mean(1), atol=1e-4)


@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(8, 8), (7, 9)])
def test_a_depthwise_convolution_is_the_same_in_both_forms(rng, side, stride, shape):
    x = rng.standard_normal((2, *shape, 6)).astype(np.float32)
    kernel = rng.standard_normal((side, side, 1, 6)).astype(np.float32)
    one, other = shifted(x, kernel, stride), convolved(x, kernel, stride, groups=6)
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_interpolation_keeps_constants_and_is_the_identity_at_the_same_size():
    np.testing.assert_allclose(cubic(5, 5), np.eye(5), atol=1e-6)
    for outputs in (3, 8, 11):
        np.testing.assert_allclose(cubic(5, outputs).sum(axis=1), 1, atol=1e-6)


def test_features_of_an_image_do_not_depend_on_its_batch(rng):
    from itm_jax.vision.efficientnet import EfficientNetLite

    network = EfficientNetLite(0.25, 0.3)
    images = rng.standard_normal((3, 64, 64, 3)).astype(np.float32)
    params, apply = jax.jit(network.init)(jax.random.key(0), images), jax.jit(network.apply)
    np.testing.assert_allclose(apply(params, images)[1:2], apply(params, images[1:2]), atol=1e-5)
