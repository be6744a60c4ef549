"""Builds an index, adds images to it and removes them, part by part: of all images, only ids and metadata are held.

Each part is one transaction of LanceDB: a reader sees a part whole or not at all. The same command continues an
interrupted one, because images whose id is in the table are left out.
"""

import collections
import concurrent.futures
import datetime
import os
import pathlib
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from itm_jax.config.model_fields import fields_of
from itm_jax.errors import InputError
from itm_jax.hub.gallery import Gallery
from itm_jax.hub.matcher import Matcher
from itm_jax.search.metadata import Metadata, columns_text, types_of
from itm_jax.search.rows import as_table
from itm_jax.search.table import (
    TABLE,
    Record,
    check_model,
    connect,
    ids_of,
    open_table,
    quoted,
    readable,
)
from itm_jax.terminal import say

# What was encoded is written in one transaction after so many seconds, or with so many images: a kill loses no more.
SECONDS, IMAGES = 10.0, 4096
FILES = 32  # with more of them they are joined, which writes the whole table again
READING = datetime.timedelta(minutes=10)  # how long a question may take that reads an earlier version of the table
DELETED = 2048  # images that are removed in one transaction


def build(
    model: Matcher,
    gallery: Gallery,
    place: str,
    *,
    thumbnails: int = 256,
    dtype: str = "float16",
    metadata: Metadata | None = None,
) -> int:
    """Builds an index, or continues an interrupted one; returns how many images were added.

    Args:
        model: whose encodings the index holds.
        gallery: the images, with unique ids.
        place: a folder, or an address of LanceDB.
        thumbnails: the longer side of a thumbnail in pixels; 0: none.
        dtype: of the stored vectors, `float16` or `float32`.
        metadata: values for filters, of each image.

    Raises:
        InputError: an id occurs twice, the folder holds an index of another model or with other settings, or it cannot
            be written.
    """
    record = Record(
        model=_lasting(model.source),
        fingerprint=model.fingerprint,
        fragments=not fields_of(model.config.model.name).single_vector,
        width=int(model.config.model.width),
        dtype=dtype,
        thumbnails=thumbnails,
        metadata=types_of(metadata or {}),
    )
    return write_index(record, gallery, place, metadata)


def write_index(record: Record, gallery: Gallery, place: str, metadata: Metadata | None = None) -> int:
    """Writes the images of a gallery to an index that is new, or was begun with the same record; returns how many.

    Raises:
        InputError: as for `build`.
    """
    if len(gallery.ids) == 0:
        raise InputError(f"{place}: a gallery without images; pass some")
    _check_ids(gallery, range(len(gallery.ids)), metadata)  # before there is a table
    database = connect(place, new=True)
    with readable(place):
        new = TABLE not in database.list_tables().tables
        table = database.create_table(TABLE, schema=record.schema()) if new else database.open_table(TABLE)
    if not new:
        _check_same(record, open_table(place)[1], place)
    return _add(table, record, gallery, metadata, place, datetime.timedelta(0) if new else READING)


def add(model: Matcher, gallery: Gallery, place: str, *, metadata: Metadata | None = None) -> int:
    """Adds images to an index; returns how many. Images whose id it has are left out.

    Raises:
        InputError: the index is of another model, or has other columns of metadata.
    """
    table, record = open_table(place)
    check_model(model, record, place)
    types = types_of(metadata or {})
    if set(types) != set(record.metadata):
        raise InputError(
            f"{place}: its columns of metadata are {columns_text(record.metadata)}, but those of --metadata are "
            f"{columns_text(types)}; pass a file with the same columns"
        )
    return _add(table, record, gallery, metadata, place)


def remove(place: str, ids: Sequence[str]) -> int:
    """Removes images from an index by their ids; returns how many.

    Raises:
        InputError: the index does not have one of them.
    """
    table, _ = open_table(place)
    with readable(place):
        known = ids_of(table, place)
        if missing := [name for name in ids if name not in known]:
            raise InputError(f"{place}: has no image {missing[0]}; {len(missing):,} of {len(ids):,} ids are unknown")
        for start in range(0, len(ids), DELETED):
            table.delete(f"id IN ({', '.join(quoted(name) for name in ids[start : start + DELETED])})")
    return len(set(ids))


def _check_same(record: Record, before: Record, place: str) -> None:
    if record.fingerprint != before.fingerprint:
        raise InputError(
            f"{place}: holds an index of {before.model} ({before.fingerprint}), not of {record.model} "
            f"({record.fingerprint}); take another --index"
        )
    for field in ("dtype", "thumbnails", "metadata"):
        mine, theirs = getattr(record, field), getattr(before, field)
        if mine != theirs:
            raise InputError(
                f"{place}: was begun with {field} {theirs!r}, not {mine!r}; pass the same, or take another --index"
            )


def _lasting(source: str) -> str:
    """Returns the place of a model as any other directory can read it; a hub name stays."""
    path = pathlib.Path(source).expanduser()
    return str(path.absolute()) if path.exists() else source


def _check_ids(gallery: Gallery, rows: Sequence[int], metadata: Metadata | None) -> None:
    """Raises InputError where an id occurs twice, or an image of `rows` has no metadata."""
    if len(set(gallery.ids)) < len(gallery.ids):
        twice = collections.Counter(gallery.ids).most_common(1)[0][0]
        raise InputError(f"{twice}: two images with this id; every image needs its own")
    if without := [gallery.ids[k] for k in rows if metadata is not None and gallery.ids[k] not in metadata]:
        raise InputError(f"{without[0]}: no line in --metadata; {len(without):,} images have none")


def _add(
    table: Any,
    record: Record,
    gallery: Gallery,
    metadata: Metadata | None,
    place: str,
    keep: datetime.timedelta = READING,
) -> int:
    """Encodes the images that the table does not have, and writes them; earlier versions are kept for some time."""
    known = ids_of(table, place)
    missing = [k for k, name in enumerate(gallery.ids) if name not in known]
    if len(missing) < len(gallery.ids):
        say(f"already in the index: {len(gallery.ids) - len(missing):,} of {len(gallery.ids):,} images")
    _check_ids(gallery, missing, metadata)
    added = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for group in _grouped(as_table(record, gallery, part, metadata, pool) for part in gallery.parts(missing)):
            with readable(place):
                # An id that another process has written meanwhile is left out.
                result = table.merge_insert("id").when_not_matched_insert_all().execute(group)
            added += result.num_inserted_rows
    if not keep or table.stats()["fragment_stats"]["num_fragments"] > FILES:
        _compact(table, place, keep)
    return added


def _compact(table: Any, place: str, keep: datetime.timedelta) -> None:
    """Joins small files and removes those of earlier versions. All rows are written, so a failure is no error."""
    try:
        with warnings.catch_warnings(action="ignore"):  # that nobody may read earlier versions of a new table
            table.optimize(cleanup_older_than=keep)
    except (OSError, RuntimeError, ValueError) as e:
        reason = "another process writes to it" if "conflict" in str(e).lower() else " ".join(str(e).split())[:200]
        say(f"{place}: all images are written, but its files were not joined ({reason}); the next add does that")


def _grouped(parts: Iterable[Any]) -> Iterator[Any]:
    """Joins Arrow tables to larger ones, which are written in one transaction each."""
    import pyarrow as pa

    group: list[Any] = []
    began = time.monotonic()
    for part in parts:
        group.append(part)
        if time.monotonic() - began >= SECONDS or sum(map(len, group)) >= IMAGES:
            yield pa.concat_tables(group)
            group, began = [], time.monotonic()
    if group:
        yield pa.concat_tables(group)
