"""Images as rows of the table: vectors, boxes, thumbnails, metadata."""

import concurrent.futures
import io
from typing import Any

from itm_jax.errors import InputError
from itm_jax.hub.gallery import Gallery, Part
from itm_jax.hub.vectors import Vectors, vector_column
from itm_jax.search.metadata import Metadata
from itm_jax.search.table import Record, list_of_boxes


def as_table(
    record: Record,
    gallery: Gallery,
    part: Part,
    metadata: Metadata | None,
    pool: concurrent.futures.Executor,
) -> Any:
    """Returns images as an Arrow table.

    Args:
        record: of the index.
        gallery: of the images.
        part: the images, encoded.
        metadata: values for filters, of each image.
        pool: reads the pictures.

    Raises:
        InputError: the model keeps another number of vectors than its entry in the table of models says.
    """
    import pyarrow as pa

    if (part.vectors.mask is not None) != record.fragments:
        what = "several vectors of an image" if part.vectors.mask is not None else "one vector of an image"
        raise InputError(f"{record.model}: keeps {what}; say so in its model_fields (single_vector)")
    names = [gallery.ids[k] for k in part.items]
    small = list(pool.map(lambda name: _thumbnail(gallery, name, record.thumbnails), names))
    columns = {
        "id": names,
        record.column: vector_column(part.vectors, record.dtype),
        "thumbnail": pa.array(small, pa.binary()),
    }
    if record.fragments:
        columns["boxes"] = _box_column(part)
    columns |= {name: [(metadata or {})[x][name] for x in names] for name in record.metadata}
    return pa.table(columns, schema=record.schema())


def _box_column(part: Part) -> Any:
    """Returns an Arrow column with the boxes of the valid regions, in the order of their vectors."""
    import pyarrow as pa

    if part.boxes is None:
        return pa.nulls(len(part.items), list_of_boxes())
    assert part.vectors.mask is not None  # a model of fragments
    return vector_column(Vectors(part.boxes, part.vectors.mask), "float32")


def _thumbnail(gallery: Gallery, name: str, side: int) -> bytes | None:
    """Returns a small JPEG of an image; None without thumbnails, or where there are no pixels."""
    path = gallery.folder / name if side and gallery.folder else None
    if path is None or not path.is_file():
        return None
    from itm_jax.vision.images import open_rgb

    try:
        image = open_rgb(path, at_least=side)
    except InputError:  # its features are there, but the picture is damaged
        return None
    image.thumbnail((side, side))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()
