"""Reader of the data sets that `tfds_builder` writes: ArrayRecord through TFDS's data source, without TensorFlow.

Layout of a data set, `OUT/name/version/`: TFDS's own files, and two TFDS splits for each split of the source. `train`
has one record per image with everything that belongs to it; `train_annotations` has the same records with empty
features, so that opening a split reads its captions, ids, boxes, labels and dependencies without reading its features.
A field that the source's split does not have is empty; `metadata.json` says per split which ones it has.
"""

import functools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from etils import epath
from tensorflow_datasets.proto import tf_example_pb2

from itm_jax.data.elsewhere import RowsElsewhere
from itm_jax.errors import InputError
from itm_jax.files import read_json
from itm_jax.structs import Split

ANNOTATIONS = "_annotations"  # suffix of the TFDS splits without features
VERSION = "1.0.0"
FILES = ("dataset_info.json", "features.json", "metadata.json")
INCOMPLETE = "incomplete."  # how TFDS names the folder of a build that has not ended
READ_AT_ONCE = 256  # records; bounds the memory that a long slice needs besides its result


def find_dataset(directory: epath.PathLike) -> epath.Path:
    """The folder with dataset_info.json: `directory`, or the one `name/version/` or `version/` below it.

    Raises:
        InputError: there is none, there are several, or only one of a build that was interrupted.
    """
    root = epath.Path(directory).expanduser()
    try:
        if not root.exists():
            raise InputError(
                f"{root}: no such directory; set config.data.dir to the data set that itm_jax.convert tfds wrote"
            )
        levels = ("", "*/", "*/*/")
        found = [p.parent for level in levels for p in sorted(root.glob(f"{level}{FILES[0]}"))]
    except ImportError as e:  # a file system of which etils lacks the package
        raise InputError(f"{root}: {e}") from None
    whole = [p for p in found if not p.name.startswith(INCOMPLETE)]
    if len(whole) == 1:
        return whole[0]
    if whole:
        raise InputError(f"{root}: several data sets; set config.data.dir to one of {', '.join(map(str, whole))}")
    hint = f"; {found[0]} is of a build that was interrupted: build it again" if found else ""
    raise InputError(f"{root}: no {FILES[0]} here, in version/ or in name/version/{hint}")


def open_dataset(path: epath.Path) -> tuple[Any, dict]:
    """(TFDS builder, what metadata.json says of each split) of a data set's folder.

    Raises:
        InputError: a file of it is missing or damaged, or the data set is not one of ours, or of another version.
    """
    info, _, metadata = (_json_object(path / name) for name in FILES)
    about = metadata.get("itm_jax")
    if not isinstance(about, dict):
        raise InputError(f"{path / FILES[2]}: not a data set of itm_jax.convert tfds")
    version, file_format = str(info.get("version")), info.get("fileFormat")
    if version.split(".")[0] != VERSION.split(".")[0]:
        raise InputError(f"{path / FILES[0]}: version {version}; this library reads {VERSION}: build it again")
    if file_format != "array_record":
        raise InputError(f"{path / FILES[0]}: file format {file_format}; expected array_record")
    try:
        return tfds.builder_from_directory(path), about
    except Exception as e:  # whatever TFDS's parsers raise
        raise InputError(f"{path}: TFDS cannot open it ({type(e).__name__}: {e})") from None


def _json_object(path: epath.Path) -> dict:
    value = read_json(path, "it is damaged, or not a data set of itm_jax.convert tfds")
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds a {type(value).__name__}, expected an object")
    return value


