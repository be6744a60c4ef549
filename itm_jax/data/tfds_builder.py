"""`precomp` directories as TFDS data sets of ArrayRecord files: built and read back without TensorFlow.

A record is an image: features, captions, id, and boxes, labels and edges where the split has them. Records keep the order of
the images. Everything but the features also lies in the data set's metadata, so that opening a split of COCO reads no
features.
"""

import base64
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from itm_jax.data import precomp
from itm_jax.errors import InputError
from itm_jax.structs import Split

BYTES = tfds.features.Encoding.BYTES  # the default encoding is many times slower


class PrecompBuilder(tfds.core.GeneratorBasedBuilder):
    """Writes the splits of a `precomp` directory as they are: float16 stays float16, repeated rows are stored once."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, splits: Sequence[Split], *, name: str, out: str):
        """Args: opened splits of one data set; the data set's name; the directory to build in."""
        self.name = name
        self._opened = {s.name: s for s in splits}
        super().__init__(data_dir=out, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        first = next(iter(self._opened.values()))
        _, regions, width = first.features.shape
        features = {
            "features": tfds.features.Tensor(shape=(regions, width), dtype=first.features.dtype, encoding=BYTES),
            "captions": tfds.features.Sequence(tfds.features.Text()),
            "id": tfds.features.Text(),
            "boxes": tfds.features.Tensor(shape=(None, 4), dtype=np.float32, encoding=BYTES),
            "labels": tfds.features.Sequence(tfds.features.Text()),
            "edges": tfds.features.Text(
                doc="JSON: per caption a list of [head, dependent]; empty where there are none"
            ),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Region features and captions of an image-text matching data set, in SCAN's order.",
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict({name: annotations(split) for name, split in self._opened.items()}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        del dl_manager
        return {name: self._generate_examples(split) for name, split in self._opened.items()}

    def _generate_examples(self, split: Split) -> Iterator[tuple[int, dict[str, Any]]]:
        each = split.captions_per_image
        for i in range(split.num_images):
            precomp.check_finite(split.features[i : i + 1], np.array([i * split.rows_per_image]), split.source)
            captions = slice(i * each, (i + 1) * each)
            yield (
                i,
                {
                    "features": split.features[i],
                    "captions": list(split.captions[captions]),
                    "id": split.ids[i],
                    "boxes": np.zeros((0, 4), np.float32) if split.boxes is None else split.boxes[i],
                    "labels": [] if split.labels is None else [split.label_names[k] for k in split.labels[i]],
                    "edges": "" if split.edges is None else json.dumps(split.edges[captions]),
                },
            )


def annotations(split: Split) -> dict[str, Any]:
    """Everything of a split but its features, as JSON values."""
    return {
        "features": [*map(int, split.features.shape), str(split.features.dtype)],
        "captions": list(split.captions),
        "captions_per_image": split.captions_per_image,
        "ids": list(split.ids),
        "boxes": None if split.boxes is None else _encode(split.boxes.astype(np.float32)),
        "labels": None if split.labels is None else _encode(split.labels.astype(np.int32)),
        "label_names": list(split.label_names),
        "edges": None if split.edges is None else [[list(e) for e in edges] for edges in split.edges],
    }


def _encode(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _decode(text: str | None, dtype: type, shape: tuple[int, ...]) -> np.ndarray | None:
    return None if text is None else np.frombuffer(base64.b64decode(text), dtype).reshape(shape)


def build(directory: str, names: Sequence[str], *, name: str, out: str) -> epath.Path:
    """Builds the data set `out/name/1.0.0` from splits of a `precomp` directory; returns that path.

    An interrupted build leaves at most a directory named `incomplete.…`, which is never read.

    Raises:
        InputError: a split is missing or defective, the splits do not fit together, or the data set is there already.
    """
    splits = [precomp.read_split(directory, split) for split in names]
    first = splits[0]
    for split in splits[1:]:
        if split.features.shape[1:] != first.features.shape[1:] or split.features.dtype != first.features.dtype:
            raise InputError(
                f"{split.source}: {split.features.dtype} {split.features.shape[1:]}, {first.source} "
                f"{first.features.dtype} {first.features.shape[1:]}; the splits of a data set must be alike"
            )
    try:
        builder = PrecompBuilder(splits, name=name, out=out)
    except ValueError as e:
        raise InputError(f"--name={name}: {e}") from None
    target = epath.Path(builder.data_dir)
    if (target / "dataset_info.json").exists():
        raise InputError(f"{target}: a data set is there already; remove it, or take another --out or --name")
    tfds.disable_progress_bar()
    with tempfile.TemporaryDirectory() as downloads:  # nothing is downloaded; TFDS wants the place all the same
        builder.download_and_prepare(download_dir=downloads)
    return target


def find_dataset(directory: str) -> epath.Path:
    """The folder with dataset_info.json: `directory` itself or the only one below it; also of a bucket."""
    root = epath.Path(directory).expanduser()
    found = [p.parent for k in range(4) for p in root.glob("/".join(["*"] * k + ["dataset_info.json"]))]
    found = [p for p in found if "incomplete." not in str(p)]
    if len(found) != 1:
        what = "several data sets: " + ", ".join(map(str, found)) if found else "no dataset_info.json there or below"
        raise InputError(
            f"{directory}: {what}; set config.data.dir to the folder that has it (itm_jax.convert makes one)"
        )
    return found[0]


class Records:
    """The features of a split as an array that is read record by record: [i, r, f], indexed by rows.

    Args:
        source: TFDS data source of raw records.
        decode: gives the features in a record.
        where: for messages.
        shape: [i, r, f].
        dtype: of the features.
    """

    def __init__(self, source, decode: Callable[[bytes], np.ndarray], where: str, shape: tuple[int, ...], dtype):
        self._source, self._decode, self._where = source, decode, where
        self.shape, self.dtype = shape, np.dtype(dtype)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all features."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __getitem__(self, rows) -> np.ndarray:
        """Features of an image, or of several."""
        index = np.arange(len(self))[rows]
        numbers = [int(i) for i in np.atleast_1d(index)]
        try:
            read = [self._decode(record) for record in self._source.__getitems__(numbers)]
            out = np.stack(read) if read else np.empty((0, *self.shape[1:]), self.dtype)
        except Exception as e:  # Riegeli, protobuf and TFDS raise many kinds for damaged files
            reason = " ".join(str(e).split())[:200]
            raise InputError(
                f"{self._where}: records between {min(numbers)} and {max(numbers)} cannot be read ({reason}); build the "
                "data set again"
            ) from None
        return out[0] if index.ndim == 0 else out


def read_split(directory: str, name: str) -> Split:
    """Opens one split of a data set that `build` made.

    Raises:
        InputError: it is not there, not of this form, or damaged.
    """
    folder = find_dataset(directory)
    try:
        builder = tfds.builder_from_directory(folder)
        metadata = dict(builder.info.metadata or {})
    except Exception as e:  # whatever TFDS makes of damaged JSON
        raise InputError(f"{folder}: not a data set that can be read ({' '.join(str(e).split())[:200]})") from None
    if name not in metadata or name not in builder.info.splits:
        known = ", ".join(sorted(set(metadata) & set(builder.info.splits))) or "none that itm_jax.convert made"
        raise InputError(f"{folder}: no split {name}; splits found there: {known}")
    about = metadata[name]
    *shape, dtype = about["features"]
    try:
        # Only the features are decoded: the rest of a record is known from the metadata.
        only = tfds.features.FeaturesDict({"features": builder.info.features["features"]})
        source = builder.as_data_source(split=name, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
        complete = len(source) == shape[0]
    except Exception as e:
        raise InputError(f"{folder}: split {name}: cannot be opened ({' '.join(str(e).split())[:200]})") from None
    if not complete:
        raise InputError(f"{folder}: split {name}: {len(source)} records, its description says {shape[0]}")
    return Split(
        name=name,
        features=Records(
            source,
            lambda record: only.deserialize_example_np(record)["features"],
            f"{folder}: split {name}",
            tuple(shape),
            dtype,
        ),
        captions=about["captions"],
        captions_per_image=about["captions_per_image"],
        ids=about["ids"],
        boxes=_decode(about["boxes"], np.float32, (*shape[:2], 4)),
        labels=_decode(about["labels"], np.int32, tuple(shape[:2])),
        label_names=tuple(about["label_names"]),
        edges=about["edges"],
        source=str(folder),
    )
