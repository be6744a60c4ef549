"""The data that flows between the parts of the library.

Dimension glossary, used in every shape of the package:

    b  batch (image-caption pairs)      i  images          t  captions
    r  regions of an image              l  tokens          n  rows of either kind (regions or tokens)
    f  input feature width              e  width of the text's hidden states
    d  joint width                      h  heads
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import flax.struct
import numpy as np
from jaxtyping import Array, Bool, Float, Int

AnyArray = Array | np.ndarray  # on the devices, or on the host
# Variables of a model that come with the data and are not learned: {collection: {name: value}}.
Constants = Mapping[str, Mapping[str, Any]]
CONSTANTS = "constants"
LABEL_BANK = "label_bank"  # in `constants`: [n e], the text encoder's vectors of a split's label names
WORD_PRIOR = "word_prior"  # in `batch_stats`: [v], a statistic of the train captions, kept by checkpoints


@flax.struct.dataclass
class Regions:
    """Regions of a batch of images. `boxes` are (x1, y1, x2, y2) as fractions of the image size."""

    features: Float[AnyArray, "b r f"]
    mask: Bool[AnyArray, "b r"]
    boxes: Float[AnyArray, "b r 4"] | None = None
    labels: Int[AnyArray, "b r"] | None = None


@flax.struct.dataclass
class Tokens:
    """Word pieces of a batch of captions, [CLS] and [SEP] included.

    `word_ids` is the index of the whitespace word that a piece belongs to, -1 for special tokens and padding. In
    scripts without spaces it is the number of the piece (`data.text.tokens.tokenize`).
    `edges` are the (head, dependent) edges of the dependency tree: indices of whitespace words, -1 for padding.
    `states`, where set, are the last hidden states of the frozen text encoder. The model then does not run its encoder.
    """

    ids: Int[AnyArray, "b l"]
    mask: Bool[AnyArray, "b l"]
    word_ids: Int[AnyArray, "b l"] | None = None
    edges: Int[AnyArray, "b k 2"] | None = None
    states: Float[AnyArray, "b l e"] | None = None


@flax.struct.dataclass
class Fragments:
    """Encodings of items that are matched fragment by fragment: unit vectors of regions or words, 0 where invalid.

    `weight` is the prior weight of each word (CPFEAN's corpus prior). It is None for regions, and without that prior.
    """

    rows: Float[AnyArray, "b n d"]
    mask: Bool[AnyArray, "b n"]
    weight: Float[AnyArray, "b n"] | None = None


@flax.struct.dataclass
class Batch:
    """Matching pairs: row k of `tokens` describes row k of `regions`. Equal `image` means the same image.

    `regions` is None where the devices hold the regions of all images (`data.bank`). `image` then says which to take.
    """

    regions: Regions | None
    tokens: Tokens
    image: Int[AnyArray, " b"]


@dataclasses.dataclass(frozen=True)
class Extractor:
    """What extracted the features of a split: the extractor.json beside them (`vision.identity`).

    Attributes:
        fingerprint: a hash of the identity: backbone, checksum of its weights, preprocessing, boxes.
        record: the content of extractor.json.
        images: the folder of the images.
    """

    fingerprint: str
    record: Mapping[str, Any]
    images: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Split:
    """One split of a dataset on the host. The captions of an image stand together, in the order of the images.

    Attributes:
        name: `train`, `dev`, `test`, `testall`, ...
        features: [i, r, f] float16 or float32, memory-mapped where it comes from a file.
        captions: t strings, grouped by image, in the images' order.
        captions_per_image: the number of captions of every image; or [i] numbers, where images have different ones.
        ids: i strings that name the images.
        boxes: [i, r, 4] fractions of the image size, or None.
        labels: [i, r] indices into `label_names`, or None.
        label_names: the label vocabulary, sorted.
        edges: per caption a list of (head, dependent) indices of whitespace words, or None.
        objects: [i] the number of objects that each image shows, or None where the source does not say.
        num_regions: [i] the number of regions of each image, which are its first ones; None: all. Besides, regions at
            the end of an image whose features are all zero are padding (`data.regions`).
        source: where the split was read from, for messages.
        rows: [i] the row of each image in the source's file, for messages; None: the images are its rows.
        lines: [t] the line of each caption in the source's file, from 1 on, for messages; None: in their order.
        extractor: what extracted the features; None where nothing says that.
    """

    name: str
    features: np.ndarray
    captions: Sequence[str]
    captions_per_image: int | np.ndarray
    ids: Sequence[str]
    boxes: np.ndarray | None = None
    labels: np.ndarray | None = None
    label_names: tuple[str, ...] = ()
    edges: Sequence[Sequence[Sequence[int]]] | None = None
    objects: np.ndarray | None = None
    num_regions: np.ndarray | None = None
    source: str = ""
    rows: np.ndarray | None = None
    lines: np.ndarray | None = None
    extractor: Extractor | None = None

    @property
    def num_images(self) -> int:
        """Number of images, i."""
        return len(self.features)

    @property
    def caption_counts(self) -> np.ndarray:
        """[i] number of captions of each image."""
        return np.broadcast_to(self.captions_per_image, self.num_images)

    @functools.cached_property
    def caption_starts(self) -> np.ndarray:
        """[i + 1] index of the first caption of each image; the last entry is t."""
        return np.concatenate([[0], np.cumsum(self.caption_counts)]).astype(np.int64)

    @functools.cached_property
    def caption_image_index(self) -> np.ndarray:
        """[t] index of the image that each caption describes."""
        return np.repeat(np.arange(self.num_images), self.caption_counts)

    def rows_of(self, images: np.ndarray) -> np.ndarray:
        """Returns the rows of images in the source's file."""
        return images if self.rows is None else self.rows[images]


@flax.struct.dataclass
class TrainState:
    """Everything that a training step changes.

    Attributes:
        step: number of finished steps.
        params: parameters, float32.
        batch_stats: running statistics of BatchNorm.
        opt_state: state of the optimiser.
        skipped: number of steps skipped so far, because of NaN or Inf in the loss, the gradient or the new parameters.
    """

    step: Int[Array, ""]
    params: Any
    batch_stats: Any
    opt_state: Any
    skipped: Int[Array, ""]