class Records:
    """The records of one TFDS split as bytes; checks the shards when opened and names the damaged one when read."""

    def __init__(self, builder: Any, name: str):
        """Opens TFDS split `name`; a shard that is missing or not whole is an InputError."""
        info = builder.info.splits[name]
        self._paths, self._lengths = info.filepaths, info.shard_lengths
        with ThreadPoolExecutor(16) as pool:  # a bucket answers each in its own time
            list(pool.map(_check_shard, self._paths, self._lengths))
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        self._source = builder.as_data_source(name, deserialize_method=raw)

    def __len__(self) -> int:
        return sum(self._lengths)

    def read(self, rows: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """(row, the fields of its tf.Example) for each of `rows`, read in bulk."""
        for start in range(0, len(rows), READ_AT_ONCE):
            some = [int(r) for r in rows[start : start + READ_AT_ONCE]]
            try:
                records = self._source.__getitems__(some)
                yield from zip(some, map(_fields, records), strict=True)
            except Exception:  # array_record and protobuf raise what they like, and do not name the file
                self._name_damage(some)
                raise

    def where(self, row: int) -> str:
        """The file of a record and its number there, for messages."""
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
        found = f"{len(ArrayRecordDataSource([os.fspath(path)]))} records"  # 0 in most files that lost their end
    except Exception as e:  # array_record's parsers raise what they like
        found = f"not readable ({e})"
    if found != f"{expected} records":
        raise InputError(
            f"{path}: truncated or damaged: {found}, expected {expected}; copy or build the data set again"
        )


class RecordFeatures(RowsElsewhere):
    """[i, r, f] features that stay in their records."""

    def __init__(self, records: Records, regions: int, width: int, dtype: Any):
        super().__init__((len(records), regions, width), dtype)
        self._records = records

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Rows by their indices."""
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for target, (row, fields) in zip(out, self._records.read(rows), strict=True):
            data = fields["features"].bytes_list.value[0]
            if len(data) != target.nbytes:
                raise InputError(f"{self._records.where(row)}: {len(data)} bytes, expected {target.nbytes}")
            target[...] = np.frombuffer(data, self.dtype).reshape(target.shape)
        return out


def read_split(directory: epath.PathLike, split: str) -> Split:
    """Opens one split.

    Args:
        directory: the folder with dataset_info.json, or the one above its `version/` or `name/version/`; local, or a
            bucket that etils and array_record can reach.
        split: one of the source's splits.

    Returns:
        The split, equal to the one that was converted; features stay in their records.

    Raises:
        InputError: no such data set or split, another format or version, or a missing or damaged file.
    """
    path = find_dataset(directory)
    builder, about = open_dataset(path)
    if split not in about:
        raise InputError(f"{path}: no split {split!r}; splits found there: {', '.join(sorted(about))}")
    regions, each, present = (about[split][k] for k in ("regions", "captions_per_image", "fields"))
    features = builder.info.features["features"]
    records = Records(builder, split)
    notes = Records(builder, split + ANNOTATIONS)
    if len(records) != len(notes):
        raise InputError(f"{path / FILES[0]}: {len(records)} records of {split}, but {len(notes)} of its annotations")

    captions, ids, boxes, names, edges = [], [], [], [], []
    for row, fields in notes.read(range(len(notes))):
        strings = functools.partial(_strings, fields)
        some = strings("captions")
        if len(some) != each:
            raise InputError(f"{notes.where(row)}: {len(some)} captions, expected {each}")
        captions += some
        ids += strings("id")
        if "boxes" in present:
            boxes.append(np.frombuffer(fields["boxes"].bytes_list.value[0], np.float32).reshape(regions, 4))
        if "labels" in present:
            names.append(strings("labels"))
        if "dependencies" in present:
            edges += _edges(fields["dependencies"].bytes_list.value[0], each)
    vocabulary = tuple(sorted({x for row in names for x in row}))
    index = {x: j for j, x in enumerate(vocabulary)}
    return Split(
        name=split,
        features=RecordFeatures(records, regions, features.shape[-1], features.np_dtype),
        captions=captions,
        captions_per_image=each,
        ids=ids,
        boxes=np.stack(boxes) if boxes else None,
        labels=np.array([[index[x] for x in row] for row in names], np.int32) if names else None,
        label_names=vocabulary,
        edges=edges if "dependencies" in present else None,
        source=f"{path}: {split}",
    )


def _strings(fields: Any, name: str) -> list[str]:
    return [value.decode() for value in fields[name].bytes_list.value]


def _edges(data: bytes, captions: int) -> list[list[list[int]]]:
    """Rows (caption of the image, head, dependent) as a list of [head, dependent] for each of its captions."""
    out = [[] for _ in range(captions)]
    for caption, head, dependent in np.frombuffer(data, np.int32).reshape(-1, 3).tolist():
        out[caption].append([head, dependent])
    return out
