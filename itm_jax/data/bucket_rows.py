"""Features that stay in a bucket: rows are read by ranges of bytes, and kept on the local disk while there is room."""

import contextlib
import hashlib
import io
import os
import pathlib
import re
import shutil
import zlib

import numpy as np

from itm_jax.buckets.store import PART_BYTES, Bucket, ChangedObjectError, ObjectInfo
from itm_jax.data.elsewhere import RowsElsewhere
from itm_jax.errors import InputError
from itm_jax.files import Header, npy_header
from itm_jax.terminal import say

HEADER_BYTES = 4096
AT_ONCE_BYTES = 64 << 20  # bytes that are asked for at once
VERSION = re.compile("[0-9a-f]{16}")  # how a folder of kept rows is named after the version of the object


class RowsInBucket(RowsElsewhere):
    """The features of an .npy object [rows, r, f]."""

    def __init__(self, bucket: Bucket, path: str, info: ObjectInfo, kept: pathlib.Path, limit: int):
        """Opens the object.

        Args:
            bucket: the folder of the data set.
            path: of the object.
            info: its size, and the version that is read.
            kept: the local folder of the rows that were read once.
            limit: the bytes that they may take.

        Raises:
            InputError: the object cannot be read, or is not an .npy file of numbers in the order of its rows.
        """
        self._bucket, self._path, self._etag = bucket, path, info.etag
        self._where, size = bucket.where(path), info.size
        header = _header(self._ranges([(0, min(HEADER_BYTES, size))])[0], self._where)
        rows, regions, width = header.shape
        super().__init__((rows, regions, width), header.dtype)
        self._offset = header.offset
        if self._offset + self.nbytes != size:
            says = f"{self._offset + self.nbytes:,} bytes ({self.dtype} {self.shape})"
            raise InputError(f"{self._where}: {size:,} bytes, but its header says {says}; write it again")
        self._row = self.nbytes // len(self)
        self._kept = RowCache(kept, self._etag, len(self), self._row, limit)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Reads rows by their indices, [n, r, f]. Raises InputError where the object is no longer the one opened."""
        out = np.empty((len(rows), self._row), np.uint8)
        step = max(1, AT_ONCE_BYTES // self._row)
        for start in range(0, len(rows), step):
            self._fill(out[start : start + step], rows[start : start + step])
        return out.view(self.dtype).reshape(len(rows), *self.shape[1:])

    def _fill(self, out: np.ndarray, rows: np.ndarray) -> None:
        missing = [k for k, row in enumerate(rows) if not self._kept.get(int(row), out[k])]
        if not missing:
            return
        wanted = np.unique(rows[missing])
        pieces: dict[int, bytes] = {}
        most = max(1, PART_BYTES // self._row)
        groups = [
            part for run in np.split(wanted, np.flatnonzero(np.diff(wanted) != 1) + 1) for part in _cut(run, most)
        ]
        pairs = [(self._offset + int(g[0]) * self._row, self._offset + (int(g[-1]) + 1) * self._row) for g in groups]
        for group, data in zip(groups, self._ranges(pairs), strict=True):  # neighbours come in one request
            for n, row in enumerate(group):
                pieces[int(row)] = data[n * self._row : (n + 1) * self._row]
        for k in missing:
            out[k] = np.frombuffer(pieces[int(rows[k])], np.uint8)
        self._kept.put(list(pieces), list(pieces.values()))

    def _ranges(self, pairs: list[tuple[int, int]]) -> list[bytes]:
        try:
            return self._bucket.ranges(self._path, pairs, self._etag)
        except ChangedObjectError:
            raise InputError(
                f"{self._where}: was replaced since it was opened; put it back, and start the same command again"
            ) from None


class RowCache:
    """Rows of an object in a local file, in their places.

    Several processes and threads may use it: a row always has the same bytes. The CRC-32 sums of the rows are in a file
    beside it, 0 for a row that is not kept. So a row that a crash left incomplete is read again.
    """

    def __init__(self, folder: pathlib.Path, etag: str, rows: int, row_bytes: int, limit: int):
        """Opens the files, and removes those of an earlier version of the object.

        Args:
            folder: a folder below it, named after the version of the object, holds the files.
            etag: of the object.
            rows: how many it has.
            row_bytes: the size of one.
            limit: the bytes that the kept rows may take.

        Raises:
            InputError: the local disk cannot be written.
        """
        self._row_bytes, self._most = row_bytes, limit // row_bytes
        place = folder / hashlib.sha256(etag.encode()).hexdigest()[:16]
        try:
            place.mkdir(parents=True, exist_ok=True)
            for old in folder.iterdir():
                if old != place and VERSION.fullmatch(old.name):
                    shutil.rmtree(old, ignore_errors=True)
            self._file = os.open(place / "rows", os.O_RDWR | os.O_CREAT, 0o644)
            sums = os.open(place / "sums", os.O_RDWR | os.O_CREAT, 0o644)
            try:
                os.posix_fallocate(sums, 0, 4 * rows)  # a full disk is an error here, not a fault of the memory map
            finally:
                os.close(sums)
            self._sums = np.memmap(place / "sums", np.uint32, "r+", shape=(rows,))
        except OSError as e:
            raise InputError(f"{place}: cannot be written ({e.strerror or e})") from None

    def get(self, row: int, out: np.ndarray) -> bool:
        """Copies a kept row [bytes] to `out`; returns whether it is kept, and intact."""
        wanted = self._sums[row]
        if not wanted:
            return False
        data = os.pread(self._file, self._row_bytes, row * self._row_bytes)
        if len(data) != self._row_bytes or _sum(data) != wanted:
            return False
        out[:] = np.frombuffer(data, np.uint8)
        return True

    def put(self, rows: list[int], pieces: list[bytes]) -> None:
        """Keeps rows while there is room. A full disk costs speed, not the run."""
        room = self._most - int(np.count_nonzero(self._sums))
        for row, piece in zip(rows, pieces, strict=True):
            room -= not self._sums[row]  # a damaged row takes its old place
            if room < 0:
                return
            try:
                os.pwrite(self._file, piece, row * self._row_bytes)
            except OSError as e:
                say(f"warning: rows are no longer kept on the local disk ({e.strerror})")
                self._most = 0
                return
            self._sums[row] = _sum(piece)

    def __del__(self) -> None:
        if (descriptor := getattr(self, "_file", None)) is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _cut(rows: np.ndarray, most: int) -> list[np.ndarray]:
    """Cuts neighbouring rows into parts of at most so many."""
    return [rows[start : start + most] for start in range(0, len(rows), most)]


def _sum(data: bytes) -> int:
    return zlib.crc32(data) or 1


def _header(head: bytes, where: str) -> Header:
    """Returns what the first bytes of an .npy file say of its array."""
    try:
        header = npy_header(io.BytesIO(head))
    except ValueError as e:
        raise InputError(f"{where}: not an intact .npy file ({str(e)[:200]})") from None
    numeric = header.dtype in (np.float16, np.float32) and header.dtype.isnative
    if len(header.shape) != 3 or not numeric or header.order != "C" or 0 in header.shape:
        what = f"{header.dtype} {header.shape}"
        raise InputError(f"{where}: {what}; expected float16 or float32 [rows, regions, width], row by row")
    return header
