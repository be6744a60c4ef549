"""Reads the data sets that `tfds.builder` writes: ArrayRecord through TFDS's data source, without TensorFlow.

A data set, `OUT/name/version/`, has the files of TFDS and two TFDS splits for each split of the source. `train` has one
record per image with all of its fields. `train_annotations` has the same records with empty features, so that opening
a split reads captions, ids, boxes, labels and dependencies without the features. A field that the split of the source
does not have is empty; `metadata.json` says for each split which fields it has.
"""

import functools
import os
import pathlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from etils import epath
from tensorflow_datasets.proto import tf_example_pb2

from itm_jax.data.elsewhere import RowsElsewhere
from itm_jax.data.tfds.fields import (
    AGAIN,
    about_split,
    edges_of,
    features_of,
    labels_of,
    numbers_of,
    shards_of,
    strings_of,
    text_of,
)
from itm_jax.errors import InputError
from itm_jax.files import read_json
from itm_jax.structs import Split
from itm_jax.vision.identity import of_record

ANNOTATIONS = "_annotations"  # suffix of the names of TFDS splits without features
VERSION = "1.0.0"
FILES = ("dataset_info.json", "features.json", "metadata.json")
INCOMPLETE = "incomplete."  # prefix that TFDS gives the folder of a build that has not ended
READ_AT_ONCE = 256  # records; this limits the memory that a long slice needs besides its result


def find_dataset(directory: epath.PathLike) -> epath.Path:
    """Returns the folder with dataset_info.json: `directory`, or the only `version/` or `name/version/` below it.

    Raises:
        InputError: there is no such folder, there are several, or only that of an interrupted build.
    """
    root = epath.Path(directory).expanduser()
    try:
        if not root.exists():
            raise InputError(
                f"{root}: no such directory; set config.data.dir to the data set that itm_jax.convert tfds wrote"
            )
        levels = ("", "*/", "*/*/")
        folders = [p.parent for level in levels for p in sorted(root.glob(f"{level}{FILES[0]}"))]
    except ImportError as e:  # etils lacks the package of the file system
        raise InputError(f"{root}: {e}") from None
    complete = [p for p in folders if not p.name.startswith(INCOMPLETE)]
    if len(complete) == 1:
        return complete[0]
    if complete:
        raise InputError(f"{root}: several data sets; set config.data.dir to one of {', '.join(map(str, complete))}")
    hint = f"; {folders[0]} is of a build that was interrupted: build it again" if folders else ""
    raise InputError(f"{root}: no {FILES[0]} here, in version/ or in name/version/{hint}")


def open_dataset(path: epath.Path) -> tuple[Any, dict]:
    """Opens the folder of a data set: returns the TFDS builder, and what metadata.json says about each split.

    Raises:
        InputError: a file is missing or damaged, or the data set was not made by `itm_jax.convert tfds`, or has another
            version or file format.
    """
    info, _, metadata = (_json_object(path / name) for name in FILES)
    about = metadata.get("itm_jax")
    if not isinstance(about, dict):
        raise InputError(f"{path / FILES[2]}: not a data set of itm_jax.convert tfds; convert it with this command")
    version, file_format = str(info.get("version")), info.get("fileFormat")
    if version.split(".")[0] != VERSION.split(".")[0]:
        raise InputError(f"{path / FILES[0]}: version {version}; this library reads {VERSION}: build it again")
    if file_format != "array_record":
        raise InputError(f"{path / FILES[0]}: file format {file_format}; expected array_record")
    try:
        return tfds.builder_from_directory(path), about
    except Exception as e:  # the parsers of TFDS raise many kinds
        raise InputError(f"{path}: TFDS cannot open it ({type(e).__name__}: {e})") from None


def _json_object(path: epath.Path) -> dict:
    value = read_json(path, "it is damaged, or not a data set of itm_jax.convert tfds")
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds a {type(value).__name__}, expected an object")
    return value


class Records:
    """The records of one TFDS split. Opening checks the shards; an error in reading names the damaged one."""

    def __init__(self, builder: Any, name: str):
        """Opens the TFDS split `name`; a missing or damaged shard is an InputError."""
        self._paths, self._lengths = shards_of(builder, name)
        with ThreadPoolExecutor(16) as pool:  # a bucket answers slowly, so all are asked at once
            list(pool.map(_check_shard, self._paths, self._lengths))
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        self._source = builder.as_data_source(name, deserialize_method=raw)

    def __len__(self) -> int:
        return sum(self._lengths)

    def read(self, rows: Sequence[int] | np.ndarray) -> Iterator[tuple[int, Any]]:
        """Yields (row, the fields of its tf.Example) for each of `rows`, which are read in bulk."""
        for start in range(0, len(rows), READ_AT_ONCE):
            some = [int(r) for r in rows[start : start + READ_AT_ONCE]]
            try:
                records = self._source.__getitems__(some)
                yield from zip(some, map(_fields, records), strict=True)
            except Exception:  # array_record and protobuf raise many kinds, and do not name the file
                self._name_damage(some)
                raise

    def where(self, row: int) -> str:
        """Returns the file of a record and its number in it, for messages."""
        ends = np.cumsum(self._lengths)
        shard = int(np.searchsorted(ends, row, side="right"))
        return f"{self._paths[shard]}: record {row - int(ends[shard]) + self._lengths[shard]} (row {row})"

    def _name_damage(self, rows: Sequence[int]) -> None:
        for row in rows:
            try:
                _fields(self._source.__getitems__([row])[0])
            except Exception as e:
                raise InputError(f"{self.where(row)}: damaged ({e}); copy or build the data set again") from None


