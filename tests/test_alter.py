"""Splits made smaller or worse on purpose."""

import dataclasses

import numpy as np
import pytest
from support.runs import shrunk

from itm_jax.config.validation import validate
from itm_jax.data.alter import alter, noisy_words, permute_labels
from itm_jax.data.elsewhere import RowsElsewhere, SomeRows
from itm_jax.data.scenes.world import make_world
from itm_jax.data.splits import read_split
from itm_jax.errors import InputError
from itm_jax.metrics import objects


def test_nothing_asked_nothing_changed():
    config = shrunk()
    split = read_split(config, "train")
    assert alter(split, config.data, train=True) is split


def test_a_share_of_the_training_images():
    whole = read_split(shrunk(), "train")
    config = shrunk(data__train_share=0.25)
    part = read_split(config, "train")
    assert part.num_images == 4
    assert part.captions == whole.captions[:20]
    for name in ("features", "boxes", "labels"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[:4])
    assert (list(part.ids), list(part.edges)) == (list(whole.ids[:4]), list(whole.edges[:20]))
    assert read_split(config, "dev").num_images == read_split(shrunk(), "dev").num_images


def test_a_share_of_images_with_different_numbers_of_captions_and_regions():
    whole = read_split(shrunk(), "train")
    counts, regions = np.array([3, 7] * 8), np.array([6, 1] * 8)
    whole = dataclasses.replace(whole, captions_per_image=counts, num_regions=regions, lines=np.arange(80) + 1)
    part = alter(whole, shrunk(data__train_share=0.2, data__alter__regions=4).data, train=True)
    assert part.captions == whole.captions[:13]
    assert part.caption_image_index.tolist() == [0] * 3 + [1] * 7 + [2] * 3
    assert part.num_regions.tolist() == [4, 1, 4]
    assert part.lines.tolist() == list(range(1, 14))
    assert part.rows_of(np.array([2])).tolist() == [2]


def test_the_first_regions_of_every_split():
    config = shrunk(data__alter__regions=2)
    for name in ("train", "dev", "test"):
        whole, part = read_split(shrunk(), name), read_split(config, name)
        for field in ("features", "boxes", "labels"):
            np.testing.assert_array_equal(getattr(part, field), getattr(whole, field)[:, :2])
    with pytest.raises(InputError, match="has 6 regions"):
        read_split(shrunk(data__alter__regions=7), "dev")


def test_features_that_are_read_by_row():
    """As the record files of a TFDS data set answer."""

    class Rows(RowsElsewhere):
        all = np.arange(60, dtype=np.float32).reshape(5, 4, 3)

        def read(self, rows):
            return self.all[rows]

    few = SomeRows(Rows((5, 4, 3), np.float32), np.arange(4), 2)
    assert (len(few), few.shape, few.ndim, few.nbytes) == (4, (4, 2, 3), 3, 96)
    for rows in (1, slice(None), slice(1, None), np.array([3, 0])):
        np.testing.assert_array_equal(few[rows], Rows.all[:4, :2][rows])
    np.testing.assert_array_equal(np.asarray(few), Rows.all[:4, :2])


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_permuted_labels_are_the_same_labels_elsewhere(share):
    split = read_split(shrunk(data__scenes__dev=100), "dev")
    found = permute_labels(split, share).labels
    assert sorted(found.ravel()) == sorted(split.labels.ravel())
    moved = np.mean(found != split.labels)
    assert 0.5 * share < moved <= share
    np.testing.assert_array_equal(found, permute_labels(split, share).labels)


def test_noisy_words_stay_as_many():
    captions = read_split(shrunk(data__scenes__dev=100), "dev").captions
    noisy = noisy_words(captions, 0.2)
    assert noisy == noisy_words(captions, 0.2)
    assert [len(c.split()) for c in noisy] == [len(c.split()) for c in captions]
    pairs = [p for a, b in zip(captions, noisy, strict=True) for p in zip(a.split(), b.split(), strict=True)]
    changed = [(a, b) for a, b in pairs if a != b]
    assert 0.1 < len(changed) / len(pairs) < 0.2
    known = {a for a, _ in pairs}
    misspelt = [(a, b) for a, b in changed if b not in known]
    assert 0.3 < len(misspelt) / len(changed) < 0.7
    assert all(sorted(a) == sorted(b) for a, b in misspelt)
    assert noisy_words(captions, 0.0) == captions


def test_labels_are_permuted_only_where_there_are_any():
    split = dataclasses.replace(read_split(shrunk(), "dev"), labels=None)
    with pytest.raises(InputError, match="no labels"):
        permute_labels(split, 0.5)


@pytest.mark.parametrize(
    ("field", "value"),
    [("train_share", 0.0), ("train_share", 1.5), ("alter__permuted_labels", -0.1), ("alter__noisy_words", 2.0)],
)
def test_shares_that_are_none(field, value):
    with pytest.raises(InputError, match=r"must lie in [\[(]0, 1\]"):
        validate(shrunk(**{f"data__{field}": value}))


def test_objects_by_hand():
    """Two overlapping dogs are one; a third far away is another; what is no class of COCO does not count beside one."""
    box = np.array([[0, 0, 0.5, 0.5], [0.05, 0, 0.5, 0.5], [0.6, 0.6, 1, 1], [0, 0, 0.5, 0.5]], np.float32)
    split = read_split(shrunk(), "dev")
    split = dataclasses.replace(
        split,
        objects=None,
        boxes=np.tile(box, (2, 1, 1)),
        labels=np.array([[0, 0, 0, 1], [1, 1, 1, 1]]),
        label_names=("dog", "lawn"),
    )
    assert objects.object_counts(split).tolist() == [2, 0]
    names = dataclasses.replace(split, label_names=("hound", "lawn"))  # none is of COCO: all count
    assert objects.object_counts(names).tolist() == [3, 2]
    genome = dataclasses.replace(split, label_names=("dog", "man"))  # people beside dogs: a larger vocabulary
    assert objects.object_counts(genome).tolist() == [3, 2]
    assert objects.object_counts(dataclasses.replace(split, boxes=None)) is None


def test_scenes_knows_its_objects():
    config = shrunk(data__scenes__train=20, data__train_share=0.5)
    truth = make_world(20, config.data.scenes.seed, "train").count
    assert objects.object_counts(read_split(config, "train")).tolist() == truth[:10].tolist()
