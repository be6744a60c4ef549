"""Writes encodings to a file that vector databases read: Parquet, or NumPy's .npy with a JSON file beside it.

Both carry the fingerprint of the model, so that vectors of two models are not mixed.
"""

import contextlib
import importlib.util
import json
import pathlib
from typing import Any

import numpy as np

from itm_jax.errors import InputError
from itm_jax.files import whole, write_array, write_whole
from itm_jax.hub.gallery import Gallery
from itm_jax.hub.matcher import Matcher
from itm_jax.hub.vectors import list_column, padded, vector_column

METADATA = "itm_jax"  # key of the metadata of a Parquet file
FORMS = (".parquet", ".npy")


def check_file(out: pathlib.Path) -> None:
    """Raises InputError where embeddings cannot be written to a file, by its name."""
    if out.suffix not in FORMS:
        raise InputError(f"{out}: must end in {' or '.join(FORMS)}")
    if not out.absolute().parent.is_dir():
        raise InputError(f"{out.absolute().parent}: no such directory; make it first")
    if out.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise InputError(f"{out}: needs pyarrow; pip install pyarrow, or take a file that ends in .npy")


def write_embeddings(model: Matcher, gallery: Gallery, out: pathlib.Path, dtype: str = "float32") -> int:
    """Encodes a gallery, part by part, and writes its vectors; returns how many items have some.

    A Parquet file has the columns `id`, for captions `text`, and `vector` [d]. A model that keeps several vectors of
    an item has `vectors` instead: a list of the valid ones [k d], and for its captions `weights` [k] where it weighs
    words. An .npy file holds [n d]; or [n k d], with the valid vectors marked in NAME.mask.npy [n k], and the weights
    of words in NAME.weight.npy. NAME.ids.json has the ids.

    Args:
        model: the model of the gallery.
        gallery: the items.
        out: the file; its ending says the form.
        dtype: of the vectors, `float32` or `float16`.

    Raises:
        InputError: the ending is another one, pyarrow is missing, or the file cannot be written.
    """
    check_file(out)
    about = {
        "fingerprint": model.fingerprint,
        "model": model.config.model.name,
        "kind": gallery.kind,
        "width": int(model.config.model.width),
    }
    return (_write_parquet if out.suffix == ".parquet" else _write_arrays)(gallery, out, dtype, about)


def _write_parquet(gallery: Gallery, out: pathlib.Path, dtype: str, about: dict[str, Any]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with whole(out) as file, contextlib.ExitStack() as stack:
        writer, count = None, 0
        for rows, vectors, _ in gallery.parts():
            columns: dict[str, Any] = {"id": pa.array([gallery.ids[k] for k in rows], pa.string())}
            if gallery.texts is not None:
                columns["text"] = pa.array([gallery.texts[k] for k in rows], pa.string())
            columns["vector" if vectors.mask is None else "vectors"] = vector_column(vectors, dtype)
            if vectors.mask is not None and vectors.weight is not None:
                weights = pa.array(vectors.weight[vectors.mask].astype(np.float32))
                columns["weights"] = list_column(weights, vectors.mask)
            table = pa.table(columns).replace_schema_metadata({METADATA: json.dumps(about)})
            writer = writer or stack.enter_context(pq.ParquetWriter(file, table.schema))
            writer.write_table(table)
            count += len(rows)
        if writer is None:
            raise InputError(f"{out}: no image can be used, so there is nothing to write")
    return count


def _write_arrays(gallery: Gallery, out: pathlib.Path, dtype: str, about: dict[str, Any]) -> int:
    """Writes .npy files. Items with different numbers of vectors are filled up, so all are held in memory."""
    items, parts = [], []
    for part in gallery.parts():
        items += part.items
        parts.append(part.vectors)
    if not parts:
        raise InputError(f"{out}: no image can be used, so there is nothing to write")
    single = parts[0].mask is None
    rows = [part.rows.astype(dtype) for part in parts]
    write_array(out, np.concatenate(rows) if single else padded(rows))
    about |= {"ids": [gallery.ids[k] for k in items]}
    if gallery.texts is not None:
        about |= {"texts": [gallery.texts[k] for k in items]}
    for name in ("mask", "weight"):
        if (arrays := [x for part in parts if (x := getattr(part, name)) is not None]) and not single:
            path = out.with_name(f"{out.stem}.{name}.npy")
            write_array(path, padded(arrays))
            about |= {name: path.name}
    write_whole(out.with_name(f"{out.stem}.ids.json"), json.dumps(about, ensure_ascii=False) + "\n")
    return len(items)
