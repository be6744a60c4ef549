"""The items of a gallery, encoded part by part: a folder of images, a split of a data set, or a file of captions."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from itm_jax.config.fields import mutable_copy
from itm_jax.data.splits import read_unaltered
from itm_jax.errors import InputError
from itm_jax.hub.inputs import LONGEST
from itm_jax.hub.matcher import Encodings, Matcher
from itm_jax.hub.vectors import Vectors, vectors_of
from itm_jax.structs import Split
from itm_jax.terminal import Bar, say
from itm_jax.vision.items import SUFFIXES, is_text

PART = 256  # items that are encoded at a time


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Items with their ids.

    Attributes:
        kind: `images` or `captions`.
        ids: of the items.
        encode: encodes the items of some rows.
        texts: the captions; None for images.
        folder: where the image files are; an id is the path of one in it. None where there are none.
    """

    kind: str
    ids: Sequence[str]
    encode: Callable[[np.ndarray], Encodings]
    texts: Sequence[str] | None = None
    folder: pathlib.Path | None = None

    def parts(self, rows: Sequence[int] | None = None) -> Iterator[tuple[list[int], Vectors]]:
        """Encodes items part by part, and shows the progress.

        Args:
            rows: which items; None: all.

        Yields:
            (rows, their vectors) of each part.
        """
        every = list(range(len(self.ids)) if rows is None else rows)
        with Bar(f"{self.kind} encoded", len(every)) as bar:
            for start in range(0, len(every), PART):
                part = every[start : start + PART]
                yield part, vectors_of(self.encode(np.array(part)))
                bar.update(start + len(part))


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


def of_images(model: Matcher, directory: pathlib.Path) -> Gallery:
    """Returns a folder of images as a gallery; an id is the path of a file relative to the folder.

    Raises:
        InputError: the folder has no images, or nothing says what extracted the model's features.
    """
    names = images_in(directory)
    _ = model.reader  # refused before the first image where the model cannot read images
    return Gallery(
        "images", names, lambda rows: model.encode_images([directory / names[k] for k in rows]), folder=directory
    )


def of_data(model: Matcher, directory: pathlib.Path, name: str) -> Gallery:
    """Returns the images of a split of a data set as a gallery.

    Args:
        model: a model.
        directory: of the data set, in SCAN's form or as ArrayRecord.
        name: of the split.

    Raises:
        InputError: there is no such split, or its features are not those that the model takes.
    """
    config = mutable_copy(model.config)
    config.data.source = "precomp" if any(directory.glob("*_ims.npy")) else "tfds"
    config.data.dir = str(directory)
    split = read_unaltered(config, name)
    folder = split.extractor.images if split.extractor else None
    return Gallery("images", split.ids, lambda rows: model.encode_images(part_of(split, rows)), folder=folder)


def of_captions(model: Matcher, path: pathlib.Path) -> Gallery:
    """Returns the lines of a text file as a gallery of captions; an id is the number of a line, from 1 on.

    Raises:
        InputError: the file cannot be read as text, or a line is empty.
    """
    texts = caption_lines(path)
    ids = [str(k) for k in range(1, len(texts) + 1)]
    return Gallery("captions", ids, lambda rows: model.encode_captions([texts[k] for k in rows]), texts)


def caption_lines(path: pathlib.Path) -> list[str]:
    """Returns the lines of a text file, each a caption.

    Raises:
        InputError: the file cannot be read as text, or a line is empty.
    """
    try:
        texts = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"{path}: cannot be read as text in UTF-8 ({e})") from None
    texts = [text.removesuffix("\r") for text in (texts if texts[-1] else texts[:-1])]
    if not texts:
        raise InputError(f"{path}: empty; write a caption in each line")
    for number, line in enumerate(texts, 1):
        if not line.strip() or len(line) > LONGEST:
            what = "empty" if not line.strip() else f"longer than {LONGEST:,} characters"
            raise InputError(f"{path}: line {number} is {what}; write a caption, or take the line out")
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
