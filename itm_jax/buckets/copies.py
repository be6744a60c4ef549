"""Where local copies of folders of buckets lie in the cache, and the locks of their users."""

import contextlib
import fcntl
import hashlib
import itertools
import os
import pathlib
from collections.abc import Iterator

from itm_jax.errors import InputError
from itm_jax.files import NO_LOCKS, cache_dir
from itm_jax.terminal import say

FOLDER = "buckets"  # of the cache
# Descriptors of the locks of copies that this process uses. The system frees them when the process ends.
_USED: dict[pathlib.Path, int] = {}


def local_copy(url: str, cache: str | None, *, use: str) -> pathlib.Path:
    """Returns where the copy of a folder of a bucket for a certain use lies.

    Args:
        url: the address of the folder.
        cache: `config.data.cache_dir`.
        use: what the copy is for.
    """
    name = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]
    readable = "".join(c if c.isalnum() or c in "-_" else "-" for c in url.rstrip("/").rpartition("/")[2])[:40]
    return cache_dir(cache) / FOLDER / f"{name}-{readable}-{use}"


@contextlib.contextmanager
def locked(copy: pathlib.Path) -> Iterator[None]:
    """Lets one process of this machine at a time change a copy."""
    descriptor = _open(copy, "fetch")
    try:
        if not _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
            say(f"{copy}: another process of this machine is copying; waiting for it")
            _lock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def use(copy: pathlib.Path) -> None:
    """Marks a copy as used until this process ends, so that `itm_jax.cache clear` leaves it. Others may use it too."""
    if copy not in _USED:
        _USED[copy] = _open(copy, "use")
        _lock(_USED[copy], fcntl.LOCK_SH)


def own_copy(url: str, cache: str | None, *, use: str) -> pathlib.Path:
    """Returns a copy that no other process uses until this one ends, so that nobody changes what it is reading.

    The first process gets the copy for `use`, the next ones those for `use2`, `use3` and so on.
    """
    for number in itertools.count(1):
        copy = local_copy(url, cache, use=f"{use}{number if number > 1 else ''}")
        if copy in _USED:
            return copy
        descriptor = _open(copy, "use")
        if _has_locks(descriptor):
            if _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
                _USED[copy] = descriptor
                return copy
            os.close(descriptor)
        else:  # the copy of another process could be this one: take one that nobody else takes
            os.close(descriptor)
            return local_copy(url, cache, use=f"{use}-{os.getpid()}")
    raise AssertionError


@contextlib.contextmanager
def unused(copy: pathlib.Path) -> Iterator[bool]:
    """Gives whether no process of this machine uses a copy; while the block runs, none can begin to."""
    if not _lock_file(copy, "use").exists():  # a cache that can only be read is listed too
        yield True
        return
    descriptor = _open(copy, "use")
    try:
        yield _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def _has_locks(descriptor: int) -> bool:
    """Returns whether the file system has locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as e:
        if e.errno in NO_LOCKS:
            return False
        raise
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def _lock(descriptor: int, kind: int) -> bool:
    """Locks a file; returns whether it is locked. On a file system without locks it always is."""
    try:
        fcntl.flock(descriptor, kind)
    except BlockingIOError:
        return False
    except OSError as e:
        if e.errno not in NO_LOCKS:
            raise
    return True


def _open(copy: pathlib.Path, purpose: str) -> int:
    """Opens a lock file beside a copy. It is never removed: all processes must lock the same file."""
    path = _lock_file(copy, purpose)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as e:
        raise InputError(f"{path}: cannot be written ({e.strerror})") from None


def _lock_file(copy: pathlib.Path, purpose: str) -> pathlib.Path:
    return copy.with_name(f"{copy.name}.{purpose}")
