"""Makes batches of splits: Grain shuffles the indices, a whole batch is gathered at once, a thread reads ahead."""

import dataclasses
import functools
from collections.abc import Iterator

import grain
import numpy as np

from itm_jax.data.regions import read_regions
from itm_jax.data.text.tokens import TokenTable, gather_tokens, padded_length
from itm_jax.errors import InputError
from itm_jax.structs import CONSTANTS, LABEL_BANK, Batch, Regions, Split, Tokens


@dataclasses.dataclass(frozen=True)
class TextSplit:
    """A split with its captions as word pieces, and as hidden states where the text encoder is frozen.

    `labels` [i r] are rows of `label_bank` [n e], or of the table that the model learns. `kinds` [v] is the kind of
    each word piece (`data.text.kinds`).
    """

    split: Split
    table: TokenTable
    states: np.ndarray | None
    buckets: tuple[int, ...]
    max_tokens: int
    labels: np.ndarray | None = None
    label_bank: np.ndarray | None = None
    kinds: np.ndarray | None = None

    @property
    def constants(self) -> dict[str, dict[str, np.ndarray]]:
        """The collection of a model's variables that comes with the data (`models.cpfean`)."""
        return {} if self.label_bank is None else {CONSTANTS: {LABEL_BANK: self.label_bank}}

    @property
    def notes(self) -> list[str]:
        """What is no defect of the captions, but good to know: how many are cut."""
        return caption_notes(self.split, self.table, self.max_tokens)

    @property
    def label_encodings(self) -> dict[str, np.ndarray]:
        """The encoding [e] of each label name of the split; empty where the model has no label bank."""
        return {} if self.label_bank is None else dict(zip(self.split.label_names, self.label_bank, strict=True))

    def regions(self, images: np.ndarray) -> Regions:
        """Returns the regions of the images, with features in their stored dtype."""
        features, mask = read_regions(self.split, images)
        return Regions(
            features=features,
            mask=mask,
            boxes=None if self.split.boxes is None else self.split.boxes[images],
            labels=None if self.labels is None else self.labels[images],
        )

    def tokens(self, captions: np.ndarray, part: slice = slice(None)) -> Tokens:
        """Returns the captions, or a part of them, padded to the smallest bucket that holds the longest of all."""
        length = padded_length(int(self.table.lengths[captions].max()), self.buckets, self.max_tokens)
        return gather_tokens(self.table, captions[part], length, self.states)

    def batch(self, captions: np.ndarray, *, regions: bool = True, part: slice = slice(None)) -> Batch:
        """Returns the pairs (caption, its image) of the rows `part`, padded to the length of the whole batch.

        Args:
            captions: indices of the captions of the whole batch.
            regions: False leaves the regions out, where they are on the devices (`data.bank`).
            part: the rows of the batch that are wanted.
        """
        images = self.split.caption_image_index[captions[part]]
        batch_regions = self.regions(images) if regions else None
        return Batch(regions=batch_regions, tokens=self.tokens(captions, part), image=images.astype(np.int32))


def caption_notes(split: Split, table: TokenTable, max_tokens: int) -> list[str]:
    """Says how many captions of a split are cut, and whether their words are not separated."""
    notes = []
    if table.cut:
        notes.append(
            f"{split.name}: {table.cut} of {len(split.captions)} captions have more than "
            f"config.data.max_tokens={max_tokens} tokens and are cut"
        )
    if table.by_piece:
        notes.append(
            f"{split.name}: the captions have no spaces between words; augmentation touches single word pieces"
        )
    return notes


def usable_buckets(config) -> tuple[int, ...]:
    """Returns the padded lengths that are not above `data.max_tokens`."""
    return tuple(b for b in config.data.token_buckets if b <= config.data.max_tokens)


def steps_per_epoch(split: Split, batch_size: int) -> int:
    """Returns the number of whole batches in an epoch."""
    if split.num_images < 2:
        raise InputError(f"{split.source}: {split.num_images} image to train on (config.data.train_share); take more")
    steps = len(split.captions) // batch_size
    if not steps:
        raise InputError(
            f"config.data.batch_size={batch_size}: more than the {len(split.captions)} pairs of {split.source} "
            "(config.data.train_share counts)"
        )
    return steps


def train_batches(
    data: TextSplit,
    *,
    batch_size: int,
    seed: int,
    start: int,
    prefetch: int,
    regions: bool = True,
    part: slice = slice(None),
) -> Iterator[Batch]:
    """Returns endless batches from step `start` on; batch number s is a pure function of (seed, s).

    Each epoch is a new permutation of the pairs, cut into whole batches.

    Args:
        data: the train split.
        batch_size: pairs per batch.
        seed: of the permutations.
        start: number of the first batch.
        prefetch: batches that are read ahead.
        regions: False leaves the regions out; a batch then has only the indices of its images.
        part: the rows of each batch that this process needs.
    """
    pairs = grain.MapDataset.range(len(data.split.captions)).seed(seed).shuffle()
    batches = pairs.batch(batch_size, drop_remainder=True).repeat()
    batches = batches.map(functools.partial(data.batch, regions=regions, part=part))
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=prefetch)
    iterator = iter(batches.to_iter_dataset(options))
    iterator.set_state({"next_index": start})
    return iterator
