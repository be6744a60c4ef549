"""What `itm_jax.check` says of captions, labels and dependency edges once the text side is loaded."""

from collections.abc import Sequence

import numpy as np

from itm_jax.config.model_fields import uses_edges
from itm_jax.data import pipeline
from itm_jax.data.defects import Defects
from itm_jax.data.text.text_input import TextInput
from itm_jax.data.text.tokens import tokenize
from itm_jax.structs import Split

UNSEEN = 0.2  # a note is written where the train split lacks the names of more than this share of the labels
SHARED = 0.05  # a note is written where other images have more than this share of the captions too
UNKNOWN = 0.05  # a note is written where more than this share of the word pieces is unknown


def check_tokens(config, splits: Sequence[Split], text: TextInput, defects: Defects) -> None:
    """Tokenizes all captions; reports those without a token, and notes how many are cut or have unknown words."""
    edges_are_read, unknown = uses_edges(config.model), text.tokenizer.token_to_id("[UNK]")
    for split in splits:
        written = np.array([bool(c) for c in split.captions])  # blank captions are already reported
        table = tokenize(split.captions, text.tokenizer, edges=split.edges if edges_are_read else None)
        defects.notes += pipeline.caption_notes(split, table, config.data.max_tokens)
        share = float(np.mean(table.ids[table.word_ids >= 0] == unknown)) if (table.word_ids >= 0).any() else 0.0
        if share > UNKNOWN:
            defects.notes.append(
                f"{split.name}: {100 * share:.0f}% of the word pieces are [UNK]; take a vocabulary that fits the text"
            )
        owners: dict[str, set[int]] = {}
        for caption, image in zip(split.captions, split.caption_image_index.tolist(), strict=True):
            owners.setdefault(caption, set()).add(image)
        shared = sum(len(owners[caption]) > 1 for caption in split.captions) / len(split.captions)
        if shared > SHARED:
            defects.notes.append(f"{split.name}: {100 * shared:.0f}% of the captions are captions of other images too")
        empty = np.flatnonzero((table.lengths <= 2) & written)
        path = split.source.replace("_ims.npy", "_caps.txt")
        lines = empty + 1 if split.lines is None else split.lines[empty]
        defects.each(path, "line", lines, "no-token", "no token is left of the caption")


def note_annotations(config, train: Split, splits: Sequence[Split], defects: Defects) -> None:
    """Notes labels that training never sees, and dependency edges that seem to count words from 1."""
    for split in splits:
        unseen = [name not in train.label_names for name in split.label_names]
        if train.label_names and split.labels is not None and any(unseen):
            share = float(np.mean(np.array(unseen)[split.labels]))
            if share > UNSEEN:
                defects.notes.append(
                    f"{split.name}: {100 * share:.0f}% of the labels are names that {train.name} lacks"
                )
        edges = split.edges if uses_edges(config.model) else None
        least = min((word for caption in edges or () for edge in caption for word in edge), default=0)
        if least > 0:
            defects.notes.append(f"{split.name}: no dependency edge names word 0; indices of words count from 0")
