"""Files as the readers take them: JSON texts, headers of arrays, paths inside a folder, space on a disk."""

import io
import json
import shutil
import zipfile

import numpy as np
import pytest

from itm_jax import files
from itm_jax.errors import LONGEST, InputError, for_terminal
from itm_jax.files.texts import DEEPEST


@pytest.mark.parametrize("depth", [1, DEEPEST, DEEPEST + 1, 5_000, 200_000])
@pytest.mark.parametrize("encode", [str, str.encode])
@pytest.mark.parametrize("pair", ["[]", '{"a":}'])
def test_json_has_a_hundred_levels_at_most(depth, encode, pair):
    text = encode(pair[:-1] * depth + ("1" if "a" in pair else "") + pair[-1] * depth)
    if depth <= DEEPEST:
        assert files.parse_json(text) == json.loads(text)
    else:
        with pytest.raises(ValueError, match="nested more than 100 deep"):
            files.parse_json(text)


def test_many_brackets_are_not_many_levels():
    value = [{"a": [k, "[[{"]} for k in range(DEEPEST)]
    assert files.parse_json(json.dumps(value)) == value
    assert files.parse_json(json.dumps("[" * 200)) == "[" * 200


@pytest.mark.parametrize("text", ["", "{", "[1", b"\xff", "9" * 5000])
def test_what_is_not_json_is_a_value_error(text):
    with pytest.raises(ValueError):  # noqa: PT011 (any)
        files.parse_json(text)


def npy(array, version=None):
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version)
    return out.getvalue()


def with_header(text):
    """The bytes of a file with this header, and no values."""
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode()


ARRAY = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("array", [ARRAY, np.asfortranarray(ARRAY), np.zeros((0, 3), ">i2"), np.array(5)])
def test_a_header_says_where_the_values_are(array, version, tmp_path):
    data = npy(array, version)
    (tmp_path / "a.npy").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", data)
    with (
        (tmp_path / "a.npy").open("rb") as file,
        zipfile.ZipFile(tmp_path / "a.npz") as archive,
        archive.open("a.npy") as member,
    ):
        for source in (io.BytesIO(data[:200]), file, member):
            header = files.npy_header(source)
            assert (header.shape, header.dtype) == (array.shape, array.dtype)
            assert header.order == ("C" if array.flags.c_contiguous else "F")
            assert (header.offset, source.tell()) == (len(data) - array.nbytes, header.offset)
            assert header.nbytes == array.nbytes
    for back in (
        files.read_npy(tmp_path / "a.npy"),
        files.read_npz(tmp_path / "a.npz")["a"],
        files.map_npy(tmp_path / "a.npy"),
    ):
        np.testing.assert_array_equal(back, array)
        assert back.dtype == array.dtype


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "EOF"),
        (b"PK\3\4 and more", "magic string"),
        (npy(ARRAY)[:40], "EOF"),
        (npy(np.array([{}])), "never unpickled"),
        (npy(ARRAY, (3, 0)), r"version \(3, 0\)"),
        (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"), r"\(-1,\)"),
        (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}"), "True"),
        (with_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**70}, 0)}}"), str(2**70)),
        (with_header("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000,)}"), "<U0"),
        (with_header("-" * 9000 + "1"), "parse"),  # a MemoryError of Python's parser
        (with_header("1+" * 4000 + "1"), "."),  # a RecursionError
        (with_header("(" * 3000), "."),
        (with_header("__import__('os')"), "."),
        (with_header("[1"), "."),
    ],
)
def test_a_damaged_header_is_a_value_error(data, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        files.npy_header(io.BytesIO(data))
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.npy: damaged \(not an intact \.npy file: .*; again"):
        files.read_npy(tmp_path / "a.npy", "again")


@pytest.mark.parametrize("change", [-1, 1])
def test_an_array_has_the_length_that_its_header_says(change, tmp_path):
    path, data = tmp_path / "a.npy", npy(ARRAY)
    path.write_bytes(data[:change] if change < 0 else data + b"\0")
    with pytest.raises(ValueError, match=r"1 bytes (more|less) than its header says"):
        files.map_npy(path)
    if change < 0:
        with pytest.raises(InputError, match="47 bytes, its header says float32"):
            files.read_npy(path)


def test_memory_is_taken_for_what_a_file_has(tmp_path):
    promise = {"descr": "<f4", "fortran_order": False, "shape": (10**12,)}
    (tmp_path / "a.npy").write_bytes(with_header(str(promise)) + b"\0" * 8)
    with pytest.raises(InputError, match="8 bytes, its header says"):
        files.read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "path", ["a", "a/b.jpg", "~a", "a b", "...", "..a/b", "a" * 255, "é" * 127, "a\nb", "日本.jpg"]
)
def test_paths_inside_a_folder(path):
    assert files.is_inside(path)


@pytest.mark.parametrize(
    "path",
    [
        "", ".", "..", "/", "/a", "//a", "a/", "a//b", "./a", "a/.", "a/../b", "../a", "a/..", "a\0b", "a\\b", "..\\a",
        "C:\\a", "a" * 256, "é" * 128, "a/" + "b" * 256, "/".join(["a"] * 3000), "\ud800",
    ],
)  # fmt: skip
def test_paths_that_leave_a_folder_or_that_no_disk_takes(path):
    assert not files.is_inside(path)


def test_space_is_looked_for_where_the_folder_will_be(tmp_path, monkeypatch):
    asked = []

    def usage(path):
        asked.append(path)
        return shutil._ntuple_diskusage(1000, 900, 100)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    files.check_space(tmp_path / "new" / "er", 100)
    with pytest.raises(InputError, match=r"new: 0\.0 GB are needed, 0\.0 GB are free; make room"):
        files.check_space(tmp_path / "new", 101)
    assert asked == [tmp_path, tmp_path]


def test_a_message_cannot_steer_the_terminal():
    assert for_terminal("a\x1b[31m\n\tb\u202e\x7f\x9b") == r"a\x1b[31m b\u202e\x7f\x9b"
    assert for_terminal("half \ud800") == r"half \ud800"
    assert for_terminal("می\u200cخواهم क्\u200dष") == "می\u200cخواهم क्\u200dष"
    assert len(for_terminal("\U000e0001" * 5000)) < LONGEST + 10
