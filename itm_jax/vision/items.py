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
    """

    image: str
    captions: tuple[str, ...]
    split: str | None
    where: str


def safe_name(name: object, path: pathlib.Path, where: str) -> str:
    """Returns the name of an image, if it is a relative path that stays inside the folder of images.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{path}: {where}: has no name of an image")
    name = name.strip()
    parts = pathlib.PurePosixPath(name).parts
    if name.startswith(("/", "~")) or ".." in parts or "\\" in name or any(ord(c) < 32 for c in name):
        raise InputError(
            f"{path}: {where}: {name!r} is not the name of a file inside the folder of images; write names relative to "
            "it, with slashes"
        )
    return str(pathlib.PurePosixPath(name))


def caption_text(text: object, path: pathlib.Path, where: str) -> str:
    """Returns a caption on one line, without spaces around it. Raises InputError where it is no text, or blank."""
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{path}: {where}: a blank caption; every caption must have words")
    return " ".join(text.split())
