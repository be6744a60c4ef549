"""Which boxes an image gets: a fixed layout, those of a file, or those of a detector, filled up from the layout."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Shaped

from itm_jax.errors import InputError
from itm_jax.vision.caption_files import json_lines, read_text
from itm_jax.vision.items import is_text, safe_name
from itm_jax.vision.layout import layout

LONGEST = 1.001  # largest coordinate, as a share of the side of the image
NONE = np.zeros((0, 4), np.float32)  # no boxes
THIN = 1e-3  # least width and height of a box, as a share of the image


@runtime_checkable
class BoxSource(Protocol):
    """What says which boxes an image gets."""

    @property
    def extra_size(self) -> int:
        """The side of a further square of pixels that it needs; 0: none."""
        ...

    @property
    def labelled(self) -> bool:
        """Whether it gives names to some boxes."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """The names that it may give to boxes."""
        ...

    @property
    def checksum(self) -> str:
        """A checksum of the file of boxes; empty where there is none."""
        ...

    def of(
        self, names: Sequence[str], pixels: Sequence[np.ndarray]
    ) -> tuple[Float[np.ndarray, "n r 4"], Shaped[np.ndarray, "n r"] | None]:
        """Returns the boxes of images with their labels: "" where a box has none, None where no box has one."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """What of the boxes belongs to the extractor."""
        ...


@dataclasses.dataclass(frozen=True)
class LayoutBoxes:
    """The same boxes for every image (`vision.layout.layout`)."""

    regions: int
    extra_size: int = 0
    labelled: bool = False
    names: tuple[str, ...] = ()
    checksum: str = ""

    def of(self, names, pixels):
        """Returns the layout for each image."""
        return np.repeat(layout(self.regions)[None], len(names), axis=0), None

    @property
    def identity(self) -> dict[str, Any]:
        """The number of regions."""
        return {"boxes": "layout", "regions": self.regions}


@dataclasses.dataclass(frozen=True)
class FileBoxes:
    """BoxSource of a JSONL file, filled up from the layout.

    Attributes:
        found: boxes and labels of each image, by its name.
        regions: the number of boxes of an image; further ones in the file are left out.
        labelled: whether the file has labels.
        checksum: of the file.
    """

    found: Mapping[str, tuple[Float[np.ndarray, "k 4"], tuple[str, ...]]]
    regions: int
    labelled: bool
    checksum: str
    extra_size: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The labels of the file."""
        return tuple(sorted({label for _, labels in self.found.values() for label in labels if label}))

    def of(self, names, pixels):
        """Returns the boxes of the file, then those of the layout."""
        boxes, labels = fill_up([self.found.get(name, (NONE, ())) for name in names], self.regions)
        return boxes, labels if self.labelled else None

    def check_names(self, names: Iterable[str], path: pathlib.Path) -> str:
        """Returns a note about images without boxes; empty where all have some.

        Raises:
            InputError: no image has boxes, so that the names are likely wrong.
        """
        names = list(names)
        without = [name for name in names if name not in self.found]
        if len(without) == len(names):
            raise InputError(f"{path}: none of its images is among the images of the captions, such as {names[0]}")
        if not without:
            return ""
        return f"{path}: {len(without):,} images have no boxes there, and get the layout ({without[0]} is the first)"

    @property
    def identity(self) -> dict[str, Any]:
        """The kind of boxes; their places are data, not extractor."""
        return {"boxes": "file", "regions": self.regions}


def fill_up(
    found: Sequence[tuple[Float[np.ndarray, "_ 4"], Sequence[str]]], regions: int
) -> tuple[Float[np.ndarray, "n r 4"], Shaped[np.ndarray, "n r"]]:
    """Returns the first boxes of each image with their labels, and the layout, with "", where there are too few."""
    usual = layout(regions)
    boxes = [np.concatenate([b[:regions], usual])[:regions] for b, _ in found]
    labels = [[*names[:regions], *[""] * regions][:regions] for _, names in found]
    return np.stack(boxes).astype(np.float32), np.array(labels)


def with_area(boxes: Float[np.ndarray, "k 4"]) -> tuple[Float[np.ndarray, "k 4"], Bool[np.ndarray, " k"]]:
    """Returns the boxes inside the image, and which of them have an area."""
    boxes = np.clip(boxes, 0, 1).astype(np.float32)
    return boxes, np.all(boxes[:, 2:] - boxes[:, :2] >= THIN, axis=1)


def read_boxes(path: pathlib.Path, regions: int) -> FileBoxes:
    """Reads a JSONL file of boxes: {"image": NAME, "boxes": [[x1, y1, x2, y2], ...], "labels": [...]} on each line.

    The boxes are divided by the width and the height of the image, or in pixels with "size": [width, height]. Labels
    may be missing.

    Raises:
        InputError: the file cannot be read, or a line is wrong; the message names it.
    """
    found = {}
    content = read_text(path)
    for where, value in json_lines(path, content, "an image and its boxes"):
        name = safe_name(value.get("image"), path, where)
        if name in found:
            raise InputError(f"{path}: {where}: {name} is on an earlier line already")
        found[name] = _boxes(value, path, where)
    if not found:
        raise InputError(f"{path}: empty; expected a JSON object on each line, with an image and its boxes")
    labelled = any(any(labels) for _, labels in found.values())
    return FileBoxes(found, regions, labelled, hashlib.sha256(content.encode()).hexdigest())


def _boxes(value: dict[str, Any], path: pathlib.Path, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    try:
        boxes: np.ndarray = np.array(value.get("boxes"), np.float32)
        boxes = NONE if boxes.shape == (0,) else boxes
        sides = np.array(value.get("size", [1, 1]), np.float32)
    except (ValueError, TypeError, OverflowError):
        boxes, sides = np.zeros(0, np.float32), np.ones(2, np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or sides.shape != (2,):
        raise InputError(f"{path}: {where}: boxes must be lists of four numbers, and size two numbers")
    if not (np.isfinite(boxes).all() and np.isfinite(sides).all() and (sides > 0).all()):
        raise InputError(f"{path}: {where}: a number of its boxes is not finite, or its size is not positive")
    boxes = boxes / np.tile(sides, 2)
    if boxes.size and (boxes.min() < 1 - LONGEST or boxes.max() > LONGEST):
        raise InputError(
            f"{path}: {where}: boxes reach beyond the image; divide them by its width and height, or add "
            '"size": [width, height]'
        )
    boxes, fine = with_area(boxes)
    if not fine.all():
        raise InputError(f"{path}: {where}: a box has no area; its corners are (x1, y1, x2, y2) with x1 < x2, y1 < y2")
    labels = value.get("labels", [""] * len(boxes))
    if (
        not isinstance(labels, list)
        or len(labels) != len(boxes)
        or not all(isinstance(x, str) and is_text(x) for x in labels)
    ):
        raise InputError(f"{path}: {where}: labels must be one word for each box")
    return boxes, tuple(labels)
