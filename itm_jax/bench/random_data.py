"""Makes random features and captions of any shape, in the form that training and evaluation read."""

import dataclasses

import ml_collections
import numpy as np

from itm_jax.config.fields import mutable_copy
from itm_jax.config.model_fields import uses_edges
from itm_jax.config.validation import validate
from itm_jax.data.labels import label_bank, label_indices
from itm_jax.data.pipeline import TextSplit
from itm_jax.data.prepare import complete_on
from itm_jax.data.text.text_input import TextInput
from itm_jax.data.text.tokens import tokenize
from itm_jax.structs import Split

WORDS = ("a", "the", "on", "with", "two", "is", "and", "of")  # one piece each in any English vocabulary
LABELS = ("ball", "dog", "man", "tree")


def random_captions(rng: np.random.Generator, count: int, tokens: int) -> list[str]:
    """Returns captions of 6 to `tokens` - 2 words; the first one has `tokens` - 2 words."""
    captions = [" ".join(rng.choice(WORDS, n)) for n in rng.integers(6, tokens - 1, count)]
    captions[0] = " ".join(["a"] * (tokens - 2))
    return captions


def random_data(
    config, *, images: int, captions_per_image: int = 1, regions: int, width: int, tokens: int
) -> tuple[ml_collections.FrozenConfigDict, TextInput, TextSplit]:
    """Makes a split of random items with boxes, labels and edges; all captions are padded to `tokens`.

    Where the text encoder is frozen, the captions have random hidden states.

    Returns:
        (the config completed for these data, its text side, the split).
    """
    config = mutable_copy(config)
    config.data.token_buckets = (tokens,)
    config.data.max_tokens = tokens
    config.data.dir = config.data.dir or "unused"
    if config.data.bank == "auto":  # the same on every machine
        config.data.bank = "host"
    validate(config)
    if not config.model.text.pretrained and not config.model.text.vocab:
        config.data.source = "scenes"  # a BERT from scratch has the vocabulary of `scenes`
    rng = np.random.default_rng(0)
    captions = random_captions(rng, images * captions_per_image, tokens)
    edges = [[(k, k + 1) for k in range(len(c.split()) - 1)] for c in captions]
    corner = rng.uniform(0, 0.5, (images, regions, 2)).astype(np.float32)
    split = Split(
        "train",
        rng.standard_normal((images, regions, width), dtype=np.float32),
        captions,
        captions_per_image,
        [str(i) for i in range(images)],
        boxes=np.concatenate([corner, corner + 0.4], axis=-1),
        labels=rng.integers(0, len(LABELS), (images, regions)).astype(np.int32),
        label_names=LABELS,
        edges=edges,
        source="random",
    )
    of_config = split
    if captions_per_image == 1:  # a corpus prior asks for several; with one it weighs all words alike, at the same cost
        twice = [caption for caption in captions for _ in "ab"]
        of_config = dataclasses.replace(
            split, captions=twice, captions_per_image=2, edges=[e for e in edges for _ in "ab"]
        )
    prepared = complete_on(config, [of_config])
    text = prepared.text
    table = tokenize(captions, text.tokenizer, edges=edges if uses_edges(config.model) else None)
    states = None
    if not config.model.text.trainable:
        assert text.bert is not None  # a frozen encoder is a BERT: `validate` refuses others
        states = rng.standard_normal((len(table.ids), text.bert.hidden_size)).astype(config.model.text.cache_dtype)
    labels, bank = label_indices(prepared.config, split), label_bank(prepared.config, split, text)
    return prepared.config, text, TextSplit(split, table, states, (tokens,), tokens, labels, bank)
