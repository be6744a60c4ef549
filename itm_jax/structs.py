"""What flows between the parts of the library.

Dimension glossary, used in every shape of the package:

    b  batch (image-caption pairs)      i  images          t  captions
    r  regions of an image              l  tokens          n  rows of either kind (regions or tokens)
    f  input feature width              e  width of text states
    d  joint width                      h  heads
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.struct
import numpy as np
from jaxtyping import Array, Bool, Float, Int

AnyArray = Array | np.ndarray  # on the devices, or on the host
# Collections of a model's variables that come with the data and are not learned, and what is in them.
Constants = Mapping[str, Mapping[str, Any]]
CONSTANTS = "constants"
LABEL_BANK = "label_bank"  # in `constants`: [n e], the label names of a split as the text encoder reads them
WORD_PRIOR = "word_prior"  # in `batch_stats`: [v], a statistic of the train captions, kept by checkpoints


@flax.struct.dataclass
class Regions:
    """Regions of a batch of images. `boxes` are (x1, y1, x2, y2) as fractions of the image size.

    `features` is None only where features and the rest are read apart (`TextSplit.companions`).
    """

    features: Float[AnyArray, "b r f"] | None
    mask: Bool[AnyArray, "b r"]
    boxes: Float[AnyArray, "b r 4"] | None = None
    labels: Int[AnyArray, "b r"] | None = None


@flax.struct.dataclass
class Tokens:
    """Word pieces of a batch of captions, [CLS] and [SEP] included.

    `word_ids` is the index of the whitespace word a piece belongs to, -1 for special tokens and padding.
    `edges` are the (head, dependent) indices of whitespace words in the caption's dependency tree, -1 where there is none.
    `states`, where given, are the frozen text encoder's last hidden states, and the model does not run its encoder.
    """

    ids: Int[AnyArray, "b l"]
    mask: Bool[AnyArray, "b l"]
    word_ids: Int[AnyArray, "b l"] | None = None
    edges: Int[AnyArray, "b k 2"] | None = None
    states: Float[AnyArray, "b l e"] | None = None


@flax.struct.dataclass
class Fragments:
    """Encodings of items that are matched fragment by fragment: unit vectors of regions or words, 0 where invalid.

    `weight` is the prior weight of a word (CPFEAN's corpus prior), None for regions and without that prior.
    """

    rows: Float[AnyArray, "b n d"]
    mask: Bool[AnyArray, "b n"]
    weight: Float[AnyArray, "b n"] | None = None


@flax.struct.dataclass
class Batch:
    """Matching pairs: row k of `regions` is described by row k of `tokens`; equal `image` means the same image.

    `regions` is None where those of all images are on the devices (`data.bank`), to be found there by `image`.
    """

    regions: Regions | None
    tokens: Tokens
    image: Int[AnyArray, " b"]


@dataclasses.dataclass(frozen=True)
class Split:
    """One split of a dataset on the host. Caption c describes image `c // captions_per_image`.

    Attributes:
        name: `train`, `dev`, `test`, `testall`, ...
        features: [i, r, f] float16 or float32, memory-mapped where it comes from a file.
        captions: t strings, grouped by image, in the images' order.
        captions_per_image: t / i.
        ids: i strings that name the images.
        boxes: [i, r, 4] fractions of the image size, or None.
        labels: [i, r] indices into `label_names`, or None.
        label_names: the label vocabulary, sorted.
        edges: per caption a list of (head, dependent) indices of whitespace words, or None.
        objects: [i] how many objects each image shows, where the source knows, or None.
        source: where it was read from, for messages.
        rows_per_image: how many equal rows of the source's file there are for an image, for messages.
    """

    name: str
    features: np.ndarray
    captions: Sequence[str]
    captions_per_image: int
    ids: Sequence[str]
    boxes: np.ndarray | None = None
    labels: np.ndarray | None = None
    label_names: tuple[str, ...] = ()
    edges: Sequence[Sequence[Sequence[int]]] | None = None
    objects: np.ndarray | None = None
    source: str = ""
    rows_per_image: int = 1

    @property
    def num_images(self) -> int:
        """Number of images, i."""
        return len(self.features)

    @property
    def caption_image_index(self) -> np.ndarray:
        """[t] index of the image that each caption describes."""
        return np.arange(len(self.captions)) // self.captions_per_image


@flax.struct.dataclass
class TrainState:
    """Everything a step changes.

    Attributes:
        step: number of steps done.
        params: parameters, float32.
        batch_stats: running statistics of BatchNorm.
        opt_state: the optimiser's.
        skipped: steps left out so far because their loss, gradient or outcome was not finite.
    """

    step: Int[Array, ""]
    params: Any
    batch_stats: Any
    opt_state: Any
    skipped: Int[Array, ""]
