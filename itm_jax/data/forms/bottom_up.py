"""Region features of one image after the other, from the files of bottom-up attention and of TERAN.

bottom-up attention (Anderson et al., CVPR 2018) writes TSV files with base64 fields; bottom-up-attention.pytorch writes
an .npz for each image; TERAN has `bu_att/ID.npz`, and `bu_box/ID.npy` with boxes in pixels.
"""

import base64
import binascii
import csv
import dataclasses
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from itm_jax.data.precomp.single_files import open_array
from itm_jax.errors import InputError
from itm_jax.files import read_npz

FIELDS = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")
# The TSV of LXMERT's extractor (py-bottom-up-attention), with the indices of objects and attributes.
LONG = ("image_id", "image_h", "image_w", "objects", "o_conf", "attributes", "a_conf", "num_boxes", "boxes", "features")
FEATURES = ("features", "feat", "x")  # names of the features in an .npz
BOXES = ("boxes", "bbox")
WANTED = (*FEATURES, *BOXES, "image_w", "image_h")  # of an .npz; a pickled array among the others is not looked at
BEYOND = 0.01  # how far a box may reach beyond the image, as a share of it
MOST = 1000  # boxes of an image; more mean a damaged file


@dataclasses.dataclass(frozen=True)
class Row:
    """The regions of an image.

    Attributes:
        name: the name or number of the image.
        features: one row for each region.
        boxes: divided by the width and the height of the image, or in `pixels`; None where the file has none.
        where: the file and the place in it, for messages.
    """

    name: str
    features: Float[np.ndarray, "k f"]
    boxes: Float[np.ndarray, "k 4"] | None
    where: str
    pixels: bool = False


def read_tsv(paths: Sequence[pathlib.Path]) -> Iterator[Row]:
    """Yields the images of TSV files of bottom-up attention.

    Raises:
        InputError: a file cannot be read, or a line is damaged.
    """
    csv.field_size_limit(sys.maxsize)
    for path in paths:
        try:
            with path.open(newline="", encoding="utf-8") as file:
                for number, cells in enumerate(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), 1):
                    if cells and cells[0] != FIELDS[0]:  # some files have a header
                        yield _of_line(cells, f"{path}: line {number}")
        except OSError as e:
            raise InputError(f"{path}: cannot be read ({e.strerror})") from None
        except (UnicodeDecodeError, csv.Error) as e:
            raise InputError(f"{path}: not a TSV file of bottom-up attention ({e})") from None


def _of_line(cells: Sequence[str], where: str) -> Row:
    names = {len(FIELDS): FIELDS, len(LONG): LONG}.get(len(cells))
    if names is None:
        raise InputError(
            f"{where}: {len(cells)} columns; expected {', '.join(FIELDS)}, as bottom-up attention writes them"
        )
    value = dict(zip(names, cells, strict=True))
    try:
        count, sides = int(value["num_boxes"]), [float(value["image_w"]), float(value["image_h"])]
    except ValueError:
        raise InputError(f"{where}: image_w, image_h and num_boxes must be numbers") from None
    if not 1 <= count <= MOST or min(sides) <= 0:
        raise InputError(
            f"{where}: num_boxes is {count}, and the image is {sides[0]:g} x {sides[1]:g} pixels; expected "
            f"1 to {MOST} boxes, and sides above 0"
        )
    boxes = _decode(value["boxes"], count, where, "boxes")
    if boxes.shape[1] != 4:
        raise InputError(f"{where}: boxes have {boxes.shape[1]} numbers each, expected 4")
    features = _decode(value["features"], count, where, "features")
    return Row(value["image_id"], features, checked_boxes(boxes / np.array(sides * 2, np.float32), where), where)


