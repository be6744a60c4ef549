"""Images with their captions, as the caption files of the field list them, before any image is opened."""

import dataclasses
import pathlib
import re

from itm_jax.errors import InputError
from itm_jax.files import is_inside

# How the names of image files end.
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")
# How a line of Flickr's token files begins, NAME.jpg#0 and a tab, and a line of a CSV with an image and a caption.
IMAGE_FILE = re.compile(r"\S+\.(?:jpe?g|png|gif|bmp|webp)(?:#\d+)?[\s,|;]", re.IGNORECASE)
# Lines that are more than a caption: how they begin, their kind, and what stands there.
NO_CAPTIONS = (
    (IMAGE_FILE, "file-name", "the name of an image"),
    (re.compile(r"\S+#\d+\t"), "file-name", "the name of an image"),
    (re.compile(r"\d+,\d+,[^\d\s]"), "table", "the columns of a table"),
    (re.compile(r"\d+\s*[|;]"), "table", "the first column of a table"),
    (re.compile(r'\{\s*"'), "json", "a JSON object"),
    (re.compile(r"\[\s*['\"]"), "json", "a list of words"),
    (re.compile(r"b['\"]"), "bytes", "the b'...' of Python's bytes"),
)
NO_TEXT = ("nan", "none", "null", "n/a", "<na>")  # what tables have in an empty cell


@dataclasses.dataclass(frozen=True)
class Item:
    """An image with its captions.

    Attributes:
        image: the name of the file, relative to the folder of images, with slashes.
        captions: its captions, without spaces around them.
        split: train, dev or test, or another name that the file gives; None where it gives none.
        where: the place in the caption file, for messages.
        number: the number that Karpathy's file gives the image (`imgid`); None elsewhere.
    """

    image: str
    captions: tuple[str, ...]
    split: str | None
    where: str
    number: int | None = None


def safe_name(name: object, path: pathlib.Path, where: str) -> str:
    """Returns the name of an image, if it is a relative path that stays inside the folder of images.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{path}: {where}: the name of the image is missing")
    name = str(pathlib.PurePosixPath(name.strip()))
    if not is_inside(name) or name.startswith("~") or any(ord(c) < 32 for c in name):
        raise InputError(
            f"{path}: {where}: {name!a} is not the name of a file inside the folder of images; write names relative to "
            "it, with slashes"
        )
    return name


def caption_text(text: object, path: pathlib.Path, where: str) -> str:
    """Returns a caption on one line, without spaces around it. Raises InputError where it is no text, or blank."""
    if not isinstance(text, str):
        raise InputError(f"{path}: {where}: the caption is {text!a:.40}, expected text")
    if not text.strip():
        raise InputError(f"{path}: {where}: a blank caption; every caption must have words")
    if not is_text(text):
        raise InputError(f"{path}: {where}: the caption {text!a:.40} has an invalid character (a lone surrogate)")
    caption = " ".join(text.split())
    if caption.lower() in NO_TEXT:
        raise InputError(f"{path}: {where}: the caption is {caption!r}, an empty cell of a table")
    for pattern, _, what in NO_CAPTIONS:
        if pattern.match(caption):
            raise InputError(f"{path}: {where}: the caption begins with {what} ({caption:.40}); keep the caption alone")
    return caption


def is_text(text: str) -> bool:
    """Returns whether a string can be written as UTF-8. JSON may hold lone surrogates, halves of a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
