"""Opens image files as RGB pixels of fixed sizes. A file that cannot be used gets an error that names it."""

import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from itm_jax.errors import InputError
from itm_jax.files import LFS_HINT, is_lfs_pointer

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
MOST_PIXELS = 80_000_000  # of an image; a small file can hold far more (a decompression bomb)
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and its values for a turn by a quarter
DEEP = ("I;16", "I;16B", "I;16L", "I")  # modes of Pillow with 16 bits of grey
MOST_SIDE = 32_768  # of an image: resizing needs memory for each column of it
# How files begin that are images of other kinds, and what they are.
OTHER_KINDS = {
    b"%PDF": "PDF",
    b"<svg": "SVG",
    b"<?xml": "XML, perhaps SVG",
    b"<!DOCTYPE": "an HTML page, perhaps an error of a download",
    b"<html": "an HTML page, perhaps an error of a download",
}


def read_pixels(path: pathlib.Path, sizes: Sequence[int]) -> list[UInt8[np.ndarray, "s s 3"]]:
    """Returns the pixels of an image as squares: the whole image, whatever its shape, resized to each size.

    The image is turned as its EXIF data say. Transparent places are white. Of an animation the first picture is taken.

    Args:
        path: the file.
        sizes: the sides of the squares.

    Raises:
        InputError: the file is missing, empty, damaged, too large, or no image of a known format.
    """
    return squares(open_rgb(path, at_least=max(sizes)), sizes, str(path))


def squares(rgb: Image.Image, sizes: Sequence[int], source: str) -> list[UInt8[np.ndarray, "s s 3"]]:
    """Returns the pixels of an image in RGB, resized to each size. Raises InputError where memory is short."""
    try:
        return [np.asarray(rgb.resize((size, size), Image.Resampling.BICUBIC)) for size in sizes]
    except (MemoryError, ValueError) as e:
        raise InputError(f"{source}: cannot be resized ({e}); remove it, or make it smaller") from None


def open_rgb(path: pathlib.Path, *, at_least: int = 0) -> Image.Image:
    """Returns an image in RGB. With `at_least` a JPEG may be decoded at a fraction of its size, but not below that."""
    _check_file(path)
    try:
        with Image.open(path, formats=FORMATS) as image:
            check_size(path, *image.size)
            if at_least:
                image.draft("RGB", (at_least, at_least))
            image.load()
            return to_rgb(path, ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise InputError(f"{path}: {_kind(path)}") from None
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # Pillow's own limits, which are higher
        raise InputError(f"{path}: {_too_large('')}") from None
    except MemoryError:
        raise InputError(f"{path}: not enough memory to decode it; remove it, or make it smaller") from None
    except Exception as e:  # Pillow raises many kinds for damaged files
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise InputError(f"{path}: damaged ({reason}); get it again, or remove it") from None


def size_of(path: pathlib.Path) -> tuple[int, int]:
    """Returns the width and the height of an image as it is seen, turned as its EXIF data say.

    Raises:
        InputError: the file is missing, no image of a known format, or has too many pixels.
    """
    _check_file(path)
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            check_size(path, width, height)  # of a PNG, the EXIF data come with the pixels
            turned = image.getexif().get(ORIENTATION, 1) in SIDEWAYS
    except InputError:
        raise
    except Exception:  # Pillow raises many kinds for damaged files
        raise InputError(f"{path}: {_kind(path)}") from None
    return (height, width) if turned else (width, height)


def check_size(path: pathlib.Path, width: int, height: int) -> None:
    """Raises InputError where an image has too many pixels, by its header, before they are decoded."""
    if width * height > MOST_PIXELS or max(width, height) > MOST_SIDE:
        raise InputError(f"{path}: {_too_large(f'{width:,} x {height:,} pixels, ')}")


def _too_large(size: str) -> str:
    most = f"{MOST_PIXELS // 10**6} million pixels or {MOST_SIDE:,} on a side"
    return f"{size}more than {most}; make it smaller, or remove it"


def to_rgb(path: pathlib.Path, image: Image.Image) -> Image.Image:
    """Returns an image of any mode in RGB, on white where it is transparent."""
    if image.mode in DEEP:
        grey = np.asarray(image).astype(np.int32)
        shift = 8 if image.mode != "I" or grey.max(initial=0) > 255 else 0  # "I" has any number of bits
        return Image.fromarray(np.clip(grey >> shift, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise InputError(f"{path}: its pixels are floating-point numbers; save it with 8 bits a channel")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _check_file(path: pathlib.Path) -> None:
    """Raises InputError where there is no file with content."""
    try:
        if path.is_dir():
            raise InputError(f"{path}: a directory, expected an image")
        if path.stat().st_size == 0:
            raise InputError(f"{path}: empty (0 bytes); get it again, or remove it")
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from None
    if is_lfs_pointer(path):
        raise InputError(f"{path}: {LFS_HINT}")


def _kind(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        start = file.read(32)
    if start[4:8] == b"ftyp":
        return f"{'AVIF' if start[8:12].startswith(b'avi') else 'HEIC'}; only {_known()} can be read"
    start = start.lstrip()
    kind = next((what for begin, what in OTHER_KINDS.items() if start.startswith(begin)), None)
    return f"not an image; {_known()} can be read" if kind is None else f"{kind}; only {_known()} can be read"


def _known() -> str:
    return f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
