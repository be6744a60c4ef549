"""A workdir in a bucket: a run works in a local copy of it, which is published at every checkpoint.

The run needs a local disk: Orbax makes a checkpoint appear whole by renaming a folder, which a bucket cannot do, and
metrics.jsonl grows line by line. What a run saved is in the bucket before it saves again. What was not yet published
when a process was killed is done again by the same command, with the same numbers.
"""

import contextlib
import fnmatch
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from itm_jax.buckets.copies import local_copy, own_copy, use
from itm_jax.buckets.lease import hold_lease
from itm_jax.buckets.mirror import Mirror, Steps
from itm_jax.buckets.publisher import NoPublisher, Publisher
from itm_jax.buckets.store import Bucket, RemoteFile, is_url
from itm_jax.devices import distributed
from itm_jax.runs import checkpoints, checksums, lock
from itm_jax.terminal import say

STEPS = Steps(checkpoints.FOLDER, checksums.FILES)  # a checkpoint counts once its files.json is published
PROGRESS_ITEM = "progress"  # the item of a checkpoint that only the continuation of a run needs
ARRAYS = (PROGRESS_ITEM, "variables")  # the items that only the first process of a run reads


class Workdir(NamedTuple):
    """Where a run works.

    Attributes:
        local: the local folder.
        publisher: publishes it; with a local workdir it does nothing.
    """

    local: pathlib.Path
    publisher: Publisher | NoPublisher


@contextlib.contextmanager
def open_workdir(place: str | pathlib.Path, cache: str | None, *, write: bool) -> Iterator[Workdir]:
    """Gives a workdir as a local folder. All processes of a run call this; only the first one writes.

    Args:
        place: a local path, or the address of a folder of a bucket.
        cache: `config.data.cache_dir`.
        write: whether the first process writes there. It then holds the lock, and the lease of the bucket, and what it
            wrote is published at the end, also after an error.

    Raises:
        InputError: the workdir cannot be read or written, or another process writes there.
    """
    writes = write and distributed.first()
    if not is_url(place):
        local = pathlib.Path(place).expanduser()
        with lock.workdir_lock(local) if writes else contextlib.nullcontext():
            yield Workdir(local, NoPublisher())
        return
    bucket = Bucket(str(place))
    with contextlib.ExitStack() as stack:
        if writes:
            workdir = stack.enter_context(_written(bucket, cache))
        if write:
            distributed.barrier("the workdir is fetched")  # the others read what the holder of the lease found there
        if not writes:
            local = own_copy(bucket.url, cache, use="read")
            left_out = (PROGRESS_ITEM,) if distributed.first() else ARRAYS
            Mirror(bucket, local, steps=STEPS).fetch(lambda path: _item(path) not in left_out)
            workdir = Workdir(local, NoPublisher())
        yield workdir


@contextlib.contextmanager
def _written(bucket: Bucket, cache: str | None) -> Iterator[Workdir]:
    """Gives a copy to write, and publishes it at the end."""
    local = local_copy(bucket.url, cache, use="run")
    use(local)
    with hold_lease(bucket) as lease, lock.workdir_lock(local):
        say(f"{bucket.url}: working in {local}; what is written there is published")
        mirror = Mirror(bucket, local, steps=STEPS, ours=_is_of_this_machine)
        mirror.fetch()
        publisher = Publisher(mirror, lease.renew, lease.check)
        try:
            yield Workdir(local, publisher)
        except Exception:
            try:
                publisher.finish()
            except Exception as e:  # the first error is the one to report
                say(f"{bucket.url}: what was written last is not published ({e})")
            raise
        publisher.finish()


def fetch_workdir(place: str | pathlib.Path, cache: str | None = None) -> pathlib.Path:
    """Returns a workdir as a local folder to read: for the address of a bucket, a copy of what it holds now."""
    with open_workdir(place, cache, write=False) as workdir:
        return workdir.local


def file_of(place: str | pathlib.Path, name: str) -> pathlib.Path | RemoteFile:
    """Returns a file of a workdir, to be read where it is."""
    return RemoteFile(f"{str(place).rstrip('/')}/{name}") if is_url(place) else pathlib.Path(place).expanduser() / name


def _item(path: str) -> str:
    """Returns the item of a checkpoint that a path belongs to; empty where it belongs to none."""
    return path.split("/")[2] if STEPS.of_path(path) is not None else ""


def _is_of_this_machine(path: str) -> bool:
    """Whether a path is the lock, or lies in a checkpoint that Orbax is writing."""
    return path == lock.NAME or any(fnmatch.fnmatch(part, checkpoints.UNFINISHED) for part in path.split("/"))
