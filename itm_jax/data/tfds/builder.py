"""Converts a SCAN `precomp` directory to a TFDS data set in ArrayRecord, without TensorFlow (`itm_jax.convert tfds`).

Records are in the order of the images. An interrupted build leaves nothing that the reader accepts.
"""

import contextlib
import io
import mmap
import os
import pathlib
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from etils import epath

from itm_jax.data.precomp import reader as precomp
from itm_jax.data.regions import read_regions
from itm_jax.data.tfds.reader import ANNOTATIONS, VERSION
from itm_jax.errors import InputError
from itm_jax.files import check_space
from itm_jax.structs import Split
from itm_jax.terminal import Bar
from itm_jax.vision.identity import moved

SHARD_BYTES = 256 << 20  # bytes of features per file
ANNOTATIONS_PER_SHARD = 1 << 14


class UncompressedWriter(tfds.core.ExampleWriter):
    """Writes ArrayRecord without compression: features would hardly shrink, and are read several times as fast."""

    def write(self, path: epath.PathLike, examples: Iterable[tuple[int, bytes]]) -> None:
        """Writes the records to one file; an error of the file system becomes an InputError."""
        try:
            writer = array_record_module.ArrayRecordWriter(os.fspath(path), "group_size:1,uncompressed")
            for _, record in examples:
                writer.write(record)
            writer.close()
        except RuntimeError as e:  # the only error that array_record raises
            raise InputError(f"cannot be written: {e}") from None


class PrecompBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]  # no stubs
    """The TFDS builder. It writes the shards one after the other while it reads the source.

    It is not a `GeneratorBasedBuilder`: from 1,000 MiB on, such a builder writes temporary files that need TensorFlow,
    and sorts a whole split in memory.
    """

    VERSION = tfds.core.Version(VERSION)

    def __init__(self, *, name: str, splits: Sequence[Split], data_dir: epath.PathLike):
        """Takes `splits` as `precomp.read_split` returns them; their features must have one width and dtype."""
        self.name = name
        self._sources = splits
        self._home = pathlib.Path(os.fspath(data_dir)) / name / VERSION
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        tensor, encoding = tfds.features.Tensor, tfds.features.Encoding.BYTES
        features = self._sources[0].features
        about = {
            s.name: {
                "regions": s.features.shape[1],
                "captions_per_image": s.captions_per_image if isinstance(s.captions_per_image, int) else None,
                "fields": [
                    k for k, v in (("boxes", s.boxes), ("labels", s.labels), ("dependencies", s.edges)) if v is not None
                ],
                "extractor": s.extractor and moved(s.extractor, self._home),
            }
            for s in self._sources
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Region features and captions of images, converted from SCAN's precomp layout by itm_jax.",
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(itm_jax=about),
            features=tfds.features.FeaturesDict(
                {
                    "features": tensor(shape=(None, features.shape[2]), dtype=features.dtype, encoding=encoding),
                    "captions": tensor(shape=(None,), dtype=np.str_),
                    "id": tfds.features.Text(),
                    "boxes": tensor(shape=(None, 4), dtype=np.float32, encoding=encoding),
                    "labels": tensor(shape=(None,), dtype=np.str_),
                    "dependencies": tensor(shape=(None, 3), dtype=np.int32, encoding=encoding),
                }
            ),
        )

    def _example_writer(self) -> tfds.core.ExampleWriter:
        return UncompressedWriter(self.info.file_format)

    def _shard_iterators_per_split(self, dl_manager):
        del dl_manager  # nothing is downloaded
        shards = {}
        for split in self._sources:
            images, bar = range(split.num_images), Bar(split.name, split.num_images, live=False)
            size = max(1, SHARD_BYTES // split.features[0].nbytes)
            shards[split.name] = [partial(examples, split, images[i : i + size], True, bar) for i in images[::size]]
            size, name = ANNOTATIONS_PER_SHARD, split.name + ANNOTATIONS
            shards[name] = [partial(examples, split, images[i : i + size], False, bar) for i in images[::size]]
        return shards


def examples(split: Split, rows: range, with_features: bool, bar: Bar) -> Iterator[tuple[int, dict]]:
    """Yields (row, record) for the images `rows`; NaN or Inf in a row is an InputError that names the row."""
    sequential(split.features)
    for i in rows:
        features = np.zeros((0, split.features.shape[2]), split.features.dtype)
        if with_features:
            regions, mask = read_regions(split, np.array([i]))
            features = regions[mask]  # without padding
        captions = range(split.caption_starts[i], split.caption_starts[i + 1])
        edges = [] if split.edges is None else [(k, *edge) for k, c in enumerate(captions) for edge in split.edges[c]]
        yield (
            i,
            {
                "features": features,
                "captions": [split.captions[c] for c in captions],
                "id": split.ids[i],
                "boxes": np.zeros((0, 4), np.float32) if split.boxes is None else split.boxes[i],
                "labels": [] if split.labels is None else [split.label_names[k] for k in split.labels[i]],
                "dependencies": np.array(edges, np.int32).reshape(-1, 3),
            },
        )
        if with_features:
            bar.update(i + 1, "images")


def sequential(features: np.ndarray) -> None:
    """Lets the system read ahead in a memory-mapped file; for training the mapping turns this off."""
    mapped = getattr(features, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_SEQUENTIAL"):
        mapped.madvise(mmap.MADV_SEQUENTIAL)


def read_sources(directory: str, names: Sequence[str] | None, pairing: str) -> list[Split]:
    """Opens the splits `names`, or all splits of the directory; it is an InputError where widths or dtypes differ."""
    if not names:  # without any split read_split says what is missing
        names = precomp.splits_in(pathlib.Path(directory).expanduser()) or ["train"]
    for name in names:
        check_split_name(name)
    splits = []
    for name in dict.fromkeys(names):
        split = precomp.read_split(directory, name, pairing=pairing)
        assert split is not None  # defects are strict: the first one is raised
        splits.append(split)
    first = splits[0]
    for other in splits[1:]:
        kinds = [f"{s.source}: {s.features.dtype}, {s.features.shape[-1]} wide" for s in (first, other)]
        if kinds[0].split(": ")[-1] != kinds[1].split(": ")[-1]:
            raise InputError(f"{kinds[1]}, but {kinds[0]}; a data set has one width and dtype: convert them apart")
    return splits


def check_split_name(name: str) -> None:
    """Raises InputError where TFDS cannot have a split of this name."""
    if not re.fullmatch(r"\w+", name) or name.endswith(ANNOTATIONS) or name.lower() == "all":
        raise InputError(
            f"--splits: {name!r} is no name that a TFDS split can have; rename its files with letters, digits and _"
        )


def default_name(directory: str) -> str:
    """Returns the directory's name in the form that TFDS accepts: `data/f30k_precomp` gives `f30k`."""
    name = re.sub(r"\W+", "_", pathlib.Path(directory).expanduser().resolve().name.lower())
    return name.removesuffix("precomp").strip("_")


def build(
    directory: str,
    out: epath.PathLike,
    *,
    splits: Sequence[str] | None = None,
    name: str = "",
    pairing: str = "order",
) -> epath.Path:
    """Converts a `precomp` directory to a TFDS data set.

    Args:
        directory: the source, as `precomp.read_split` takes it.
        out: the directory to write to; it may be a bucket path.
        splits: names of the splits; None: all that the source has.
        name: of the data set; empty: that of the source directory.
        pairing: what says which captions belong to an image, `order` or `ids`; `data.pairing`.

    Returns:
        The folder of the data set, `out/name/version`. It gets this name only when it is complete.

    Raises:
        InputError: the source has a defect, the data set exists already, or it cannot be written.
    """
    name = name or default_name(directory)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise InputError(f"--name={name!r}: give the data set a name of small letters, digits and _ (f30k, say)")
    root = epath.Path(out).expanduser()
    path = root / name / VERSION
    try:
        if path.exists():
            raise InputError(f"{path}: exists already and is left as it is; delete it, or give another --out or --name")
        sources = read_sources(directory, splits, pairing)
        check_root(root, sum(s.num_images * s.features[0].nbytes for s in sources))
        ignored = io.StringIO()  # TFDS announces downloads on stdout, although there are none
        with tempfile.TemporaryDirectory() as downloads, contextlib.redirect_stdout(ignored):
            PrecompBuilder(name=name, splits=sources, data_dir=root).download_and_prepare(download_dir=downloads)
    except (OSError, ImportError) as e:  # ImportError: etils lacks the package of the file system
        raise InputError(f"{path}: cannot be written ({getattr(e, 'strerror', None) or e})") from None
    return path


def check_root(root: epath.Path, needed: int) -> None:
    """Raises InputError where a local disk has less than `needed` bytes free."""
    if "://" not in os.fspath(root):
        check_space(pathlib.Path(root), needed)
