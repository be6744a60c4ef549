"""Features that stay in a bucket: rows are read by ranges of bytes, and kept on the local disk while there is room."""

import contextlib
import io
import json
import os
import pathlib
import threading
import time
import zlib
from typing import Any

import numpy as np

from itm_jax.buckets.store import Bucket
from itm_jax.data.elsewhere import RowsElsewhere
from itm_jax.errors import InputError
from itm_jax.files import npy_header
from itm_jax.terminal import say

HEADER_BYTES = 4096
AT_ONCE_BYTES = 64 << 20  # bytes that are asked for at once
LOOK_SECONDS = 30.0  # how often the tag of the object is compared


class RowsInBucket(RowsElsewhere):
    """The features of an .npy object [rows, r, f].

    A row that was read once is kept in a local file, until the rows there take `cache_gb`. A file of their CRC-32
    sums says which rows are there, so rows that a crash left incomplete are read again.
    """

    def __init__(self, path: pathlib.Path):
        """Opens the object that a JSON file names (`data.bucket.STAY`).

        Raises:
            InputError: the object cannot be read, or is not an .npy file of numbers in the order of its rows.
        """
        record = json.loads(path.read_text(encoding="utf-8"))
        self._bucket, self._path, self._tag = Bucket(record["url"]), record["path"], record["tag"]
        self._looked = time.monotonic()
        self._where = self._bucket.where(self._path)
        head = self._bucket.ranges(self._path, [0], [min(HEADER_BYTES, record["size"])])[0]
        shape, dtype, self._offset = _header(head, self._where)
        super().__init__(shape, dtype)
        if self._offset + self.nbytes != record["size"]:
            says = f"{self._offset + self.nbytes:,} bytes ({self.dtype} {self.shape})"
            raise InputError(f"{self._where}: {record['size']:,} bytes, but its header says {says}; write it again")
        self._row = self.nbytes // len(self)
        self._kept = _Kept(pathlib.Path(record["rows"]), len(self), self._row, int(record["cache_gb"] * 1e9), self._tag)

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
        self._look()
        starts = [self._offset + int(rows[k]) * self._row for k in missing]
        for k, data in zip(
            missing, self._bucket.ranges(self._path, starts, [s + self._row for s in starts]), strict=True
        ):
            out[k] = np.frombuffer(data, np.uint8)
            self._kept.put(int(rows[k]), data)

    def _look(self) -> None:
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        entry = self._bucket.entry(self._path)
        if entry is None or entry.tag != self._tag:
            what = "was removed" if entry is None else "was replaced"
            raise InputError(
                f"{self._where}: {what} since it was opened; put it back, and start the same command again"
            )
        self._looked = time.monotonic()


class _Kept:
    """Rows in a local file. Several processes and threads may use it: a row always has the same bytes."""

    def __init__(self, folder: pathlib.Path, rows: int, size: int, limit: int, tag: str):
        self._size, self._room, self._lock = size, limit // size, threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        path, sums, mark = (folder / name for name in ("rows", "sums", "tag"))
        if not mark.exists() or mark.read_text(encoding="utf-8") != tag:
            for old in (path, sums):
                old.unlink(missing_ok=True)
            mark.write_text(tag, encoding="utf-8")
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._sums_file = os.open(sums, os.O_RDWR | os.O_CREAT, 0o644)
        self._sums = np.zeros(rows, np.uint32)  # 0: the row is not kept
        data = os.pread(self._sums_file, self._sums.nbytes, 0)
        self._sums[: len(data) // 4] = np.frombuffer(data[: len(data) // 4 * 4], np.uint32)
        self._room -= int(np.count_nonzero(self._sums))

    def get(self, row: int, out: np.ndarray) -> bool:
        """Copies a kept row [bytes] to `out`; returns whether it is kept, and intact."""
        wanted = self._sums[row]
        if not wanted:
            return False
        data = os.pread(self._file, self._size, row * self._size)
        if len(data) != self._size or _sum(data) != wanted:
            return False
        out[:] = np.frombuffer(data, np.uint8)
        return True

    def put(self, row: int, data: bytes) -> None:
        """Keeps a row where there is room."""
        with self._lock:
            if self._room <= 0 and not self._sums[row]:
                return
            self._room -= not self._sums[row]
        try:
            os.pwrite(self._file, data, row * self._size)
            value = np.uint32(_sum(data))
            os.pwrite(self._sums_file, value.tobytes(), row * 4)
            self._sums[row] = value
        except OSError as e:  # a full disk costs speed, not the run
            if self._room > 0:
                say(f"warning: rows are no longer kept on the local disk ({e.strerror})")
            self._room = 0

    def __del__(self) -> None:
        for descriptor in (getattr(self, "_file", None), getattr(self, "_sums_file", None)):
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)


def _sum(data: bytes) -> int:
    return zlib.crc32(data) or 1


def _header(head: bytes, where: str) -> tuple[tuple[int, int, int], Any, int]:
    """Returns shape, dtype and the place of the first value of an .npy file, from its first bytes."""
    try:
        shape, dtype, order, offset = npy_header(io.BytesIO(head))
    except ValueError as e:
        raise InputError(f"{where}: not an intact .npy file ({' '.join(str(e).split())[:200]})") from None
    numeric = dtype in (np.float16, np.float32) and dtype.isnative
    if len(shape) != 3 or not numeric or order != "C" or 0 in shape:
        raise InputError(f"{where}: {dtype} {shape}; expected float16 or float32 [rows, regions, width], row by row")
    return shape, dtype, offset
