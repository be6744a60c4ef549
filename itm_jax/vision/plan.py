"""What an extraction will do, before it opens an image: which images with which captions, in which parts."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from itm_jax.vision.items import Item

IMAGES_PER_PART = 256


@dataclasses.dataclass(frozen=True)
class Part:
    """Images of one split that are extracted together, and kept in one file until all are there."""

    split: str
    number: int
    items: tuple[Item, ...]

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.split}-{self.number:05d}.npz"


@dataclasses.dataclass(frozen=True)
class Plan:
    """An extraction.

    Attributes:
        images: the folder of images.
        splits: the images of each split.
        identity: of the extractor: backbone, checksum of its weights, preprocessing, boxes, labels.
        source: where backbone and detector come from: names as they were given, revisions.
        boxes: a checksum of the file of boxes; empty where there is none.
        left_out: images of the caption file that are not extracted, each with the reason.
    """

    images: pathlib.Path
    splits: Mapping[str, Sequence[Item]]
    identity: Mapping[str, Any]
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    boxes: str = ""
    left_out: Sequence[Mapping[str, Any]] = ()

    @property
    def parts(self) -> list[Part]:
        """All parts, split by split."""
        return [
            Part(split, number, tuple(items[start : start + IMAGES_PER_PART]))
            for split, items in self.splits.items()
            for number, start in enumerate(range(0, len(items), IMAGES_PER_PART))
        ]

    @property
    def num_images(self) -> int:
        """The number of images of all splits."""
        return sum(map(len, self.splits.values()))

    def fingerprint(self) -> str:
        """Returns a hash of the images, captions, boxes and extractor: what two plans extract is never mixed."""
        items = {split: [(i.image, i.captions) for i in found] for split, found in self.splits.items()}
        text = json.dumps([items, str(self.images.resolve()), self.boxes, self.identity], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
