"""The parts of an extraction on disk, each whole or not there, and the data set that they become."""

import dataclasses
import json
import pathlib
import zipfile
import zlib

import numpy as np
from jaxtyping import Float, Float16, Shaped

from itm_jax.errors import InputError
from itm_jax.files import temporary_of, write_array, write_whole
from itm_jax.vision.plan import Part, Plan

FOLDER = "parts"  # in the directory of the data set, until all parts are there
DAMAGED = (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error)


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
    temporary = temporary_of(path)
    try:
        with temporary.open("wb") as file:
            np.savez(file, **{f.name: getattr(content, f.name) for f in dataclasses.fields(content)})
        temporary.replace(path)
    except OSError as e:
        raise InputError(f"{path}: cannot be written ({e.strerror})") from None


def read_part(folder: pathlib.Path, part: Part) -> Extracted:
    """Reads the file of a part. Raises InputError where it is damaged; then it can be removed and made again."""
    return Extracted(
        *(_read(folder / part.name, field.name, len(part.items)) for field in dataclasses.fields(Extracted))
    )


def read_errors(folder: pathlib.Path, part: Part) -> list[str]:
    """Returns the errors of a part, "" for each image that could be used. Raises InputError where it is damaged."""
    return _read(folder / part.name, "errors", len(part.items)).tolist()


def _read(path: pathlib.Path, name: str, rows: int) -> np.ndarray:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            value = arrays[name]
    except DAMAGED as e:
        raise InputError(f"{path}: damaged ({e}); remove it, and run the same command again") from None
    if len(value) != rows:
        raise InputError(f"{path}: of another extraction; remove it, and run the same command again")
    return value


def put_together(plan: Plan, split: str, folder: pathlib.Path, out: pathlib.Path) -> int:
    """Writes the files of a split in SCAN's form from its parts. Where {split}_ims.npy exists, the split is complete.

    Returns:
        The number of images.

    Raises:
        InputError: no image of the split could be used, or a file cannot be written.
    """
    parts = [part for part in plan.parts if part.split == split]
    errors = [read_errors(folder, part) for part in parts]
    images = [pair for part, of in zip(parts, errors, strict=True) for pair in zip(part.items, of, strict=True)]
    kept = [item for item, error in images if not error]
    skipped = [{"image": item.image, "split": split, "reason": error} for item, error in images if error]
    if not kept:
        raise InputError(
            f"{out}: no image of the split {split} could be used (the first: {skipped[0]['reason']}); mend the images, "
            "and run the same command again"
        )
    path = out / f"{split}_ims.npy"
    temporary = path.with_name(f"{path.name}.tmp")
    features, boxes, labels, done = None, [], [], 0
    for part, of in zip(parts, errors, strict=True):
        content, ok = read_part(folder, part), np.array([not error for error in of])
        if features is None:
            shape = (len(kept), *content.features.shape[1:])
            features = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=shape)
        features[done : done + ok.sum()] = content.features[ok]
        boxes.append(content.boxes[ok])
        labels += [json.dumps(row, ensure_ascii=False) for row in content.labels[ok].tolist() if row]
        done += ok.sum()
    assert features is not None  # a split has a part
    features.flush()
    del features
    captions = [caption for item in kept for caption in item.captions]
    write_whole(out / f"{split}_caps.txt", "\n".join(captions) + "\n")
    write_whole(out / f"{split}_ids.txt", "\n".join(item.image for item in kept) + "\n")
    write_whole(folder / f"{split}.skipped", "".join(json.dumps(s, ensure_ascii=False) + "\n" for s in skipped))
    write_array(out / f"{split}_boxes.npy", np.concatenate(boxes))
    if labels:
        write_whole(out / f"{split}_labels.json", "[" + ",\n".join(labels) + "]\n")
    temporary.replace(path)
    return len(kept)
