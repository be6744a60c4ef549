"""One writer per workdir: a lock that its owner's death releases, with the owner's name in it."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import socket
import sys
import time
from collections.abc import Iterator

from itm_jax.errors import InputError

NAME = ".lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # file systems that have none


def _owner(path: pathlib.Path) -> str:
    """Who wrote the lock file, for messages."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        return f"process {owner['pid']} on {owner['host']} since {owner['since']} ({owner['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "a process that left no name"


def _open_locked(path: pathlib.Path) -> int | None:
    """A descriptor of the lock file that holds its lock, or None where another process holds it."""
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


@contextlib.contextmanager
def workdir_lock(workdir: pathlib.Path) -> Iterator[None]:
    """Holds the workdir, which is created where it is missing; a directory left empty is removed again.

    The lock is the kernel's (flock), so that it ends with its owner, however that ends; a file left behind by a killed
    process is recognised and taken over. On a network file system it holds across hosts where that supports flock.

    Raises:
        InputError: another process holds it, or the workdir cannot be written.
    """
    path = workdir / NAME
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        left_by = _owner(path) if path.exists() and path.stat().st_size else None
        descriptor = _open_locked(path)
    except OSError as e:
        raise InputError(f"{workdir}: cannot be written ({e.strerror})") from None
    if descriptor is None:
        raise InputError(f"{workdir}: in use by {_owner(path)}; wait for it, stop it, or take another --workdir")
    try:
        if left_by:
            print(f"{workdir}: taking over from {left_by}, which ended without cleaning up", file=sys.stderr)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "command": " ".join(sys.argv)}
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(owner).encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        with contextlib.suppress(OSError):
            workdir.rmdir()  # only when empty
