"""The table of an index in LanceDB: a row for each image, with its vectors, a thumbnail, and columns of metadata.

| column | content |
|---|---|
| `id` | the image: its path relative to the folder, or its id in the data set |
| `vector` [d], or `vectors` [k d] | its encoding: one vector, or the valid ones of its regions |
| `boxes` [k 4], with `vectors` | where the regions are, as fractions of the image; empty where that is not known |
| `thumbnail` | a small JPEG; empty where there is none |
| others | the columns of --metadata |

The schema's metadata holds the record: format, fingerprint and place of the model, width, dtype of the vectors. An
index is a folder, or an address such as `s3://bucket/index` that LanceDB opens.
"""

import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from itm_jax.errors import InputError
from itm_jax.files import parse_json

TABLE = "itm_jax_images"
KEY = b"itm_jax_search"  # of the record in the schema's metadata
FORMAT = 1
WIDEST = 1_000_000  # numbers of a vector, or pixels of a thumbnail; more is damage
OURS = ("id", "vector", "vectors", "boxes", "thumbnail")  # names of columns that metadata cannot have


@dataclasses.dataclass(frozen=True)
class Record:
    """What an index says about itself.

    Attributes:
        model: the run, exported folder or hub name whose encodings it holds.
        fingerprint: of that model.
        fragments: whether an image has several vectors.
        width: of a vector.
        dtype: of the stored vectors, `float16` or `float32`.
        thumbnails: the longer side of a thumbnail in pixels; 0: none.
        metadata: {column: its type: `string`, `int64` or `double`}.
        format: of the index.
    """

    model: str
    fingerprint: str
    fragments: bool
    width: int
    dtype: str
    thumbnails: int
    metadata: Mapping[str, str]
    format: int = FORMAT

    @property
    def column(self) -> str:
        """The column of the vectors."""
        return "vectors" if self.fragments else "vector"

    def schema(self) -> Any:
        """Returns the pyarrow schema of the table."""
        import pyarrow as pa

        kind = pa.float16() if self.dtype == "float16" else pa.float32()
        vector = pa.list_(kind, self.width)
        # LanceDB then refuses a second row with an id, also where two processes write at once.
        unique = {b"lance-schema:unenforced-primary-key": b"true"}
        fields = [pa.field("id", pa.string(), nullable=False, metadata=unique)]
        fields += [pa.field(self.column, pa.list_(vector) if self.fragments else vector)]
        fields += [pa.field("boxes", list_of_boxes())] if self.fragments else []
        fields += [pa.field("thumbnail", pa.binary())]
        fields += [pa.field(name, pa.type_for_alias(kind)) for name, kind in self.metadata.items()]
        return pa.schema(fields, metadata={KEY: json.dumps(dataclasses.asdict(self))})


def list_of_boxes() -> Any:
    """Returns the type of a column of boxes."""
    import pyarrow as pa

    return pa.list_(pa.list_(pa.float32(), 4))


@contextlib.contextmanager
def readable(place: str) -> Iterator[None]:
    """Turns what LanceDB raises for a damaged or unreachable index into an InputError that names it."""
    try:
        yield
    except (InputError, MemoryError, KeyboardInterrupt):
        raise
    except Exception as e:  # LanceDB raises many kinds for damaged files, and RustPanic, a class that it does not name
        if not isinstance(e, OSError | RuntimeError | ValueError) and type(e).__name__ != "RustPanic":
            raise
        raise InputError(f"{place}: the index cannot be read or written ({_short(e)})") from None


def connect(place: str, *, new: bool = False) -> Any:
    """Opens the database of an index.

    Args:
        place: a folder, or an address.
        new: whether the folder may be missing.

    Raises:
        InputError: LanceDB is not installed, or there is no such folder.
    """
    os.environ.setdefault("LANCE_LOG", "error")
    try:
        import lancedb
    except ImportError:
        raise InputError("search needs LanceDB; pip install 'itm_jax[search]'") from None
    if "://" not in place:
        with readable(place):  # a user that is not known, or a name that is too long
            folder = pathlib.Path(place).expanduser()
            exists = folder.exists()
        if exists and not folder.is_dir():
            raise InputError(f"{place}: a file; an index is a folder")
        if not new and not folder.is_dir():
            raise InputError(f"{place}: no such folder; build the index first, with python -m itm_jax.search build")
        place = str(folder)
    with readable(place):
        # Each question sees what was written before it.
        return lancedb.connect(place, read_consistency_interval=datetime.timedelta(0))


def open_table(place: str) -> tuple[Any, Record]:
    """Opens the table of an index with its record.

    Raises:
        InputError: there is none, it is damaged, or it is of a later version.
    """
    database = connect(place)
    with readable(place):
        if TABLE not in database.list_tables().tables:
            raise InputError(f"{place}: holds no index; build it first, with python -m itm_jax.search build")
        table = database.open_table(TABLE)
        record = record_of(table.schema.metadata or {}, place)
        if not table.schema.equals(record.schema()):
            raise InputError(f"{place}: its columns are not those of its record; build the index again")
        return table, record


def record_of(metadata: Mapping[bytes, bytes], place: str) -> Record:
    """Returns the record in a schema's metadata.

    Raises:
        InputError: the table is not one of ours, or is of a later version.
    """
    try:
        values = parse_json(metadata[KEY])
        version = values.get("format")
        if version == FORMAT:
            record = Record(**values)
            _check_types(record)
            return record
    except (KeyError, ValueError, TypeError, AttributeError):
        raise InputError(
            f"{place}: a table of something else, no index of itm_jax.search; pass another folder"
        ) from None
    raise InputError(f"{place}: of format {version!r}, this version of itm_jax reads {FORMAT}; build the index again")


def _check_types(record: Record) -> None:
    """Raises ValueError where the record of an index has a value that `build` never writes."""
    kinds = {"model": str, "fingerprint": str, "fragments": bool, "width": int, "dtype": str, "thumbnails": int}
    if any(type(getattr(record, name)) is not kind for name, kind in kinds.items()):
        raise ValueError("a value of another type")
    if not 1 <= record.width <= WIDEST or not 0 <= record.thumbnails <= WIDEST:
        raise ValueError("a size that no index has")
    if record.dtype not in ("float16", "float32") or not isinstance(record.metadata, dict):
        raise ValueError("a value that is not known")
    if not set(record.metadata.values()) <= {"string", "int64", "double"}:
        raise ValueError("a type that is not known")


def check_model(model: Any, record: Record, place: str) -> None:
    """Raises InputError where an index holds the encodings of another model."""
    if model.fingerprint != record.fingerprint:
        raise InputError(
            f"{place}: built with {record.model} ({record.fingerprint}), but the model is {model.source} "
            f"({model.fingerprint}); pass that model, or build the index again"
        )


def count_of(table: Any, place: str) -> int:
    """Returns the number of images of a table."""
    with readable(place):
        return table.count_rows()


def ids_of(table: Any, place: str) -> set[str]:
    """Returns the ids of all images of a table."""
    with readable(place):
        rows = table.search().select(["id"]).limit(max(1, table.count_rows())).to_arrow()
        return set(rows["id"].to_pylist())


def quoted(text: str) -> str:
    """Returns a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
