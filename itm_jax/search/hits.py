"""What a search takes and gives: how to search, an image that was found, and why it was found."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from itm_jax.viz.explain import Matching

SHORTLIST = 200  # images that a model of fragments scores again


@dataclasses.dataclass(frozen=True)
class Hit:
    """An image that was found.

    Attributes:
        id: of the image.
        score: of the model for a text; for an image the cosine, or with fragments the mean of the best cosines of its
            regions.
        metadata: the further columns of the index.
        thumbnail: a small JPEG; None where the index has none.
    """

    id: str
    score: float
    metadata: Mapping[str, Any]
    thumbnail: bytes | None = dataclasses.field(default=None, repr=False)


class Explanation(NamedTuple):
    """Why an image was found.

    Attributes:
        matching: the words, the region of each, and weights.
        boxes: [r 4] of the regions, as fractions of the image; None where the index has none.
        thumbnail: a small JPEG; None where the index has none.
    """

    matching: Matching
    boxes: Float[np.ndarray, "r 4"] | None
    thumbnail: bytes | None


class Search(NamedTuple):
    """How to search.

    Attributes:
        top: how many images.
        where: a condition in SQL on the columns of metadata, such as `year >= 2020 AND place = 'Oslo'`.
        shortlist: images that a model of fragments scores again, at least `top`.
        approximate: whether to use the approximate index, which must have been built.
    """

    top: int = 10
    where: str | None = None
    shortlist: int = SHORTLIST
    approximate: bool = False


class Asked(NamedTuple):
    """A question and its answer.

    Attributes:
        words: the question as it is shown.
        kind: `text`, `image` or `like`.
        hits: the images that were found.
    """

    words: str
    kind: str
    hits: list[Hit]
