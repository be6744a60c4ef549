"""A workdir in a bucket: a run works in a local copy, which is published at every checkpoint.

The libraries below need a local disk: Orbax makes a checkpoint appear whole by renaming a folder, which only Google
Cloud Storage is told apart for, and curves grow by a line at a time. So the run writes to the cache directory, and what
it saved is in the bucket before its next checkpoint begins. What was not published when a process was killed is done
again by the same command, with the same numbers.
"""

import contextlib
import hashlib
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from itm_jax.buckets.lease import held
from itm_jax.buckets.mirror import Mirror, NoPublisher, Publisher
from itm_jax.buckets.store import Bucket, is_url
from itm_jax.files import cache_dir
from itm_jax.terminal import say

COPIES = "buckets"  # folder of the cache
SEAL = "files.json"  # Orbax's folder of a step counts when this file is there; see runs/checksums.py
UNFINISHED = "*.orbax-checkpoint-tmp*"
ARRAYS = ("variables", "progress")  # parts of a checkpoint that only the first process reads


class Place(NamedTuple):
    """Where a run works, and what publishes it: with a local workdir nothing does."""

    local: pathlib.Path
    publisher: Publisher | NoPublisher


def local_copy(url: str, cache: str | None, *, use: str = "") -> pathlib.Path:
    """Returns where the copy of a folder of a bucket lies. Each use has its own: nobody touches that of a writer."""
    name = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]
    readable = "".join(c if c.isalnum() or c in "-_" else "-" for c in url.rstrip("/").rpartition("/")[2])[:40]
    return cache_dir(cache) / COPIES / f"{name}-{readable}{f'-{use}' if use else ''}"


@contextlib.contextmanager
def opened(place: str | pathlib.Path, cache: str | None, *, write: bool, part: int = 0) -> Iterator[Place]:
    """Gives a workdir as a local folder.

    Args:
        place: a local path, or the address of a folder of a bucket.
        cache: `config.data.cache_dir`.
        write: whether the caller writes there: it holds the lease, and what it writes is published at the end.
        part: of a run of several processes, which one this is. Only the first writes.

    Raises:
        InputError: the bucket cannot be read or written, or another process holds its lease.
    """
    if not is_url(place):
        yield Place(pathlib.Path(place).expanduser(), NoPublisher())
        return
    bucket = Bucket(str(place))
    use = f"process{part}" if part else "" if write else "read"
    mirror = Mirror(bucket, local_copy(bucket.url, cache, use=use), seal=SEAL, unfinished=UNFINISHED)
    if not write or part:
        mirror.fetch(_small if part else _everything)
        yield Place(mirror.local, NoPublisher())
        return
    with held(bucket) as lease:
        say(f"{bucket.url}: the run works in {mirror.local}; each checkpoint is published")
        mirror.fetch()
        mirror.remove_remains()
        publisher = Publisher(mirror, lease.beat)
        with contextlib.ExitStack() as end:
            end.callback(publisher.last)
            yield Place(mirror.local, publisher)


def fetched(place: str | pathlib.Path, cache: str | None = None) -> pathlib.Path:
    """Returns a workdir as a local folder to read: for an address of a bucket, a copy of what it holds now."""
    with opened(place, cache, write=False) as found:
        return found.local


def _everything(path: str) -> bool:
    return True


def _small(path: str) -> bool:
    """Whether a path is not one of the arrays of a checkpoint."""
    parts = path.split("/")
    return not (len(parts) > 3 and parts[1].isdigit() and parts[2] in ARRAYS)
