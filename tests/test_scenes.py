"""`scenes`: what it says is true of its world, twins differ, and the generator is frozen."""

import hashlib
import json
import re

import ml_collections
import numpy as np
import pytest

from itm_jax.data.scenes import world as scenes
from itm_jax.data.scenes.captions import BACKGROUNDS, SHAPES, vocabulary
from itm_jax.data.scenes.render import COLOURS as RGB
from itm_jax.data.scenes.render import GROUNDS, TEXTURE, render
from itm_jax.data.scenes.truth import GROUPS, is_true, parse
from itm_jax.data.text.text_input import SCENES_VOCAB, wordpiece_tokenizer
from itm_jax.data.text.tokens import tokenize
from itm_jax.errors import InputError


def config(**changes):
    values = {"train": 40, "dev": 200, "test": 200, "regions": 16, "features": 8, "noise": 1.5, "seed": 0}
    return ml_collections.ConfigDict(values | changes)


def same(one, other):
    """Field by field, whether two splits hold the same data."""
    fields = ("features", "boxes", "labels", "captions", "edges")
    return {name: np.array_equal(getattr(one, name), getattr(other, name)) for name in fields[:3]} | {
        name: getattr(one, name) == getattr(other, name) for name in fields[3:]
    }


def test_same_seed_same_data_and_any_other_seed_or_split_differs():
    dev = scenes.make_split(config(), "dev")
    assert all(same(dev, scenes.make_split(config(), "dev")).values())
    assert not any(same(dev, scenes.make_split(config(seed=1), "dev")).values())
    assert not any(same(dev, scenes.make_split(config(), "test")).values())
    # The codes belong to the seed, not to the split: what is learnt on train means the same on dev.
    train, dev = (scenes.make_split(config(noise=0.0, regions=2, **{n: 200}), n) for n in ("train", "dev"))
    basis = np.linalg.qr(train.features.reshape(-1, 8).T)[0][:, :8]
    np.testing.assert_allclose(dev.features @ basis @ basis.T, dev.features, atol=1e-4)


def test_the_generator_is_frozen():
    """Numbers in RESULTS.md were measured on this world: a change here makes them another data set's."""
    split, world = scenes.make_split(config(), "train"), scenes.make_world(40, 0, "train")
    digest = hashlib.sha256()
    for integers in (world.count, world.shape, world.colour, world.size, world.background, split.labels):
        digest.update(np.ascontiguousarray(integers, "<i8").tobytes())
    digest.update("\n".join(split.captions).encode())
    digest.update(json.dumps(split.edges).encode())
    assert digest.hexdigest() == "067d6e317ddc956ef65e422f8ca1eb87a3dac3b4823a60f401afd44324d723c4"
    weights = np.cos(np.arange(split.features.size)).reshape(split.features.shape)
    np.testing.assert_allclose(np.sum(weights * split.features), -150.788, atol=0.01)
    np.testing.assert_allclose(np.sum(weights[..., :4] * split.boxes), 1.8897, atol=1e-3)


@pytest.mark.parametrize("seed", [0, 5])
def test_captions_are_grammatical_and_true_and_twins_distract(seed):
    split, world = scenes.make_split(config(seed=seed, dev=400), "dev"), scenes.make_world(400, seed, "dev")
    of_twin, forms = [], set()
    for caption, image in zip(split.captions, split.caption_image_index.tolist(), strict=True):
        assert is_true(caption, world, image), (image, caption)
        of_twin.append(is_true(caption, world, image ^ 1))
        forms.add((*parse(caption), " is " in caption))
        for article, following in re.findall(r"\b(an?) (\w)", caption):
            assert (article == "an") == (following in "aeiou"), caption
    assert len(forms) == 6  # the five forms, the last with and without its third object
    # Twins distract: half of the captions are false of them, and of most images at least one of the five is.
    assert 0.4 < np.mean(of_twin) < 0.55
    assert np.mean(np.all(np.reshape(of_twin, (-1, 5)), axis=1)) < 0.2


def test_what_is_true_of_an_image_by_hand():
    """A large red circle on the left of a small blue star, on grass."""
    world = scenes.World(
        count=np.array([2]),
        shape=np.array([[0, 3]]),
        colour=np.array([[0, 2]]),
        size=np.array([[2, 0]]),
        centre=np.array([[[0.2, 0.5], [0.8, 0.6]]]),
        background=np.array([0]),
    )
    for caption in (
        "a red circle left of a star",
        "there is a scarlet disc left of an azure asterisk on the lawn",
        "a star and a circle on the grass",
        "two things on the grass , one of them a tiny star",
        "the big red disc is to the left of the small blue star",
    ):
        assert is_true(caption, world, 0), caption
    for caption in (
        "a blue circle left of a star",
        "a red circle right of a star",
        "a red circle above a star",
        "a star and a circle on the sand",
        "three things on the grass , one of them a tiny star",
        "the big red disc is to the left of the large blue star",
        "a star and a star on the grass",
        "two dogs play",
    ):
        assert not is_true(caption, world, 0), caption


def test_every_word_means_one_thing_and_is_one_token():
    words = [w for groups in GROUPS.values() for names in groups for w in names if w]
    assert len(words) == len(set(words))
    assert SCENES_VOCAB.read_text(encoding="utf-8").splitlines() == vocabulary()
    assert len(vocabulary()) == len(set(vocabulary()))
    captions = scenes.make_split(config(), "test").captions
    table = tokenize(captions, wordpiece_tokenizer(SCENES_VOCAB))
    np.testing.assert_array_equal(table.lengths, [len(c.split()) + 2 for c in captions])
    assert not np.any(table.ids == vocabulary().index("[UNK]"))


