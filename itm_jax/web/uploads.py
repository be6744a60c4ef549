"""Images that a browser sends: checked, and kept in a folder for the time of one request."""

import base64
import binascii
import contextlib
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from itm_jax.errors import InputError
from itm_jax.vision.images import FORMATS, open_rgb
from itm_jax.web.limits import MOST_BYTES, MOST_BYTES_OF_ALL, MOST_ITEMS, MOST_PIXELS

LONGEST_NAME = 60  # characters of a file name that are shown
SHOWN = 900  # pixels of the longer side of a picture in the page


class Upload(NamedTuple):
    """An image that passed the checks.

    Attributes:
        name: its file name on the user's side.
        path: where it lies for the time of the request.
        pixels: a smaller copy to show, [h w 3].
    """

    name: str
    path: pathlib.Path
    pixels: UInt8[np.ndarray, "h w 3"]


@contextlib.contextmanager
def kept(files: Any) -> Iterator[list[Upload]]:
    """Checks what a browser sent and keeps it in a folder, which is removed at the end.

    Args:
        files: `[{"name": ..., "data": ...}]`, where the data are a data URL in base64; None is an empty list.

    Raises:
        InputError: there are too many images, or one of them is too large, or no image. The message has the name of the
            file on the user's side, and no path.
    """
    read = [_content(file) for file in _list_of(files)]
    total = sum(len(content) for _, content in read)
    if total > MOST_BYTES_OF_ALL:
        raise InputError(f"the images have {_megabytes(total)} together; send at most {_megabytes(MOST_BYTES_OF_ALL)}")
    with tempfile.TemporaryDirectory(prefix="itm_jax_page_") as folder:
        uploads = []
        for k, (name, content) in enumerate(read):
            path = pathlib.Path(folder) / str(k)
            path.write_bytes(content)
            try:
                uploads.append(Upload(name, path, _pixels(path)))
            except InputError as e:
                raise InputError(str(e).replace(str(path), name)) from None
        yield uploads


def shown_name(name: Any) -> str:
    """Returns the last part of a file name, without characters that cannot be printed, and not too long."""
    last = str(name).replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(c for c in last if c.isprintable()).strip() or "the image"
    return printable if len(printable) <= LONGEST_NAME else f"{printable[: LONGEST_NAME - 1]}…"


def _list_of(files: Any) -> list[Any]:
    files = files or []
    if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
        raise InputError("the images did not arrive; choose them again")
    if len(files) > MOST_ITEMS:
        raise InputError(f"{len(files)} images; choose at most {MOST_ITEMS}")
    return files


def _content(file: dict[str, Any]) -> tuple[str, bytes]:
    """The name and the bytes of a file."""
    name, data = shown_name(file.get("name") or ""), str(file.get("data") or "")
    encoded = data.partition(",")[2] if data.startswith("data:") else ""
    if len(encoded) * 3 // 4 > MOST_BYTES + 2:
        raise InputError(f"{name}: {_megabytes(len(encoded) * 3 // 4)}; an image has at most {_megabytes(MOST_BYTES)}")
    try:
        return name, base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"{name}: did not arrive; choose it again") from None


def _pixels(path: pathlib.Path) -> np.ndarray:
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size  # from the header; no pixels are decoded
    except Exception:  # Pillow raises many kinds; `open_rgb` says what is wrong
        width = height = 0
    if width * height > MOST_PIXELS:
        raise InputError(
            f"{path}: {width:,} x {height:,} pixels; an image has at most {MOST_PIXELS // 10**6} million pixels"
        )
    shown = open_rgb(path, at_least=SHOWN)
    shown.thumbnail((SHOWN, SHOWN))
    return np.asarray(shown)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
