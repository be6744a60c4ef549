"""CPFEAN's label prior on the host: the label names that a run knows, and their encodings, the label bank."""

import numpy as np

from itm_jax.config.model_fields import fields_of
from itm_jax.data.text.states import frozen_states
from itm_jax.data.text.text_input import TextInput, with_weights
from itm_jax.data.text.tokens import tokenize
from itm_jax.files import cache_dir
from itm_jax.structs import Split


def label_bank(config, split: Split, text: TextInput) -> np.ndarray | None:
    """Returns the encoding of each label name of the split, [n e], or None where the model uses no label bank.

    An encoding is the mean of the pretrained encoder's last hidden states over the word pieces of the name. These
    states are kept in the cache of hidden states, and a run keeps the encodings of its own label names. A model without
    a label bank uses no labels, or learns a table of them because its text encoder is trained from scratch.
    """
    if not uses_bank(config, split):
        return None
    if all(name in text.labels for name in split.label_names):
        return np.stack([text.labels[name] for name in split.label_names])
    text = with_weights(config, text)
    table = tokenize(split.label_names, text.tokenizer)
    states = frozen_states(
        text, table, (8, 16), directory=cache_dir(config.data.cache_dir), dtype=config.model.text.cache_dtype
    )
    piece = table.word_ids >= 0  # neither [CLS] nor [SEP]
    name = np.repeat(np.arange(len(split.label_names)), table.lengths)[piece]
    total = np.zeros((len(split.label_names), states.shape[1]), np.float32)
    np.add.at(total, name, states[piece].astype(np.float32))
    return total / np.maximum(np.bincount(name, minlength=len(total)), 1)[:, None].astype(np.float32)


def uses_bank(config, split: Split) -> bool:
    """Returns whether the model reads the labels of a split from a label bank, which the pretrained encoder makes."""
    asked = fields_of(config.model.name).labels == "encoded" and config.model.regions.labels is not False
    return asked and split.labels is not None and not learns_labels(config)


def label_indices(config, split: Split) -> np.ndarray | None:
    """Returns, for each region, the row of its label in the table of label encodings, [i r]; None without labels.

    Row 0 of the learned table is for names that the train split does not have.
    """
    reads = fields_of(config.model.name).labels is not None
    if split.labels is None or not reads or not config.model.regions.label_names:
        return split.labels
    row = {name: k + 1 for k, name in enumerate(config.model.regions.label_names)}
    return np.array([row.get(name, 0) for name in split.label_names], np.int32)[split.labels]


def learns_labels(config) -> bool:
    """Returns whether label names have a learned table, because no pretrained encoder reads them."""
    return config.model.text.encoder == "gru" or not config.model.text.pretrained
