"""Augmentation: rates, whole words, compaction, and draws that belong to (item, word) and to nothing else."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from itm_jax.config.default import default_config
from itm_jax.structs import Batch, Regions, Tokens
from itm_jax.training.augment import AugmentConstants, augment

CLS, SEP, MASK = 2, 3, 4
REPLACEMENTS = np.arange(1000, 1050, dtype=np.int32)
MASK_STATE = np.array([-1.0, -2.0], np.float32)


def rates(**changes):
    """The default rates, some of them changed."""
    config = default_config().data.augment
    config.update(changes)
    return config


OFTEN = rates(word_touch=0.6, word_mask=0.3, word_random=0.4, word_delete=0.3)


def make_batch(b=300, length=32, regions=12, states=False, seed=0):
    """Captions of 1 to 9 words of 1 to 3 pieces; a piece's id says which it is: 10 + 3 * word + piece.

    States are (caption, position), so that it shows where each came from.
    """
    rng = np.random.default_rng(seed)
    ids, word_ids = np.zeros((b, length), np.int32), np.full((b, length), -1, np.int32)
    mask = np.zeros((b, length), bool)
    for c in range(b):
        words = np.repeat(np.arange(rng.integers(1, 10)), 3)
        pieces = np.arange(len(words)) % 3
        there = (pieces == 0) | (rng.random(len(words)) < 0.4)
        words, pieces = words[there], pieces[there]
        n = len(words) + 2
        ids[c, :n] = [CLS, *(10 + 3 * words + pieces), SEP]
        word_ids[c, 1 : n - 1] = words
        mask[c, :n] = True
    state = np.stack(np.broadcast_arrays(np.arange(b)[:, None], np.arange(length)[None]), axis=-1)
    state = jnp.array(np.where(mask[..., None], state, 0), jnp.float16) if states else None
    region_mask = np.arange(regions)[None] < rng.integers(1, regions + 1, b)[:, None]
    return Batch(
        regions=Regions(
            jnp.array(rng.standard_normal((b, regions, 4)), jnp.float32),
            jnp.array(region_mask),
            jnp.array(rng.random((b, regions, 4)), jnp.float32),
            jnp.array(rng.integers(0, 9, (b, regions)), jnp.int32),
        ),
        tokens=Tokens(jnp.array(ids), jnp.array(mask), jnp.array(word_ids), states=state),
        image=jnp.arange(b) // 5,
    )


def augmented(key, batch, config):
    """`augment` with the constants that go with the batch."""
    mask_state = None if batch.tokens.states is None else jnp.array(MASK_STATE)
    return augment(key, batch, AugmentConstants(MASK, jnp.array(REPLACEMENTS), mask_state), config)


compiled = jax.jit(augmented, static_argnames="config")


def run(batch, config=None, key=0):
    """The augmented batch, on the host."""
    config = ml_collections.FrozenConfigDict(config or rates())
    return jax.tree.map(np.asarray, compiled(jax.random.key(key), batch, config))


def fates(before, after):
    """[b, 9] what became of each word: "" where there is none, else kept, masked, random, deleted or mixed."""

    def pieces(tokens, which):
        rows, slots = np.nonzero(np.asarray(which & (tokens.word_ids >= 0)))
        counts = np.zeros((len(tokens.ids), 9), int)
        np.add.at(counts, (rows, np.asarray(tokens.word_ids)[rows, slots]), 1)
        return counts

    was, now = pieces(before, before.mask), pieces(after, after.mask)
    kept = pieces(after, (after.ids - 10) // 3 == after.word_ids)
    masked, random = pieces(after, after.ids == MASK), pieces(after, after.ids >= 1000)
    cases = {"": was == 0, "deleted": now == 0, "kept": kept == was, "masked": masked == was, "random": random == was}
    return np.select(list(cases.values()), list(cases), "mixed")


def test_rates_of_regions_and_words():
    batch = make_batch(b=2000, regions=36)
    out = run(batch)
    valid = np.asarray(batch.regions.mask)
    several = valid & (valid.sum(axis=1, keepdims=True) >= 6)  # where keeping one region hardly ever matters
    dropped = 1 - out.regions.mask[several].mean()
    assert abs(dropped - 0.2) < 4 * np.sqrt(0.16 / several.sum())
    fate = fates(batch.tokens, out.tokens)
    fate = fate[(fate != "").sum(axis=1) >= 5]
    words = (fate != "").sum()
    share = {name: (fate == name).sum() / words for name in ("kept", "masked", "random", "deleted")}
    for name, expected in {"kept": 0.8, "masked": 0.1, "random": 0.02, "deleted": 0.08}.items():
        assert abs(share[name] - expected) < 4 * np.sqrt(expected * (1 - expected) / words), (name, share)
    drawn = out.tokens.ids[out.tokens.ids >= 1000]
    assert set(drawn) == set(REPLACEMENTS)
    assert np.bincount(drawn - 1000).max() < 3 * len(drawn) / len(REPLACEMENTS)


def test_pieces_of_a_word_share_its_fate():
    batch = make_batch()
    fate = fates(batch.tokens, run(batch, OFTEN).tokens)
    assert set(fate[fate != ""]) == {"kept", "masked", "random", "deleted"}


@pytest.mark.parametrize("states", [False, True])
def test_what_is_kept_moves_to_the_front_in_order(states):
    batch = make_batch(states=states)
    before, after = batch.tokens, run(batch, OFTEN).tokens
    assert (after.ids.dtype, after.word_ids.dtype, after.mask.dtype) == (np.int32, np.int32, bool)
    deleted = (fates(before, after) == "deleted").sum(axis=1)
    assert deleted.max() > 1
    for c in range(300):
        n = after.mask[c].sum()
        np.testing.assert_array_equal(after.mask[c], np.arange(32) < n)
        assert (after.ids[c, 0], after.ids[c, n - 1]) == (CLS, SEP)
        assert (after.word_ids[c, 0], after.word_ids[c, n - 1]) == (-1, -1)
        assert np.all(np.diff(after.word_ids[c, 1 : n - 1]) >= 0)
        own = after.ids[c, 1 : n - 1]
        assert np.all(np.diff(own[(own >= 10) & (own < 1000)]) > 0)
        assert not np.any(np.isin(own, (0, CLS, SEP)))
        np.testing.assert_array_equal(after.ids[c, n:], 0)
        np.testing.assert_array_equal(after.word_ids[c, n:], -1)
        if states:
            np.testing.assert_array_equal(after.states[c, n:], 0)


def test_states_follow_their_tokens():
    batch = make_batch(states=True)
    before, after = batch.tokens, run(batch, OFTEN).tokens
    assert after.states.dtype == np.float16
    fate, lengths = fates(before, after), np.asarray(before.mask).sum(axis=1)
    others = set()
    for c, j in np.argwhere(after.mask):
        word, (caption, position) = after.word_ids[c, j], after.states[c, j]
        if word < 0 or fate[c, word] == "kept":
            assert caption == c
            assert before.ids[c, int(position)] == after.ids[c, j]
        elif fate[c, word] == "masked":
            np.testing.assert_array_equal(after.states[c, j], MASK_STATE.astype(np.float16))
        else:  # a word, neither [CLS] nor [SEP], of another caption
            assert caption != c
            assert 1 <= position <= lengths[int(caption)] - 2
            others.add(int(caption))
    assert len(others) > 200  # of any other caption, not always the same
    np.testing.assert_array_equal(after.ids, run(batch.replace(tokens=before.replace(states=None)), OFTEN).tokens.ids)


def test_everything_dropped_leaves_one_region_and_one_whole_word():
    batch = make_batch()
    nothing = batch.regions.mask.at[7].set(False)  # an image without regions stays one
    bare = jnp.where(jnp.arange(32) < 2, jnp.array([CLS, SEP] + [0] * 30), 0)  # a caption without words too
    tokens = batch.tokens
    tokens = tokens.replace(
        ids=tokens.ids.at[5].set(bare),
        mask=tokens.mask.at[5].set(jnp.arange(32) < 2),
        word_ids=tokens.word_ids.at[5].set(-1),
    )
    batch = batch.replace(regions=batch.regions.replace(mask=nothing), tokens=tokens)
    everything = rates(region_drop=1.0, word_touch=1.0, word_mask=0.0, word_random=0.0, word_delete=1.0)
    out = run(batch, everything)
    np.testing.assert_array_equal(out.regions.mask.sum(axis=1), np.arange(300) != 7)
    assert np.all(np.asarray(batch.regions.mask)[out.regions.mask])  # a valid one
    fate = fates(tokens, out.tokens)
    np.testing.assert_array_equal((fate == "kept").sum(axis=1), np.arange(300) != 5)
    assert set(fate[fate != ""]) == {"kept", "deleted"}
    np.testing.assert_array_equal(out.tokens.ids[5], bare)
    assert len(set(out.regions.mask.argmax(axis=1))) > 6  # not always the first
    assert len(set(np.argwhere(fate == "kept")[:, 1])) > 6


def test_a_word_without_pieces_is_not_the_one_that_is_kept():
    """Word 1 of `red (nothing) disc` has no pieces: deleting everything still leaves word 0 or 2."""
    b = 200
    ids = jnp.broadcast_to(jnp.array([CLS, 10, 16, SEP]), (b, 4))
    word_ids = jnp.broadcast_to(jnp.array([-1, 0, 2, -1]), (b, 4))
    regions = Regions(jnp.ones((b, 2, 4)), jnp.ones((b, 2), bool))
    batch = Batch(regions, Tokens(ids, jnp.ones((b, 4), bool), word_ids), jnp.arange(b))
    out = augmented(jax.random.key(0), batch, rates(word_touch=1.0, word_mask=0.0, word_random=0.0, word_delete=1.0))
    assert (np.asarray(out.tokens.mask).sum(axis=1) == 3).all()
    assert set(np.asarray(out.tokens.ids)[:, 1].tolist()) == {10, 16}


def test_all_words_may_be_masked():
    batch = make_batch()
    out = run(batch, rates(word_touch=1.0, word_mask=1.0, word_random=0.0, word_delete=0.0)).tokens
    np.testing.assert_array_equal(out.mask, batch.tokens.mask)
    np.testing.assert_array_equal(out.ids, np.where(batch.tokens.word_ids >= 0, MASK, batch.tokens.ids))


@pytest.mark.parametrize("states", [False, True])
def test_rates_of_zero_change_nothing(states):
    batch = make_batch(states=states)
    out = run(batch, rates(region_drop=0.0, word_touch=0.0))
    jax.tree.map(np.testing.assert_array_equal, out, batch)


def test_only_masks_and_tokens_change():
    batch = make_batch()
    out = run(batch, OFTEN)
    regions = out.regions.replace(mask=batch.regions.mask)
    jax.tree.map(np.testing.assert_array_equal, regions, batch.regions)
    assert not np.any(out.regions.mask & ~batch.regions.mask)
    np.testing.assert_array_equal(out.image, batch.image)


@pytest.mark.parametrize("states", [False, True])
def test_draws_do_not_depend_on_the_padded_length(states):
    short, long = (make_batch(length=n, states=states) for n in (24, 32))
    np.testing.assert_array_equal(long.tokens.ids[:, :24], short.tokens.ids)
    one, other = run(short, OFTEN), run(long, OFTEN)
    for name in ("ids", "mask", "word_ids", *(["states"] if states else [])):
        np.testing.assert_array_equal(getattr(other.tokens, name)[:, :24], getattr(one.tokens, name))
        assert not np.any(getattr(other.tokens, name)[:, 24:] > 0)
    np.testing.assert_array_equal(other.regions.mask, one.regions.mask)


def test_the_key_decides_all_draws():
    batch = make_batch()
    one, other = run(batch, OFTEN), run(batch, OFTEN, key=1)
    assert np.any(one.tokens.ids != other.tokens.ids)
    assert np.any(one.regions.mask != other.regions.mask)
    eager = augmented(jax.random.key(0), batch, OFTEN)  # a mutable ConfigDict here, compiled from a frozen one there
    jax.tree.map(np.testing.assert_array_equal, eager, one)