def _decode(text: str, count: int, where: str, name: str) -> np.ndarray:
    """Returns a base64 field of float32 as an array with so many rows."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as e:
        raise InputError(f"{where}: {name}: not base64 ({e}); the line may be cut") from None
    if not data or len(data) % (4 * count):
        raise InputError(
            f"{where}: {name}: {len(data)} bytes are no multiple of {count} rows of float32; the line may be cut"
        )
    return checked(np.frombuffer(data, "<f4").reshape(count, -1), f"{where}: {name}")


def rows_of_npz(directory: pathlib.Path, boxes: pathlib.Path | None = None) -> Iterator[Row]:
    """Yields the images of a folder with an .npz for each.

    Args:
        directory: the folder; features are `features`, `feat` or `x`, boxes `boxes` or `bbox` with `image_w` and
            `image_h`.
        boxes: a folder with ID.npy, the boxes of an image (TERAN), in pixels or divided by its sides; None: there is
            none.

    Raises:
        InputError: there is no such file, or one is damaged.
    """
    paths = sorted(directory.glob("*.npz"))
    if not paths:
        raise InputError(f"{directory}: no .npz file; expected one for each image")
    for path in paths:
        values = read_npz(path, WANTED)
        features = next((values[name] for name in FEATURES if name in values), None)
        if features is None or features.ndim != 2 or not 1 <= len(features) <= MOST:
            raise InputError(f"{path}: no features [regions, width] in it (as {', '.join(FEATURES)})")
        found, pixels = _boxes_of(path, values, len(features), boxes)
        yield Row(path.stem, checked(numbers(features, str(path)), str(path)), found, str(path), pixels)


def read_array(path: pathlib.Path) -> np.ndarray:
    """Returns the numbers in an .npy file, as float32. Raises InputError where it is damaged or missing."""
    value = open_array(path)
    assert value is not None  # defects are strict: the first one is raised
    return numbers(value, str(path))


def numbers(value: np.ndarray, where: str) -> np.ndarray:
    """Returns an array of numbers as float32. Raises InputError where it holds something else."""
    if value.dtype.kind not in "fiu":
        raise InputError(f"{where}: holds {value.dtype}, expected numbers")
    return np.asarray(value, np.float32)


def _boxes_of(
    path: pathlib.Path, values: Mapping[str, np.ndarray], count: int, folder: pathlib.Path | None
) -> tuple[np.ndarray | None, bool]:
    """The boxes of an .npz or of a folder beside, and whether they are in pixels."""
    where = str(path)
    if folder is not None:
        where = str(folder / f"{path.stem}.npy")
        boxes: np.ndarray | None = read_array(pathlib.Path(where))
    else:
        boxes = next((numbers(values[name], where) for name in BOXES if name in values), None)
    if boxes is None:
        return None, False
    if boxes.shape != (count, 4):
        raise InputError(f"{where}: boxes {boxes.shape}, expected ({count}, 4), one for each row of features")
    if folder is not None:
        pixels = bool(boxes.max() > 1 + BEYOND)
        return (checked(boxes, where) if pixels else checked_boxes(boxes, where)), pixels
    sides = [numbers(values[name], where) for name in ("image_w", "image_h") if name in values]
    if len(sides) != 2 or any(side.size != 1 or side.min() <= 0 for side in sides):
        raise InputError(f"{where}: boxes without image_w and image_h, one number each, which they are divided by")
    return checked_boxes(boxes / np.tile([side.item() for side in sides], 2).astype(np.float32), where), False


def checked(values: np.ndarray, where: str) -> np.ndarray:
    """Returns an array of finite numbers. Raises InputError where one is NaN or infinite."""
    if not np.isfinite(values).all():
        raise InputError(f"{where}: NaN or infinite numbers in row {int(np.argwhere(~np.isfinite(values))[0, 0])}")
    return values


def checked_boxes(boxes: np.ndarray, where: str) -> np.ndarray:
    """Returns boxes inside the image. Raises InputError where one reaches more than a hundredth beyond it."""
    boxes = checked(np.asarray(boxes, np.float32), where)
    if boxes.size and (boxes.min() < -BEYOND or boxes.max() > 1 + BEYOND):
        raise InputError(f"{where}: boxes reach beyond the image; are its width and height right?")
    return np.clip(boxes, 0, 1)
