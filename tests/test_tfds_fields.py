"""The fields of the records of a TFDS data set: one that is missing or malformed is an error, never zeros."""

import numpy as np
import pytest
from array_record.python import array_record_module
from array_record.python.array_record_data_source import ArrayRecordDataSource
from support.precomp import REGIONS, WIDTH, write
from tensorflow_datasets.proto import tf_example_pb2

from itm_jax.data.tfds import builder
from itm_jax.data.tfds.reader import read_split
from itm_jax.errors import InputError

SHARD, NOTES = "small-train.array_record-00000-of-00001", "small-train_annotations.array_record-00000-of-00001"


def with_field(data, place, field, values):
    """A file of records in which `field` of record 1 has other `values`; None: the field is missing."""
    (place / "old").write_bytes(data)
    source = ArrayRecordDataSource([str(place / "old")])
    records = [tf_example_pb2.Example.FromString(source[k]) for k in range(len(source))]
    del records[1].features.feature[field]
    if values is not None:
        records[1].features.feature[field].bytes_list.value.extend(values)
    writer = array_record_module.ArrayRecordWriter(str(place / "new"), "group_size:1,uncompressed")
    for record in records:
        writer.write(record.SerializeToString())
    writer.close()
    return (place / "new").read_bytes()


ROW = 4 * WIDTH  # bytes of a region
FIELDS = [
    (SHARD, "features", None, "0 values of features, expected 1"),
    (SHARD, "features", [], "0 values of features, expected 1"),
    (SHARD, "features", [b"\0" * ROW] * 2, "2 values of features, expected 1"),
    (SHARD, "features", [b"\0" * (ROW - 1)], f"{ROW - 1} bytes of features, expected a multiple of {ROW}"),
    (
        SHARD,
        "features",
        [b"\0" * ROW * (REGIONS + 1)],
        f"features of {REGIONS + 1} regions, expected at most {REGIONS}",
    ),
    (NOTES, "id", None, "0 values of id, expected 1"),
    (NOTES, "id", [b"\xff"], "id is not UTF-8: byte 0xff"),
    (NOTES, "captions", None, "0 captions, expected"),
    (NOTES, "captions", [b"a \xfe", b"b"], "captions is not UTF-8: byte 0xfe"),
    (NOTES, "boxes", None, "0 values of boxes, expected 1"),
    (NOTES, "boxes", [b"\0" * 17], "17 bytes of boxes, expected a multiple of 16"),
    (NOTES, "boxes", [b"\0" * 16], f"1 boxes for {REGIONS} regions"),
    (NOTES, "labels", None, f"0 labels for {REGIONS} regions"),
    (NOTES, "dependencies", None, "0 values of dependencies, expected 1"),
    (NOTES, "dependencies", [b"\0" * 5], "5 bytes of dependencies, expected a multiple of 12"),
]


@pytest.mark.parametrize(("file", "field", "values", "message"), FIELDS)
def test_a_field_that_is_missing_or_malformed_is_named_with_its_record(tmp_path, file, field, values, message):
    write(tmp_path / "source", repeats=5)
    path = builder.build(str(tmp_path / "source"), tmp_path / "out", name="small")
    (path / file).write_bytes(with_field((path / file).read_bytes(), tmp_path, field, values))
    with pytest.raises(InputError) as caught:
        np.asarray(read_split(path, "train").features)
    assert str(caught.value).startswith(f"{path / file}: record 1 (row 1): damaged ({message}")
