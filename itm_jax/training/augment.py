"""Augmentation inside the training step, one pure function of a key (recipe of VSE∞ and AFA).

20% of the regions are dropped; 20% of the words are touched: 50% become [MASK], 10% a random word, 40% are deleted, all
pieces of a word together. Every draw belongs to (item, region) or (item, word), whatever the padded length is.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from itm_jax.structs import Batch, Regions, Tokens


@dataclasses.dataclass(frozen=True)
class AugmentConstants:
    """What word augmentation needs of the text side.

    Attributes:
        mask_id: id of [MASK].
        replacements: [v] ids that a random word is drawn from.
        mask_state: [e] the frozen encoder's state of [MASK], where captions come as states.
    """

    mask_id: int
    replacements: Int[Array, " v"]
    mask_state: Float[Array, " e"] | None = None


def uniform_per_slot(key: PRNGKeyArray, b: int, n: int) -> Float[Array, "b n"]:
    """Uniform draws whose value at (b, j) does not depend on n."""
    draw = jax.vmap(lambda j: jax.random.uniform(jax.random.fold_in(key, j), (b,)))
    return draw(jnp.arange(n)).T


def keep_one(keep: Bool[Array, "b n"], valid: Bool[Array, "b n"], draws: Float[Array, "b n"]) -> Bool[Array, "b n"]:
    """`keep`, and for an item that would lose all of its valid slots the one with the largest draw."""
    last = jnp.argmax(jnp.where(valid, draws, -1.0), axis=1)
    rescue = ~jnp.any(keep & valid, axis=1, keepdims=True) & (jnp.arange(keep.shape[1])[None, :] == last[:, None])
    return (keep | rescue) & valid


def drop_regions(key: PRNGKeyArray, regions: Regions, rate: float) -> Regions:
    """Makes each region invalid with probability `rate`; at least one stays."""
    draws = uniform_per_slot(key, *regions.mask.shape)
    return regions.replace(mask=keep_one(draws >= rate, regions.mask, draws))


def compact(tokens: Tokens, keep: Bool[Array, "b l"]) -> Tokens:
    """Moves the kept tokens to the front, in order, so that positions follow; the rest becomes padding."""
    order = jnp.argsort(~keep, axis=1, stable=True)
    mask = jnp.arange(keep.shape[1])[None, :] < jnp.sum(keep, axis=1)[:, None]
    ids = jnp.where(mask, jnp.take_along_axis(tokens.ids, order, axis=1), 0)
    word_ids = jnp.where(mask, jnp.take_along_axis(tokens.word_ids, order, axis=1), -1)
    states = tokens.states
    if states is not None:
        states = jnp.take_along_axis(states, order[..., None], axis=1)
        states = jnp.where(mask[..., None], states, jnp.zeros((), states.dtype))
    return tokens.replace(ids=ids, mask=mask, word_ids=word_ids, states=states)


def other_caption_states(draws: Float[Array, "b l"], tokens: Tokens) -> Float[Array, "b l e"]:
    """For every slot the state of a token, neither [CLS] nor [SEP], of another caption of the batch."""
    b = draws.shape[0]
    scaled = draws * (b - 1)
    step = jnp.floor(scaled)
    other = (jnp.arange(b)[:, None] + 1 + step.astype(jnp.int32)) % b
    words = jnp.maximum(jnp.sum(tokens.mask, axis=1, dtype=jnp.int32) - 2, 1)[other]
    return tokens.states[other, 1 + ((scaled - step) * words.astype(jnp.float32)).astype(jnp.int32)]


def touch_words(key: PRNGKeyArray, tokens: Tokens, constants: AugmentConstants, config) -> Tokens:
    """Masks, replaces or deletes whole words; [CLS] and [SEP] stay, and at least one word does.

    Where captions come as frozen states there is no encoder to run again: [MASK] then puts in the state of a lone
    [MASK], and a random word the state of a token of another caption of the batch; its id, which then only a corpus prior
    reads, is a random one as ever.
    """
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
        states = jnp.where(masked[..., None], constants.mask_state.astype(states.dtype), shown)
    return compact(tokens.replace(ids=ids, states=states), tokens.mask & (~is_word | per_token(kept_word)))


def augment(key: PRNGKeyArray, batch: Batch, constants: AugmentConstants, config) -> Batch:
    """The augmented batch.

    Args:
        key: the step's augmentation key.
        batch: pairs as read; `tokens.word_ids` must be there.
        constants: ids and states that replaced words take.
        config: the `data.augment` section: rates.
    """
    region_key, text_key = jax.random.split(key)
    regions, tokens = batch.regions, batch.tokens
    if config.region_drop:
        regions = drop_regions(region_key, regions, config.region_drop)
    if config.word_touch:
        tokens = touch_words(text_key, tokens, constants, config)
    return batch.replace(regions=regions, tokens=tokens)
