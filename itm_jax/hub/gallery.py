"""The items of a gallery, encoded part by part: a folder of images, a split of a data set, or a file of captions."""

import concurrent.futures
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from itm_jax.config.fields import mutable_copy
from itm_jax.data.splits import read_unaltered
from itm_jax.errors import InputError
from itm_jax.hub.encodings import Encodings
from itm_jax.hub.inputs import LONGEST
from itm_jax.hub.matcher import Matcher
from itm_jax.hub.vectors import Vectors, vectors_of
from itm_jax.structs import Split
from itm_jax.terminal import Bar, say
from itm_jax.vision.items import SUFFIXES, is_text

PART = 256  # items that are encoded at a time


class Part(NamedTuple):
    """Some items of a gallery, encoded.

    Attributes:
        items: which ones.
        vectors: of the items.
        boxes: of the regions of images, as fractions of the image; None for captions, and where nothing says them.
    """

    items: list[int]
    vectors: Vectors
    boxes: Float[np.ndarray, "n r 4"] | None


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Items with their ids.

    Attributes:
        kind: `images` or `captions`.
        ids: of the items.
        encode: encodes some items; returns the boxes of their regions besides, where they are known.
        texts: the captions; None for images.
        folder: where the image files are; an id is the path of one in it. None where there are none.
        error_of: what is wrong with an item, "" where nothing is; then damaged ones are left out. None: they end it.
    """

    kind: str
    ids: Sequence[str]
    encode: Callable[[np.ndarray], tuple[Encodings, np.ndarray | None]]
    texts: Sequence[str] | None = None
    folder: pathlib.Path | None = None
    error_of: Callable[[int], str] | None = None

    def parts(self, items: Sequence[int] | None = None) -> Iterator[Part]:
        """Encodes items part by part, and shows the progress.

        Args:
            items: which ones; None: all.
        """
        every = list(range(len(self.ids)) if items is None else items)
        with Bar(f"{self.kind} encoded", len(every)) as bar:
            for start in range(0, len(every), PART):
                part = every[start : start + PART]
                if part := self._usable(part):
                    encodings, boxes = self.encode(np.array(part))
                    yield Part(part, vectors_of(encodings), None if boxes is None else np.asarray(boxes, np.float32))
                bar.update(min(start + PART, len(every)))

    def _usable(self, items: list[int]) -> list[int]:
        """Leaves out items that cannot be used, and names them."""
        if self.error_of is None:
            return items
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            errors = list(pool.map(self.error_of, items))
        for error in filter(None, errors):
            say(f"left out: {error}")
        return [item for item, error in zip(items, errors, strict=True) if not error]


def images_in(directory: pathlib.Path) -> list[str]:
    """Returns the image files in a folder and the folders in it, sorted, as paths relative to it with `/`.

    Raises:
        InputError: there are none.
    """
    if not directory.is_dir():
        raise InputError(f"{directory}: no such directory; pass the folder of the images")
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    names = [path.relative_to(directory).as_posix() for path in files if path.suffix.lower() in SUFFIXES]
    if not names:
        raise InputError(f"{directory}: no image files ({', '.join(SUFFIXES)}); pass the folder of the images")
    if unreadable := [name for name in names if not is_text(name)]:
        raise InputError(f"{directory}: {unreadable[0]!r}: a file name that is not UTF-8; rename it")
    if len(names) < len(files):
        say(f"{directory}: {len(files) - len(names):,} files are no images by their names, and are left out")
    return names


def of_images(model: Matcher, directory: pathlib.Path, *, skip: bool = False) -> Gallery:
    """Returns a folder of images as a gallery; an id is the path of a file relative to the folder.

    Args:
        model: a model.
        directory: the folder.
        skip: whether an image that cannot be used is left out with a line; each image is then read twice.

    Raises:
        InputError: the folder has no images, or nothing says what extracted the model's features.
    """
    names = images_in(directory)
    _ = model.reader  # refused before the first image where the model cannot read images

    def encode(items: np.ndarray) -> tuple[Encodings, np.ndarray | None]:
        try:
            split = model.reader.split([directory / names[k] for k in items])
        except InputError as e:
            raise InputError(f"{e}; --on_error=skip leaves such images out") from None
        return model.encode_images(split), split.boxes

    error_of = (lambda k: model.reader.error_of(directory / names[k])) if skip else None
    return Gallery("images", names, encode, folder=directory, error_of=error_of)


def of_data(model: Matcher, directory: pathlib.Path, name: str) -> Gallery:
    """Returns the images of a split of a data set as a gallery.

    Args:
        model: a model.
        directory: of the data set, in SCAN's form or as ArrayRecord.
        name: of the split.

    Raises:
        InputError: there is no such split, or its features are not those that the model takes.
    """
    return of_split(model, read_unaltered(config_for(model, directory), name))


def of_split(model: Matcher, split: Split) -> Gallery:
    """Returns the images of a split as a gallery."""

    def encode(items: np.ndarray) -> tuple[Encodings, np.ndarray | None]:
        part = part_of(split, items)
        return model.encode_images(part), part.boxes

    return Gallery("images", split.ids, encode, folder=split.extractor.images if split.extractor else None)


def config_for(model: Matcher, directory: pathlib.Path) -> Any:
    """Returns the config of a model with another data set, in SCAN's form or as ArrayRecord."""
    config = mutable_copy(model.config)
    config.data.source = "precomp" if any(directory.glob("*_ims.npy")) else "tfds"
    config.data.dir = str(directory)
    return config


def of_captions(model: Matcher, path: pathlib.Path) -> Gallery:
    """Returns the lines of a text file as a gallery of captions; an id is the number of a line, from 1 on.

    Raises:
        InputError: the file cannot be read as text, or a line is empty.
    """
    texts = lines_of(path)
    ids = [str(k) for k in range(1, len(texts) + 1)]
    return Gallery("captions", ids, lambda rows: (model.encode_captions([texts[k] for k in rows]), None), texts)


def lines_of(path: pathlib.Path, what: str = "a caption") -> list[str]:
    """Returns the lines of a text file.

    Args:
        path: the file.
        what: stands in each line, for messages.

    Raises:
        InputError: the file cannot be read as text, or a line is empty.
    """
    try:
        texts = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"{path}: cannot be read as text in UTF-8 ({e})") from None
    texts = [text.removesuffix("\r") for text in (texts if texts[-1] else texts[:-1])]
    if not texts:
        raise InputError(f"{path}: empty; write {what} in each line")
    for number, line in enumerate(texts, 1):
        if not line.strip() or len(line) > LONGEST:
            problem = "empty" if not line.strip() else f"longer than {LONGEST:,} characters"
            raise InputError(f"{path}: line {number} is {problem}; write {what}, or take the line out")
    return texts


def part_of(split: Split, rows: np.ndarray) -> Split:
    """Returns some images of a split, without captions."""
    cut = lambda x: None if x is None else x[rows]  # noqa: E731
    return dataclasses.replace(
        split,
        features=split.features[rows],
        captions=[],
        captions_per_image=0,
        ids=[split.ids[k] for k in rows],
        boxes=cut(split.boxes),
        labels=cut(split.labels),
        edges=None,
        objects=None,
        num_regions=cut(split.num_regions),
        rows=None,
        lines=None,
    )
