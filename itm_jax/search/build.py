"""Builds an index, adds images to it and removes them: part by part, so that memory stays flat and a kill loses little.

Each part is one transaction of LanceDB: a reader sees a part whole or not at all. The same command continues an
interrupted one, because images whose id is in the table are left out.
"""

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from itm_jax.errors import InputError
from itm_jax.hub.gallery import Gallery, vectors
from itm_jax.hub.matcher import Matcher
from itm_jax.search.table import OURS, TABLE, Record, connect, open_table, quoted, readable
from itm_jax.terminal import Bar, say

ROWS = 2048  # images of a transaction
PART = 256  # images that are encoded at a time
Metadata = Mapping[str, Mapping[str, Any]]  # {id: {column: value}}


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
    types = _types(metadata or {})
    if len(gallery.ids) == 0:
        raise InputError(f"{place}: a gallery without images; pass some")
    fragments = not isinstance(model.encode_captions(["a"]).parts[0][1], np.ndarray)
    width = int(model.config.model.width)
    record = Record(model.source, model.fingerprint, fragments, width, dtype, thumbnails, types)
    database = connect(place, new=True)
    with readable(place):
        if TABLE in database.list_tables().tables:
            table, before = open_table(place)
            _check_same(record, before, place)
        else:
            table = database.create_table(TABLE, schema=record.schema())
    return _add(table, record, gallery, metadata or {}, place)


def add(model: Matcher, gallery: Gallery, place: str, *, metadata: Metadata | None = None) -> int:
    """Adds images to an index; returns how many. Images whose id it has are left out.

    Raises:
        InputError: the index is of another model, or has other columns of metadata.
    """
    table, record = open_table(place)
    check_model(model, record, place)
    types = _types(metadata or {})
    if types != dict(record.metadata):
        raise InputError(
            f"{place}: its columns of metadata are {_columns(record.metadata)}, but those of --metadata are "
            f"{_columns(types)}; pass a file with the same columns"
        )
    return _add(table, record, gallery, metadata or {}, place)


def remove(place: str, ids: Sequence[str]) -> int:
    """Removes images from an index by their ids; returns how many.

    Raises:
        InputError: the index does not have one of them.
    """
    table, _ = open_table(place)
    with readable(place):
        known = _ids(table)
        if missing := [name for name in ids if name not in known]:
            raise InputError(f"{place}: has no image {missing[0]}; {len(missing):,} of {len(ids):,} ids are unknown")
        for start in range(0, len(ids), ROWS):
            table.delete(f"id IN ({', '.join(quoted(name) for name in ids[start : start + ROWS])})")
    return len(set(ids))


def check_model(model: Matcher, record: Record, place: str) -> None:
    """Raises InputError where an index holds the encodings of another model."""
    if model.fingerprint != record.fingerprint:
        raise InputError(
            f"{place}: built with {record.model} ({record.fingerprint}), but the model is {model.source} "
            f"({model.fingerprint}); pass that model, or build the index again"
        )


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


def _add(table: Any, record: Record, gallery: Gallery, metadata: Metadata, place: str) -> int:
    """Encodes the images that the table does not have, and writes them."""
    if len(set(gallery.ids)) < len(gallery.ids):
        twice = next(name for k, name in enumerate(gallery.ids) if name in set(gallery.ids[:k]))
        raise InputError(f"{twice}: two images with this id; every image needs its own")
    with readable(place):
        known = _ids(table)
    missing = [k for k, name in enumerate(gallery.ids) if name not in known]
    if len(missing) < len(gallery.ids):
        say(f"already in the index: {len(gallery.ids) - len(missing):,} of {len(gallery.ids):,} images")
    if without := [gallery.ids[k] for k in missing if record.metadata and gallery.ids[k] not in metadata]:
        raise InputError(f"{without[0]}: no line in --metadata; {len(without):,} images have none")
    with Bar("images", len(missing)) as bar:
        for start in range(0, len(missing), ROWS):
            parts = []
            for first in range(start, min(start + ROWS, len(missing)), PART):
                rows = missing[first : min(first + PART, start + ROWS)]
                parts.append(_rows(record, gallery, rows, metadata))
                bar.update(min(first + len(rows), len(missing)))
            with readable(place):
                table.add(_joined(parts, record))
    with readable(place):
        table.optimize()
    return len(missing)


def _rows(record: Record, gallery: Gallery, rows: Sequence[int], metadata: Metadata) -> Any:
    """Returns images as rows of the table."""
    import pyarrow as pa

    names = [gallery.ids[k] for k in rows]
    encoded, mask, _ = vectors(gallery.encode(np.array(rows)))
    values = (encoded if mask is None else encoded[mask]).astype(record.dtype).reshape(-1)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values), record.width)
    if mask is not None:
        offsets = np.concatenate([[0], np.cumsum(mask.sum(axis=1))]).astype(np.int32)
        column = pa.ListArray.from_arrays(pa.array(offsets), column)
    small = [_thumbnail(gallery, k, record.thumbnails) for k in rows]
    columns = {"id": names, record.column: column, "thumbnail": pa.array(small, pa.binary())}
    columns |= {name: [metadata[x][name] for x in names] for name in record.metadata}
    return pa.table(columns, schema=record.schema())


def _joined(parts: Sequence[Any], record: Record) -> Any:
    import pyarrow as pa

    return pa.concat_tables(parts).replace_schema_metadata(record.schema().metadata)


def _thumbnail(gallery: Gallery, k: int, side: int) -> bytes | None:
    """Returns a small JPEG of an image; None without thumbnails, or where there are no pixels."""
    path = gallery.folder / gallery.ids[k] if side and gallery.folder else None
    if path is None or not path.is_file():
        return None
    from itm_jax.vision.images import open_rgb

    image = open_rgb(path, at_least=side)
    image.thumbnail((side, side))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()


def _ids(table: Any) -> set[str]:
    return set(table.search().select(["id"]).limit(table.count_rows()).to_arrow()["id"].to_pylist())


def read_metadata(path: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Reads a CSV file with the column `id`, and others for filters; numbers become numbers.

    Raises:
        InputError: the file cannot be read, has no `id`, or a column has a name of ours.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise InputError(f"{path}: cannot be read as CSV ({e})") from None
    names = [name for name in reader.fieldnames or () if name != "id"]
    if "id" not in (reader.fieldnames or ()):
        raise InputError(f"{path}: has no column id; its first line has the names of the columns")
    if taken := [name for name in names if name in OURS or not name.isidentifier()]:
        raise InputError(
            f"{path}: a column cannot have the name {taken[0]!r}; take letters, digits and _, and not {OURS}"
        )
    for line, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise InputError(f"{path}: line {line}: has another number of values than the first line")
    kinds = {name: _kind([row[name] for row in rows]) for name in names}
    return {row["id"]: {name: kinds[name](row[name]) for name in names} for row in rows}


def _kind(values: Sequence[str]) -> Any:
    """Returns the narrowest of int, float and str that all values of a column have."""
    for kind in (int, float):
        try:
            for value in values:
                kind(value)
            return kind
        except ValueError:
            continue
    return str


def _types(metadata: Metadata) -> dict[str, str]:
    names = {int: "int64", float: "double", str: "string"}
    first = next(iter(metadata.values()), {})
    return {name: names[type(value)] for name, value in first.items()}


def _columns(types: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in types.items()) or "none"
