"""Augmentation inside the training step, one pure function of a key (recipe of VSE∞ and AFA).

20% of the regions are dropped. 20% of the words are touched: of these 50% become [MASK], 10% become a random word, and
40% are deleted, with all pieces of a word together. Every draw belongs to an (item, region) or an (item, word), and
does not depend on the padded length.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from itm_jax.structs import AnyArray, Batch, Regions, Tokens


@dataclasses.dataclass(frozen=True)
class AugmentConstants:
    """What word augmentation needs of the text side.

    Attributes:
        mask_id: id of [MASK].
        replacements: [v] ids that a random word is drawn from.
        mask_state: [e] the frozen encoder's hidden state of [MASK]; None where the model runs its encoder.
    """

    mask_id: int
    replacements: Int[Array, " v"]
    mask_state: Float[Array, " e"] | None = None


def uniform_per_slot(key: PRNGKeyArray, b: int, n: int) -> Float[Array, "b n"]:
    """Uniform draws whose value at (b, j) does not depend on n."""
    draw = jax.vmap(lambda j: jax.random.uniform(jax.random.fold_in(key, j), (b,)))
    return draw(jnp.arange(n)).T


def keep_one(keep: Bool[Array, "b n"], valid: Bool[AnyArray, "b n"], draws: Float[Array, "b n"]) -> Bool[Array, "b n"]:
    """Returns the valid slots of `keep`; an item that would lose all of them keeps the one with the largest draw."""
    last = jnp.argmax(jnp.where(valid, draws, -1.0), axis=1)
    rescue = ~jnp.any(keep & valid, axis=1, keepdims=True) & (jnp.arange(keep.shape[1])[None, :] == last[:, None])
    return (keep | rescue) & valid


def drop_regions(key: PRNGKeyArray, regions: Regions, rate: float) -> Regions:
    """Makes each region invalid with probability `rate`; at least one stays."""
    draws = uniform_per_slot(key, *regions.mask.shape)
    return dataclasses.replace(regions, mask=keep_one(draws >= rate, regions.mask, draws))


def compact(tokens: Tokens, keep: Bool[AnyArray, "b l"]) -> Tokens:
    """Moves the kept tokens to the front, in order, so that their positions have no gaps; the rest becomes padding."""
    assert tokens.word_ids is not None
    order = jnp.argsort(~keep, axis=1, stable=True)
    mask = jnp.arange(keep.shape[1])[None, :] < jnp.sum(keep, axis=1)[:, None]
    ids = jnp.where(mask, jnp.take_along_axis(tokens.ids, order, axis=1), 0)
    word_ids = jnp.where(mask, jnp.take_along_axis(tokens.word_ids, order, axis=1), -1)
    states = tokens.states
    if states is not None:
        states = jnp.take_along_axis(states, order[..., None], axis=1)
        states = jnp.where(mask[..., None], states, jnp.zeros((), states.dtype))
    return dataclasses.replace(tokens, ids=ids, mask=mask, word_ids=word_ids, states=states)


def other_caption_states(draws: Float[Array, "b l"], tokens: Tokens) -> Float[Array, "b l e"]:
    """Returns for every slot the hidden state of a token of another caption of the batch, but not of [CLS] or [SEP]."""
    assert tokens.states is not None
    b = draws.shape[0]
    scaled = draws * (b - 1)
    step = jnp.floor(scaled)
    other = (jnp.arange(b)[:, None] + 1 + step.astype(jnp.int32)) % b
    words = jnp.maximum(jnp.sum(tokens.mask, axis=1, dtype=jnp.int32) - 2, 1)[other]
    return tokens.states[other, 1 + ((scaled - step) * words.astype(jnp.float32)).astype(jnp.int32)]


def touch_words(key: PRNGKeyArray, tokens: Tokens, constants: AugmentConstants, config) -> Tokens:
    """Masks, replaces or deletes whole words. [CLS], [SEP] and at least one word stay.

    Where captions have frozen hidden states, no encoder runs again. A masked word then gets the state of a lone [MASK],
    and a random word gets the state of a token of another caption of the batch. A random word also gets a random id, as
    without frozen states; only a corpus prior then reads it.
    """
    assert tokens.word_ids is not None
    b, length = tokens.mask.shape
    word_key, id_key = jax.random.split(key)
    draws = uniform_per_slot(word_key, b, length)  # one per word
    word = jnp.maximum(tokens.word_ids, 0)
    is_word = tokens.mask & (tokens.word_ids >= 0)
    # a whitespace word without pieces (a zero-width space, say) is no word
    slot = jnp.arange(length)[None, None, :]
    word_exists = jnp.any((tokens.word_ids[:, :, None] == slot) & is_word[:, :, None], axis=1)

    masked_below = config.word_touch * config.word_mask
    random_below = masked_below + config.word_touch * config.word_random
    kept_word = keep_one((draws < random_below) | (draws >= config.word_touch), word_exists, draws)
    per_token = lambda x: jnp.take_along_axis(x, word, axis=1)  # noqa: E731
    token_draws = per_token(draws)
    masked = is_word & (token_draws < masked_below)
    random = is_word & (token_draws >= masked_below) & (token_draws < random_below)
    pick = uniform_per_slot(id_key, b, length)

    choice = (pick * constants.replacements.shape[0]).astype(jnp.int32)
    ids = jnp.where(masked, constants.mask_id, jnp.where(random, constants.replacements[choice], tokens.ids))
    states = tokens.states
    if states is not None:
        shown = jnp.where(random[..., None], other_caption_states(pick, tokens), states)
        assert constants.mask_state is not None
        states = jnp.where(masked[..., None], constants.mask_state.astype(states.dtype), shown)
    touched = dataclasses.replace(tokens, ids=ids, states=states)
    return compact(touched, tokens.mask & (~is_word | per_token(kept_word)))


def augment(key: PRNGKeyArray, batch: Batch, constants: AugmentConstants, config) -> Batch:
    """Returns the augmented batch.

    Args:
        key: the step's augmentation key.
        batch: matching pairs with `regions` and `tokens.word_ids`.
        constants: the ids and the state that touched words get.
        config: the `data.augment` section, which has the rates.
    """
    region_key, text_key = jax.random.split(key)
    regions, tokens = batch.regions, batch.tokens
    if config.region_drop:
        assert regions is not None
        regions = drop_regions(region_key, regions, config.region_drop)
    if config.word_touch:
        tokens = touch_words(text_key, tokens, constants, config)
    return dataclasses.replace(batch, regions=regions, tokens=tokens)
