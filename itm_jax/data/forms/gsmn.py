"""Names the box files of GSMN and CMCAN as ours: {split}_ims_bbx.npy, in pixels, becomes {split}_boxes.npy.

Their sizes of images are in a pickle, {split}_ims_size.npy, which is not read. The sizes come from the images instead.
"""

import pathlib
from collections.abc import Sequence

import numpy as np

from itm_jax.data.forms.bottom_up import read_array
from itm_jax.data.precomp.single_files import read_lines
from itm_jax.errors import InputError
from itm_jax.files import is_inside, write_array
from itm_jax.terminal import Bar, say
from itm_jax.vision.images import size_of
from itm_jax.vision.items import safe_name

THEIRS = "_ims_bbx.npy"


def convert_boxes(directory: pathlib.Path, images: pathlib.Path) -> list[pathlib.Path]:
    """Writes {split}_boxes.npy and {split}_img_sizes.npy for every {split}_ims_bbx.npy of a directory.

    Args:
        directory: with the boxes, and {split}_ids.txt, the names of the images.
        images: the folder of the images.

    Returns:
        The files that were written.

    Raises:
        InputError: there are no such boxes, a file is missing or damaged, or there are not as many names as rows.
    """
    found = sorted(directory.glob(f"*{THEIRS}"))
    if not found:
        raise InputError(f"{directory}: no {{split}}{THEIRS} in it")
    splits = [path.name.removesuffix(THEIRS) for path in found]
    for path in (directory / f"{split}_{name}.npy" for split in splits for name in ("boxes", "img_sizes")):
        if path.exists():
            raise InputError(f"{path}: exists already and is left as it is; remove it to write it again")
    written = []
    for path, split in zip(found, splits, strict=True):
        boxes = read_array(path)
        if boxes.ndim != 3 or boxes.shape[2] != 4:
            raise InputError(f"{path}: shape {boxes.shape}, expected [images, regions, 4]")
        names = _names(directory / f"{split}_ids.txt", len(boxes))
        sizes = np.zeros((len(boxes), 2), np.float32)
        with Bar(f"{split}: sizes of images", len(boxes), short=True) as bar:
            for n, name in enumerate(names):
                sizes[n] = size_of(_file(images, name))
                bar.update(n + 1)
        for name, value in (("img_sizes", sizes), ("boxes", boxes)):
            write_array(directory / f"{split}_{name}.npy", value)
            written.append(directory / f"{split}_{name}.npy")
        say(f"{split}: {len(boxes):,} images")
    return written


def _names(path: pathlib.Path, rows: int) -> Sequence[str]:
    lines = enumerate(read_lines(path) or (), 1)
    names = [safe_name(line, path, f"line {n}") for n, line in lines if line.strip()]
    if len(names) == 5 * rows:  # a name for each caption
        names = names[::5]
    if len(names) != rows:
        raise InputError(f"{path}: {len(names)} names, but {rows} rows of boxes")
    return names


def _file(images: pathlib.Path, name: str) -> pathlib.Path:
    names = [f"{name}{ending}" for ending in ("", ".jpg", ".jpeg", ".png")]
    candidates = [images / candidate for candidate in names if is_inside(candidate)]  # an ending may make it too long
    return next((path for path in candidates if path.is_file()), candidates[0])
