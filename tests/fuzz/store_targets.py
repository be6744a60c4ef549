"""Readers of stores: TFDS data sets in ArrayRecord, and indexes in LanceDB."""

import json
import types

from fuzz import made
from fuzz.cases import Target

WIDTH = 4


def read_tfds(folder, names, out):
    """A split of a TFDS data set, with its features."""
    import numpy as np

    from itm_jax.data.tfds.reader import read_split

    split = read_split(str(folder), "test")
    split.features[np.arange(split.num_images)]


def examples_seed():
    """The records of a TFDS data set, each as a file of its own, and its JSON files."""
    import pathlib
    import tempfile

    from array_record.python.array_record_data_source import ArrayRecordDataSource

    out = {}
    for name, content in made.tfds().items():
        if ".array_record" not in name:
            out[name] = content
            continue
        with tempfile.TemporaryDirectory() as place:
            path = pathlib.Path(place) / name.rsplit("/", 1)[1]
            path.write_bytes(content)
            source = ArrayRecordDataSource([str(path)])
            out |= {f"{name}@{k}": bytes(source[k]) for k in range(len(source))}
    return out


def build_tfds(folder, files):
    """Writes the records into ArrayRecord files, as they are now."""
    from array_record.python import array_record_module

    shards = {}
    for name, content in sorted(files.items()):
        shard, at, _ = name.partition("@")
        path = folder / shard
        path.parent.mkdir(parents=True, exist_ok=True)
        if at:
            shards.setdefault(path, []).append(content)
        else:
            path.write_bytes(content)
    for path, records in shards.items():
        writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1,uncompressed")
        for record in records:
            writer.write(record)
        writer.close()


def record(fragments):
    """The record of an index."""
    return {"model": "/nowhere/model", "fingerprint": "f", "fragments": fragments, "width": WIDTH, "dtype": "float32",
            "thumbnails": 8, "metadata": {"year": "int64", "place": "string"}, "format": 1}  # fmt: skip


def rows(fragments):
    """The rows of an index."""
    vector = [0.5] * WIDTH
    return [
        {"id": f"{k}.jpg", ("vectors" if fragments else "vector"): [vector] * 2 if fragments else vector,
         **({"boxes": [[0, 0, 1, 1]] * 2} if fragments else {}), "thumbnail": None, "year": k, "place": "here"}
        for k in range(3)
    ]  # fmt: skip


def index_seed():
    """The record and the rows of an index of each kind."""
    return {
        f"{kind}/{name}.json": json.dumps(make(kind == "fragments")).encode()
        for kind in ("one", "fragments")
        for name, make in (("record", record), ("rows", rows))
    }


def build_index(folder, files):
    """Writes both tables with the rows and the record of the files, whatever these say of the columns."""
    import lancedb
    import pyarrow as pa

    from itm_jax.search.table import KEY, TABLE, Record

    for kind in ("one", "fragments"):
        database = lancedb.connect(str(folder / kind))
        schema = Record(**record(kind == "fragments")).schema()
        columns = json.loads(files[f"{kind}/rows.json"])
        types_of = None if any(not isinstance(x, dict) for x in columns) else schema
        table = pa.Table.from_pylist(columns, schema=types_of) if types_of else pa.Table.from_pylist(columns)
        table = table.replace_schema_metadata({KEY: files[f"{kind}/record.json"]})
        database.create_table(TABLE, table)


def read_index(folder, names, out):
    """An index without its model: the record, the ids, the vectors, a search."""
    import numpy as np

    from itm_jax.errors import InputError
    from itm_jax.hub.encodings import Encodings
    from itm_jax.search import stored
    from itm_jax.search.hits import Search
    from itm_jax.search.index import Index, load_model
    from itm_jax.search.table import check_model, count_of, ids_of, open_table

    kinds = sorted({name.split("/")[0] for name in names})
    for kind in kinds:
        place = str(folder / kind)
        table, about = open_table(place)
        model = types.SimpleNamespace(shape=(2, 5), fingerprint="f", source="x")
        try:
            check_model(model, about, place)
            load_model(about)
        except InputError:
            pass
        count_of(table, place)
        ids = ids_of(table, place)
        list(stored.parts(table, about, model, place, 2))
        index = Index(place, table, about, model)
        if not about.fragments and ids and about.width == WIDTH:
            question = Encodings("captions", [(np.arange(1), np.ones((1, WIDTH), np.float32))], "f", "x")
            index.nearest(question, 2, Search(), ["id"])
            index.encodings_of(next(iter(sorted(ids))))


@made.made
def index_files(folder):
    """The files of a small index of each kind."""
    build_index(folder, index_seed())


STORES = {
    "tfds_files": Target(made.tfds, read_tfds, weight=0.2, seconds=10),
    "tfds_records": Target(examples_seed, read_tfds, "@", build=build_tfds, weight=0.2, seconds=10),
    "index_rows": Target(index_seed, read_index, build=build_index, weight=0.2, seconds=10, needs="lancedb"),
    "index_files": Target(index_files, read_index, weight=0.2, seconds=10, megabytes=1024, needs="lancedb"),
}
