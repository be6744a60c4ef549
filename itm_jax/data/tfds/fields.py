"""The fields of a TFDS data set: what its JSON files say of them, and the values in a record.

All may come from a damaged file: a value that does not fit is a ValueError, for which the reader names the record.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath
from numpy.typing import DTypeLike
from tensorflow_datasets.core.features import FeaturesDict

from itm_jax.errors import InputError

MOST = 1_000_000  # regions, captions or numbers of a region; more is damage
AGAIN = "copy or build the data set again"


def strings_of(fields: Any, name: str) -> list[str]:
    """Returns the texts of a field."""
    return [_decoded(value, name) for value in fields[name].bytes_list.value]


def text_of(fields: Any, name: str) -> str:
    """Returns the text of a field that has one."""
    return _decoded(one_value(fields, name), name)


def _decoded(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as e:
        raise ValueError(f"{name} is not UTF-8: byte {value[e.start]:#04x}") from None


def one_value(fields: Any, name: str) -> bytes:
    """Returns the value of a field that has one."""
    values = fields[name].bytes_list.value
    if len(values) != 1:
        raise ValueError(f"{len(values)} values of {name}, expected 1")
    return values[0]


def numbers_of(fields: Any, name: str, dtype: DTypeLike, width: int) -> np.ndarray:
    """Returns the numbers of a field that has one value, in rows of `width`."""
    data = one_value(fields, name)
    size = width * np.dtype(dtype).itemsize
    if len(data) % size:
        raise ValueError(f"{len(data)} bytes of {name}, expected a multiple of {size}")
    return np.frombuffer(data, dtype).reshape(-1, width)


def labels_of(labels: list[str], regions: int) -> list[str]:
    """Returns the labels, if each region has one."""
    if len(labels) != regions:
        raise ValueError(f"{len(labels)} labels for {regions} regions")
    return labels


def edges_of(rows: np.ndarray, captions: Sequence[str]) -> list[list[list[int]]]:
    """Turns rows (caption of the image, head, dependent) into a list of [head, dependent] for each caption."""
    out: list[list[list[int]]] = [[] for _ in captions]
    words = [len(caption.split()) for caption in captions]
    for caption, *edge in rows.tolist():
        if not 0 <= caption < len(captions) or not all(0 <= word < words[caption] for word in edge):
            raise ValueError(f"a dependency edge {edge} of caption {caption}, which has no such words")
        out[caption].append(edge)
    return out


def about_split(about: Any, path: epath.Path, split: str) -> tuple[int, int | None, list[str]]:
    """Returns what metadata.json says about a split: regions, captions of an image, and fields."""
    values = about if isinstance(about, dict) else {}
    regions, each, present = values.get("regions"), values.get("captions_per_image"), values.get("fields")
    for number in (regions, 1 if each is None else each):
        if type(number) is not int or not 0 < number <= MOST:
            raise InputError(f"{path}: says nothing valid about the split {split}; {AGAIN}")
    if not isinstance(present, list) or not isinstance(regions, int):
        raise InputError(f"{path}: does not say which fields the split {split} has; {AGAIN}")
    return regions, each, present


def features_of(features: Any, path: epath.Path) -> Any:
    """Returns the feature `features` of TFDS: numbers of two axes."""
    field = features["features"] if isinstance(features, FeaturesDict) and "features" in features.keys() else None  # noqa: SIM118 (not a dict)
    shape: Sequence[int | None] = getattr(field, "shape", ())
    dtype = getattr(field, "np_dtype", None)
    if len(shape) != 2 or dtype not in (np.float16, np.float32) or not 0 < (shape[-1] or 0) <= MOST:
        raise InputError(f"{path}: its features are no float16 or float32 [regions, width]; {AGAIN}")
    return field


def shards_of(builder: Any, name: str) -> tuple[list[epath.Path], list[int]]:
    """Returns the files of a TFDS split and the numbers of their records. All files lie in the folder of the data set.

    Raises:
        InputError: dataset_info.json names no such files.
    """
    info = builder.info.splits[name]
    try:
        paths, lengths = list(info.filepaths), list(info.shard_lengths)
    except (ValueError, LookupError, AttributeError, TypeError) as e:  # of the template of the names
        raise InputError(f"{builder.data_path}: TFDS does not know the files of {name} ({e}); {AGAIN}") from None
    folder = epath.Path(builder.data_path)
    if not paths or any(path.parent != folder for path in paths):
        raise InputError(f"{folder}: the files of {name} are not files in this folder; {AGAIN}")
    return paths, lengths
