"""The parts of an extraction on disk, each complete or absent, and the data set that they become."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float16, Shaped

from itm_jax.errors import InputError
from itm_jax.files import check_space, read_npz, whole, write_array, write_whole
from itm_jax.vision.plan import Part, Plan

FOLDER = "parts"  # in the directory of the data set, until all parts are there
AGAIN = "remove it, and run the same command again"


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
    with whole(folder / part.name, shared=True) as file:
        np.savez(file, **{f.name: getattr(content, f.name) for f in dataclasses.fields(content)})


def read_part(folder: pathlib.Path, part: Part) -> Extracted:
    """Reads the file of a part. Raises InputError where it is damaged; then it can be removed and made again."""
    return Extracted(*_read(folder / part.name, [f.name for f in dataclasses.fields(Extracted)], len(part.items)))


def read_errors(folder: pathlib.Path, part: Part) -> list[str]:
    """Returns the errors of a part, "" for each image that could be used. Raises InputError where it is damaged."""
    return _read(folder / part.name, ["errors"], len(part.items))[0].tolist()


def _read(path: pathlib.Path, names: Sequence[str], rows: int) -> list[np.ndarray]:
    arrays = read_npz(path, names, AGAIN)
    if any(name not in arrays or arrays[name].shape[:1] != (rows,) for name in names):
        raise InputError(f"{path}: of another extraction; {AGAIN}")
    return [arrays[name] for name in names]


def put_together(plan: Plan, split: str, folder: pathlib.Path, out: pathlib.Path) -> int:
    """Writes the files of a split in SCAN's form from its parts. Where {split}_ims.npy exists, the split is complete.

    Returns:
        The number of images.

    Raises:
        InputError: no image of the split could be used, or a file cannot be written.
    """
    parts = [part for part in plan.parts if part.split == split]
    errors = [read_errors(folder, part) for part in parts]
    images = [pair for part, row in zip(parts, errors, strict=True) for pair in zip(part.items, row, strict=True)]
    kept = [item for item, error in images if not error]
    skipped = [
        {"image": item.image, "split": split, "where": item.where, "reason": error} for item, error in images if error
    ]
    if not kept:
        raise InputError(
            f"{out}: no image of the split {split} could be used (the first: {skipped[0]['reason']}); repair the "
            "images, and run the same command again"
        )
    boxes: list[np.ndarray] = []
    labels: list[str] = []
    with whole(out / f"{split}_ims.npy") as file:
        for part, row in zip(parts, errors, strict=True):
            content, usable = read_part(folder, part), np.array([not error for error in row])
            if not boxes:
                shape = (len(kept), *content.features.shape[1:])
                check_space(out, 2 * math.prod(shape))
                header = {"descr": "<f2", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(content.features[usable], "<f2").tobytes())
            boxes.append(content.boxes[usable])
            labels += [json.dumps(names, ensure_ascii=False) for names in content.labels[usable].tolist() if names]
        captions = [caption for item in kept for caption in item.captions]
        write_whole(out / f"{split}_caps.txt", "\n".join(captions) + "\n")
        write_whole(out / f"{split}_ids.txt", "\n".join(item.image for item in kept) + "\n")
        write_whole(folder / f"{split}.skipped", "".join(json.dumps(s, ensure_ascii=False) + "\n" for s in skipped))
        write_array(out / f"{split}_boxes.npy", np.concatenate(boxes))
        if labels:
            write_whole(out / f"{split}_labels.json", "[" + ",\n".join(labels) + "]\n")
    return len(kept)