def test_twins_have_the_same_objects_in_other_colours_or_places():
    world = scenes.make_world(4001, 3, "train")
    assert len(world.count) == 4001  # the last has no twin
    for k in range(0, 4000, 2):
        one, other = (
            [getattr(world, f)[i, : world.count[i]].tolist() for f in ("shape", "colour", "size", "centre")]
            for i in (k, k + 1)
        )
        assert [sorted(x) for x in one] == [sorted(x) for x in other]  # only who has which differs
        assert sorted(zip(*one, strict=True)) != sorted(zip(*other, strict=True)), k
        assert world.background[k] == world.background[k + 1]
    assert 0.35 < np.mean(np.any(world.colour[:4000:2] != world.colour[1:4000:2], axis=1)) < 0.5


@pytest.mark.parametrize("regions", [1, 2, 36, 100])
def test_boxes_and_features_for_any_number_of_regions(regions):
    split = scenes.make_split(config(regions=regions), "dev")
    assert split.features.shape == (200, regions, 8)
    assert split.features.dtype == np.float32
    assert np.isfinite(split.features).all()
    assert split.boxes.shape == (200, regions, 4)
    assert np.all((split.boxes >= 0) & (split.boxes <= 1))
    assert np.all(split.boxes[..., :2] < split.boxes[..., 2:])
    assert split.labels.shape == (200, regions)
    assert set(np.unique(split.labels)) <= set(range(len(split.label_names)))


def test_labels_name_the_object_nine_times_in_ten():
    split, world = scenes.make_split(config(dev=1000, regions=36), "dev"), scenes.make_world(1000, 0, "dev")
    names = np.array(split.label_names)[split.labels]
    right = [names[i, o] == SHAPES[world.shape[i, o]][0] for i in range(1000) for o in range(world.count[i])]
    assert 0.89 < np.mean(right) < 0.92  # a wrong label is drawn from all 18, the right one included
    empty = scenes.coverage(world, split.boxes).max(axis=2) < 0.1
    ground = np.array([b[0] for b in BACKGROUNDS])[world.background][:, None] == names
    assert 0.89 < np.mean(ground[empty]) < 0.92


def test_edges_are_trees_over_the_words():
    split = scenes.make_split(config(), "test")
    for caption, edges in zip(split.captions, split.edges, strict=True):
        heads = {dependent: head for head, dependent in edges}
        words = range(len(caption.split()))
        assert len(heads) == len(edges) == len(words) - 1  # one head each, but for the root
        assert set(heads) | set(heads.values()) == set(words)
        for word in words:
            for _ in words:
                word = heads.get(word, word)
            assert word not in heads, caption  # ends at the root: no cycle


@pytest.mark.parametrize(
    ("changes", "split", "message"),
    [
        ({}, "testall", "no split 'testall'; its splits are train, dev and test"),
        ({"regions": 101}, "dev", "regions=101"),
        ({"regions": 0}, "dev", "regions=0"),
        ({"train": 1}, "train", "train=1"),
    ],
)
def test_wrong_use_is_an_input_error(changes, split, message):
    with pytest.raises(InputError, match=message):
        scenes.make_split(config(**changes), split)


def test_pictures_show_the_objects():
    world = scenes.make_world(60, 0, "dev")
    for image in range(60):
        picture = render(world, image, 96).astype(int)
        assert picture.shape == (96, 96, 3)
        ground = GROUNDS[world.background[image]]
        bare = np.ones((96, 96), bool)
        for o in range(world.count[image]):
            x, y = (world.centre[image, o] * 96).astype(int)
            x1, y1, x2, y2 = (world.boxes[image, o] * 96).astype(int)
            bare[max(y1, 0) : y2 + 1, max(x1, 0) : x2 + 1] = False
            if SHAPES[world.shape[image, o]][0] in ("ring", "crescent"):  # hollow
                assert np.abs(picture[y, x] - ground).max() <= TEXTURE * 255 + 1
            else:
                np.testing.assert_allclose(picture[y, x], RGB[world.colour[image, o]], atol=1)
        assert np.abs(picture[bare] - ground).max() <= TEXTURE * 255 + 1
    np.testing.assert_array_equal(render(world, 59, 96), picture)


def test_every_shape_is_drawn_differently():
    zeros = np.zeros((12, 6), int)
    shape = zeros + np.arange(12)[:, None]
    world = scenes.World(zeros[:, 0] + 1, shape, zeros, zeros, np.full((12, 6, 2), 0.5), zeros[:, 0])
    pictures = np.array([render(world, k, 64) for k in range(12)]).astype(int)
    red = pictures[..., 0] - pictures[..., 2] > 60
    assert len({shape.tobytes() for shape in red}) == 12
    triangle, crescent, arrow, bar = red[[2, 9, 10, 11]]
    assert triangle[32:].sum() > 2 * triangle[:32].sum()  # stands on its base
    assert crescent[:, :32].sum() > 2 * crescent[:, 32:].sum()  # open to the right
    assert arrow.sum(axis=0).argmax() >= 32  # points to the right
    assert bar.any(axis=0).sum() > 3 * bar.any(axis=1).sum()  # lies
    np.testing.assert_array_equal(arrow, arrow[::-1])