def _fields(record: bytes) -> Any:
    return tf_example_pb2.Example.FromString(record).features.feature


def _check_shard(path: epath.Path, expected: int) -> None:
    if not path.exists():
        raise InputError(f"{path}: no such file; copy or build the data set again")
    try:
        content = f"{len(ArrayRecordDataSource([os.fspath(path)]))} records"  # 0 in most files that lost their end
    except Exception as e:  # the parsers of array_record raise many kinds
        content = f"not readable ({e})"
    if content != f"{expected} records":
        raise InputError(
            f"{path}: truncated or damaged: {content}, expected {expected}; copy or build the data set again"
        )


class RecordFeatures(RowsElsewhere):
    """Features [i, r, f] that stay in their records."""

    def __init__(self, records: Records, regions: int, width: int, dtype: Any):
        super().__init__((len(records), regions, width), dtype)
        self._records = records

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Reads rows by their indices."""
        out = np.zeros((len(rows), *self.shape[1:]), self.dtype)  # an image with fewer regions is padded
        for target, (row, fields) in zip(out, self._records.read(rows), strict=True):
            try:
                held = numbers_of(fields, "features", self.dtype, target.shape[1])
                if len(held) > len(target):
                    raise ValueError(f"features of {len(held)} regions, expected at most {len(target)}")
            except ValueError as e:
                raise InputError(f"{self._records.where(row)}: damaged ({e}); {AGAIN}") from None
            target[: len(held)] = held  # none where all features of the source are zero, which `itm_jax.check` names
        return out


def read_split(directory: epath.PathLike, split: str) -> Split:
    """Opens one split.

    Args:
        directory: the folder with dataset_info.json, or the one above its `version/` or `name/version/`; local, or in a
            bucket that etils and array_record can reach.
        split: name of a split of the source.

    Returns:
        The split, equal to the one that was converted; features stay in their records.

    Raises:
        InputError: the data set or the split does not exist, has another format or version, or a file is missing or
            damaged.
    """
    path = find_dataset(directory)
    builder, about = open_dataset(path)
    if split not in about:
        raise InputError(f"{path}: no split {split!r}; splits found there: {', '.join(sorted(about))}")
    regions, each, present = about_split(about[split], path / FILES[2], split)
    record = about[split].get("extractor")  # data sets of earlier versions have none
    features = features_of(builder.info.features, path / FILES[1])
    for name in (split, split + ANNOTATIONS):
        if name not in builder.info.splits:
            raise InputError(f"{path / FILES[0]}: has no split {name}, which {FILES[2]} names; {AGAIN}")
    records = Records(builder, split)
    notes = Records(builder, split + ANNOTATIONS)
    if len(records) != len(notes):
        raise InputError(
            f"{path / FILES[0]}: {len(records)} records of {split}, but {len(notes)} of its annotations; "
            "build the data set again"
        )

    captions, ids, boxes, names, edges, counts = [], [], [], [], [], []
    for row, fields in notes.read(range(len(notes))):
        try:
            strings = functools.partial(strings_of, fields)
            some, name = strings("captions"), text_of(fields, "id")
            if len(some) != each if each else not some:
                raise ValueError(f"{len(some)} captions, expected {each or 'at least one'}")
            captions += some
            counts.append(len(some))
            ids.append(name)
            if "boxes" in present:
                boxes.append(numbers_of(fields, "boxes", np.float32, 4))
                if len(boxes[-1]) != regions:
                    raise ValueError(f"{len(boxes[-1])} boxes for {regions} regions")
            if "labels" in present:
                names.append(labels_of(strings("labels"), regions))
            if "dependencies" in present:
                edges += edges_of(numbers_of(fields, "dependencies", np.int32, 3), some)
        except ValueError as e:
            raise InputError(f"{notes.where(row)}: damaged ({e}); {AGAIN}") from None
    vocabulary = tuple(sorted({x for row in names for x in row}))
    index = {x: j for j, x in enumerate(vocabulary)}
    stored: Any = RecordFeatures(records, regions, features.shape[-1], features.np_dtype)  # read like an array
    return Split(
        name=split,
        features=stored,
        captions=captions,
        captions_per_image=each or np.array(counts),
        ids=ids,
        boxes=np.stack(boxes) if boxes else None,
        labels=np.array([[index[x] for x in row] for row in names], np.int32) if names else None,
        label_names=vocabulary,
        edges=edges if "dependencies" in present else None,
        source=f"{path}: {split}",
        extractor=of_record(record, pathlib.Path(os.fspath(path)), str(path / FILES[2])) if record else None,
    )
