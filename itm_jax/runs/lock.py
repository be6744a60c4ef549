"""One writer per workdir: a lock file that names its owner. The lock ends when its owner ends."""

import contextlib
import fcntl
import json
import os
import pathlib
import sys
import time
from collections.abc import Iterator

from itm_jax.errors import InputError, NotWritableError
from itm_jax.files import NO_LOCKS, describe_owner, owner_record, parse_json

NAME = ".lock"
WAIT = "ITM_JAX_LOCK_SECONDS"  # how long to wait for the owner of the lock to end; 0 by default


def _owner(path: pathlib.Path) -> str:
    """Says who wrote the lock file, for messages."""
    try:
        return describe_owner(parse_json(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return describe_owner(None)


def _open_locked(path: pathlib.Path) -> int | None:
    """Locks the lock file. Returns its descriptor, or None where another process holds the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino == os.stat(path).st_ino:
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:  # its owner removed it between our two calls
            pass
        except OSError as e:
            if e.errno not in NO_LOCKS:
                os.close(descriptor)
                raise
            print(
                f"warning: {path.parent}: no locks on this file system; let only one process write there",
                file=sys.stderr,
            )
            return descriptor
        os.close(descriptor)


def _open_locked_in_time(path: pathlib.Path) -> int | None:
    """Locks the lock file as `_open_locked` does, but waits ITM_JAX_LOCK_SECONDS for another owner to end."""
    text = os.environ.get(WAIT) or "0"
    if not text.isdecimal():
        raise InputError(f"{WAIT}={text}: must be a whole number of seconds")
    end = time.monotonic() + int(text)
    while (descriptor := _open_locked(path)) is None and time.monotonic() < end:
        time.sleep(min(1.0, int(text) / 10))
    return descriptor


@contextlib.contextmanager
def workdir_lock(workdir: pathlib.Path) -> Iterator[None]:
    """Locks the workdir. A missing directory is created; a directory that stays empty is removed again.

    The lock is the kernel's (flock): it ends with its owner, however the owner ends. A lock file that a killed process
    left is recognised and taken over. On a network file system that supports flock, the lock holds across hosts. Its
    server may keep the lock of a host that is gone for some time: ITM_JAX_LOCK_SECONDS says how long to wait.

    Raises:
        InputError: another process holds it, or the workdir cannot be written.
    """
    path = workdir / NAME
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        left_by = _owner(path) if path.exists() and path.stat().st_size else None
        descriptor = _open_locked_in_time(path)
    except OSError as e:
        raise NotWritableError(f"{workdir}: cannot be written ({e.strerror})") from None
    if descriptor is None:
        raise InputError(f"{workdir}: in use by {_owner(path)}; wait for it, stop it, or take another --workdir")
    try:
        if left_by:
            print(f"{workdir}: taking over from {left_by}, which ended without cleaning up", file=sys.stderr)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(owner_record()).encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        with contextlib.suppress(OSError):
            workdir.rmdir()  # only when empty
