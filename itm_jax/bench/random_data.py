"""Random features and captions of any shape, in the form that training and evaluation read."""

import numpy as np

from itm_jax.config.model_fields import uses_edges
from itm_jax.config.validation import validate
from itm_jax.data.labels import label_bank, label_indices
from itm_jax.data.pipeline import TextSplit
from itm_jax.data.prepare import fill_in_priors
from itm_jax.data.text.text_input import TextInput, load_text
from itm_jax.data.text.tokens import tokenize
from itm_jax.structs import Split

WORDS = ("a", "the", "on", "with", "two", "is", "and", "of")  # one piece each in any English vocabulary
LABELS = ("ball", "dog", "man", "tree")


def random_captions(rng: np.random.Generator, count: int, tokens: int) -> list[str]:
    """Captions of 6 to `tokens` - 2 words; the first has the most."""
    captions = [" ".join(rng.choice(WORDS, n)) for n in rng.integers(6, tokens - 1, count)]
    captions[0] = " ".join(["a"] * (tokens - 2))
    return captions


def random_data(
    config, *, images: int, captions_per_image: int = 1, regions: int, width: int, tokens: int
) -> tuple[TextInput, TextSplit]:
    """The text side of the config, and a split of random items with boxes, labels, edges, and states where they are frozen.

    All captions are padded to `tokens`. The config's fields that depend on the data are filled in.
    """
    config.data.token_buckets = (tokens,)
    config.data.max_tokens = tokens
    config.data.dir = config.data.dir or "unused"
    validate(config)
    rng = np.random.default_rng(0)
    captions = random_captions(rng, images * captions_per_image, tokens)
    source = config.data.source if config.model.text.pretrained else "scenes"
    text = load_text(config, source=source, captions=captions)
    edges = [[(k, k + 1) for k in range(len(c.split()) - 1)] for c in captions]
    table = tokenize(captions, text.tokenizer, edges=edges if uses_edges(config.model) else None)
    states = None
    if not config.model.text.trainable:
        states = rng.standard_normal((len(table.ids), text.bert.hidden_size)).astype(config.model.text.cache_dtype)
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
    fill_in_priors(config, split)
    labels, bank = label_indices(config, split), label_bank(config, split, text)
    return text, TextSplit(split, table, states, (tokens,), tokens, labels, bank)
