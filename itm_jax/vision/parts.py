"""The parts of an extraction on disk, each whole or not there, and the data set that they become."""

import dataclasses
import json
import pathlib
import zipfile
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float16, Shaped

from itm_jax.errors import InputError
from itm_jax.files import write_whole
from itm_jax.vision.items import Item
from itm_jax.vision.plan import Part, Plan

FOLDER = "parts"  # in the directory of the data set, until all parts are there


@dataclasses.dataclass(frozen=True)
class Extracted:
    """What was extracted of the images of a part.

    Attributes:
        features: [n, r, f]; zeros for an image that could not be used.
        boxes: (x1, y1, x2, y2) divided by width and height.
        labels: names, [n, r]; [n, 0] where there are none.
        errors: [n]; empty for an image that could be used.
    """

    features: Float16[np.ndarray, "n r f"]
    boxes: Float[np.ndarray, "n r 4"]
    labels: Shaped[np.ndarray, "n k"]
    errors: Shaped[np.ndarray, " n"]


def write_part(folder: pathlib.Path, part: Part, content: Extracted) -> None:
    """Writes the file of a part, whole or not at all. Raises InputError where it cannot be written."""
    path = folder / part.name
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, **{f.name: getattr(content, f.name) for f in dataclasses.fields(content)})
        temporary.replace(path)
    except OSError as e:
        raise InputError(f"{path}: cannot be written ({e.strerror})") from None


def read_part(folder: pathlib.Path, part: Part) -> Extracted:
    """Reads the file of a part. Raises InputError where it is damaged; then it can be removed and made again."""
    path = folder / part.name
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            content = Extracted(**{f.name: arrays[f.name] for f in dataclasses.fields(Extracted)})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as e:
        raise InputError(f"{path}: damaged ({e}); remove it, and run the same command again") from None
    if len(content.errors) != len(part.items):
        raise InputError(f"{path}: of another extraction; remove it, and run the same command again")
    return content


def put_together(plan: Plan, split: str, folder: pathlib.Path, out: pathlib.Path) -> int:
    """Writes the files of a split in SCAN's form from its parts. The features come last, so that they mean: whole.

    Returns:
        The number of images.

    Raises:
        InputError: no image of the split could be used, or a file cannot be written.
    """
    parts = [part for part in plan.parts if part.split == split]
    errors = [read_part(folder, part).errors for part in parts]
    images = [
        pair for part, of in zip(parts, errors, strict=True) for pair in zip(part.items, of.tolist(), strict=True)
    ]
    kept = [item for item, error in images if not error]
    skipped = [{"image": item.image, "split": split, "reason": error} for item, error in images if error]
    if not kept:
        raise InputError(f"{out}: no image of the split {split} could be used; the first: {skipped[0]['reason']}")
    first = read_part(folder, parts[0])
    path = out / f"{split}_ims.npy"
    temporary = path.with_name(f"{path.name}.tmp")
    features = np.lib.format.open_memmap(
        temporary, mode="w+", dtype=np.float16, shape=(len(kept), *first.features.shape[1:])
    )
    boxes, labels, done = [], [], 0
    for part in parts:
        content = read_part(folder, part)
        ok = content.errors == ""
        features[done : done + ok.sum()] = content.features[ok]
        boxes.append(content.boxes[ok])
        labels += content.labels[ok].tolist()
        done += ok.sum()
    features.flush()
    del features
    _write_texts(out, split, kept)
    write_whole(folder / f"{split}.skipped", "".join(json.dumps(s, ensure_ascii=False) + "\n" for s in skipped))
    _write_array(out / f"{split}_boxes.npy", np.concatenate(boxes))
    if first.labels.shape[1]:
        write_whole(out / f"{split}_labels.json", json.dumps(labels, ensure_ascii=False) + "\n")
    temporary.replace(path)
    return len(kept)


def _write_texts(out: pathlib.Path, split: str, items: Sequence[Item]) -> None:
    captions = [caption for item in items for caption in item.captions]
    write_whole(out / f"{split}_caps.txt", "\n".join(captions) + "\n")
    write_whole(out / f"{split}_ids.txt", "\n".join(item.image for item in items) + "\n")


def _write_array(path: pathlib.Path, value: np.ndarray) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        np.save(file, value)
    temporary.replace(path)
