"""Images and captions of your own in the form that a trained model reads, checked."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from itm_jax.config.model_fields import uses_edges
from itm_jax.data.labels import label_bank, label_indices
from itm_jax.data.pipeline import TextSplit, usable_buckets
from itm_jax.data.prepare import check_priors, reads_boxes
from itm_jax.data.text.states import BATCH, encode_states
from itm_jax.data.text.text_input import TextInput
from itm_jax.data.text.tokens import tokenize
from itm_jax.errors import InputError
from itm_jax.structs import CONSTANTS, LABEL_BANK, Extractor, Regions, Split
from itm_jax.vision.identity import difference
from itm_jax.vision.items import is_text

LARGEST = 1.001  # coordinate of a box, as a share of the side of the image
LONGEST = 100_000  # characters of a caption; a longer text is likely a whole file


def batch_of(count: int, most: int) -> int:
    """Returns a batch size for some items: the next power of two, at most `most`. So few programs are compiled."""
    return min(most, 1 << (count - 1).bit_length())


def filled(encodings: Any, most: int) -> tuple[Any, int]:
    """Repeats items until there is a power of two of them, at most `most`; returns also how many were added.

    So few numbers of items need a program of their own.
    """
    count = len(jax.tree.leaves(encodings)[0])
    more = max(batch_of(count, most) - count, 0)
    rows = np.arange(count + more) % count
    return (jax.tree.map(lambda x: x[rows], encodings) if more else encodings), more


def blank_split(config: Any, shape: tuple[int, int], names: tuple[str, ...]) -> Split:
    """Returns a split of one blank image with the boxes and labels that the model reads.

    Args:
        config: a completed config.
        shape: regions and width of the features.
        names: the label names that the model knows.
    """
    c, (regions, width) = config.model.regions, shape
    return Split(
        name="blank",
        features=np.ones((1, regions, width), np.float32),
        captions=["a", "a"],
        captions_per_image=2,
        ids=["blank"],
        boxes=np.tile(np.array([0, 0, 1, 1], np.float32), (1, regions, 1)) if reads_boxes(config) else None,
        labels=np.zeros((1, regions), np.int32) if c.labels else None,
        label_names=names[:1] or ("a",),
        edges=[[], []] if uses_edges(config.model) else None,
        source="captions of your own",
    )


def check_captions(captions: Sequence[Any], config: Any, source: str) -> None:
    """Raises InputError where captions cannot be encoded by the model of `source`."""
    if not isinstance(captions, list | tuple | np.ndarray) or not len(captions):
        raise InputError("captions: expected a list of texts, with at least one")
    for k, caption in enumerate(captions):
        if not isinstance(caption, str):
            raise InputError(f"caption {k}: a {type(caption).__name__}, expected text")
        if not caption.strip():
            raise InputError(f"caption {k}: empty; write at least one word")
        if not is_text(caption):
            raise InputError(f"caption {k}: has half a character (a lone surrogate); write it again")
        if len(caption) > LONGEST:
            raise InputError(f"caption {k}: {len(caption):,} characters; a caption has at most {LONGEST:,}")
    if uses_edges(config.model):
        raise InputError(
            f"{source}: its word graph needs dependency edges (model.words.graph=sparse), which captions of your own "
            "do not have"
        )


def with_text(config: Any, text: TextInput, split: Split) -> TextSplit:
    """Returns a split with its captions as tokens and, for a frozen encoder, as hidden states.

    Unlike `data.prepare.with_text` it keeps no hidden states in the cache: these captions may never come again.
    """
    check_priors(config, split)
    table = tokenize(split.captions, text.tokenizer)
    buckets, states = usable_buckets(config), None
    if not config.model.text.trainable and split.captions:
        assert text.bert is not None  # a frozen encoder is a BERT
        states = np.empty((int(table.offsets[-1]), text.bert.hidden_size), config.model.text.cache_dtype)
        encode_states(text, table, buckets, states, batch=batch_of(len(split.captions), BATCH), shown=False)
    return TextSplit(
        split,
        table,
        states,
        buckets,
        config.data.max_tokens,
        labels=label_indices(config, split),
        label_bank=label_bank(config, split, text),
    )


def check_split(split: Split, width: int, extractor: Extractor | None, source: str) -> None:
    """Raises InputError where the features of a split are not those that the model of `source` takes."""
    if split.features.shape[-1] != width:
        raise InputError(
            f"{split.source}: its features are {split.features.shape[-1]} wide, but {source} was trained on features "
            f"that are {width} wide; extract them in the same way"
        )
    if extractor and split.extractor and extractor.fingerprint != split.extractor.fingerprint:
        what = difference(split.extractor.record["identity"], extractor.record["identity"])
        raise InputError(
            f"{split.source}: its features come from another extractor than those of the training of {source} "
            f"({what}); extract both with the same settings of itm_jax.extract"
        )


def check_regions(
    regions: Regions, config: Any, text: TextInput, *, width: int, names: tuple[str, ...], source: str
) -> tuple[Regions, Mapping[str, Any]]:
    """Returns regions as the model reads them, and the constants of the model that go with them.

    Args:
        regions: [n r ...]; their labels are indices into `names`.
        config: a completed config.
        text: the text side of the model.
        width: of a feature in the training.
        names: the label names that the model knows.
        source: where the model comes from, for messages.

    Raises:
        InputError: the features are of another width, boxes or labels are missing, or a value is out of range.
    """
    c = config.model.regions
    if np.ndim(regions.features) != 3 or not len(regions.features):
        raise InputError(f"regions: features of shape {list(np.shape(regions.features))}; expected [n r f], n above 0")
    n, r, _ = np.shape(regions.features)
    if not np.all(np.isfinite(np.asarray(regions.features, np.float32))):
        raise InputError("regions: a feature is not a finite number; look at how they were extracted")
    if regions.mask is None:
        regions = dataclasses.replace(regions, mask=np.ones((n, r), bool))
    for field, shape in (("mask", (n, r)), ("boxes", (n, r, 4)), ("labels", (n, r))):
        value = getattr(regions, field)
        if value is not None and np.shape(value) != shape:
            raise InputError(f"regions: {field} of shape {list(np.shape(value))}; expected {list(shape)}, as features")
    if regions.features.shape[-1] != width:
        raise InputError(f"regions: features {regions.features.shape[-1]} wide, but {source} was trained on {width}")
    for field, read in (("boxes", reads_boxes(config)), ("labels", c.labels)):
        if read and getattr(regions, field) is None:
            raise InputError(f"regions: {field} are missing, but {source} was trained with them")
    valid = np.asarray(regions.mask, bool)
    if regions.boxes is not None:
        boxes = np.asarray(regions.boxes)[valid]
        if not np.all((boxes >= 0) & (boxes <= LARGEST)):  # NaN too
            raise InputError("regions: boxes must be (x1, y1, x2, y2) from 0 to 1, shares of the width and the height")
    labels = regions.labels
    if labels is not None:
        if not np.issubdtype(np.asarray(labels).dtype, np.integer):
            raise InputError("regions: labels must be integers, indices into label_names of the model")
        labels = np.where(valid, labels, 0).astype(np.int32)
        if names and not 0 <= labels.min() <= labels.max() < len(names):
            raise InputError(
                f"regions: labels from {labels.min()} to {labels.max()}, but the model knows {len(names)} names"
            )
        if c.label_names:
            labels = labels + 1  # row 0 of the learned table is for unknown names
    bank = np.stack(list(text.labels.values())) if text.labels else None
    constants = {} if bank is None else {CONSTANTS: {LABEL_BANK: bank}}
    return Regions(regions.features, regions.mask, regions.boxes, labels), constants
