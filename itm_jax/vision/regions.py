"""Which boxes an image gets: a fixed layout, those of a file, or those of a detector, filled up from the layout."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Shaped

from itm_jax.errors import InputError
from itm_jax.vision.boxes import layout
from itm_jax.vision.items import safe_name

LONGEST = 1.001  # of a coordinate that is divided by the side of the image
THIN = 1e-3  # a box is at least so wide and high, as a share of the image, so that it has an area


@runtime_checkable
class Boxes(Protocol):
    """What says which boxes an image gets."""

    @property
    def extra_size(self) -> int:
        """The side of a further square of pixels that it needs; 0: none."""
        ...

    def of(
        self, names: Sequence[str], pixels: Sequence[np.ndarray]
    ) -> tuple[Float[np.ndarray, "n r 4"], Shaped[np.ndarray, "n r"] | None]:
        """Returns the boxes of images, and their labels: "" where the classifier decides, None if it always does."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """What of the boxes belongs to the extractor."""
        ...


@dataclasses.dataclass(frozen=True)
class Layout:
    """The same boxes for every image (`vision.boxes.layout`)."""

    regions: int
    extra_size: int = 0

    def of(self, names, pixels):
        """Returns the layout for each image."""
        return np.repeat(layout(self.regions)[None], len(names), axis=0), None

    @property
    def identity(self) -> dict[str, Any]:
        """The number of regions."""
        return {"boxes": "layout", "regions": self.regions}


@dataclasses.dataclass(frozen=True)
class FromFile:
    """Boxes of a JSONL file, filled up from the layout.

    Attributes:
        found: boxes and labels of each image, by its name.
        regions: the number of boxes of an image; further ones in the file are left out.
    """

    found: Mapping[str, tuple[Float[np.ndarray, "k 4"], tuple[str, ...]]]
    regions: int
    extra_size: int = 0

    def of(self, names, pixels):
        """Returns the boxes of the file, then those of the layout."""
        return fill_up([self.found.get(name, (np.zeros((0, 4), np.float32), ())) for name in names], self.regions)

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


def read_boxes(path: pathlib.Path, regions: int) -> FromFile:
    """Reads a JSONL file of boxes: {"image": NAME, "boxes": [[x1, y1, x2, y2], ...], "labels": [...]} on each line.

    The boxes are divided by the width and the height of the image, or in pixels with "size": [width, height]. Labels
    may be missing.

    Raises:
        InputError: the file cannot be read, or a line is wrong; the message names it.
    """
    found = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"{path}: cannot be read ({e})") from None
    for n, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"line {n}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as e:
            raise InputError(f"{path}: {where}: not JSON ({e})") from None
        if not isinstance(value, dict):
            raise InputError(f"{path}: {where}: expected an object with image and boxes")
        name = safe_name(value.get("image"), path, where)
        if name in found:
            raise InputError(f"{path}: {where}: {name} is on an earlier line already")
        found[name] = _boxes(value, path, where)
    if not found:
        raise InputError(f"{path}: empty")
    return FromFile(found, regions)


def _boxes(value: dict[str, Any], path: pathlib.Path, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    try:
        boxes: np.ndarray = np.array(value.get("boxes"), np.float32).reshape(-1, 4)
        sides = np.array(value.get("size", [1, 1]), np.float32).reshape(2)
    except (ValueError, TypeError):
        raise InputError(f"{path}: {where}: boxes must be lists of four numbers, and size two numbers") from None
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
    if not isinstance(labels, list) or len(labels) != len(boxes) or not all(isinstance(x, str) for x in labels):
        raise InputError(f"{path}: {where}: labels must be one word for each box")
    return boxes, tuple(labels)
