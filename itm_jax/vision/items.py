"""Images with their captions, as the caption files of the field list them, before any image is opened."""

import dataclasses
import pathlib

from itm_jax.errors import InputError


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
        raise InputError(f"{path}: {where}: has no name of an image")
    name = name.strip()
    if not is_inside(name) or not _is_text(name):
        raise InputError(
            f"{path}: {where}: {name!a} is not the name of a file inside the folder of images; write names relative to "
            "it, with slashes"
        )
    return str(pathlib.PurePosixPath(name))


def is_inside(name: str) -> bool:
    """Returns whether a name is a relative path without `..`: it stays inside the folder that it is added to."""
    bad = name.startswith(("/", "~")) or ".." in pathlib.PurePosixPath(name).parts or "\\" in name
    return not bad and not any(ord(c) < 32 for c in name)


def caption_text(text: object, path: pathlib.Path, where: str) -> str:
    """Returns a caption on one line, without spaces around it. Raises InputError where it is no text, or blank."""
    if not isinstance(text, str):
        raise InputError(f"{path}: {where}: the caption is {text!a:.40}, expected text")
    if not text.strip():
        raise InputError(f"{path}: {where}: a blank caption; every caption must have words")
    if not _is_text(text):
        raise InputError(f"{path}: {where}: the caption {text!a:.40} holds half of a character")
    return " ".join(text.split())


def _is_text(text: str) -> bool:
    """Whether a string can be written as UTF-8. JSON may hold halves of characters (lone surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
