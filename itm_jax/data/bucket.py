"""Copies of data that lie in a bucket, in the cache: `buckets/<hash>-<name>-data/<part>/`."""

import pathlib
from collections.abc import Mapping
from typing import Any

from itm_jax.buckets import copies
from itm_jax.buckets.mirror import Mirror
from itm_jax.buckets.store import Bucket, ObjectInfo
from itm_jax.errors import InputError
from itm_jax.terminal import say


def home_of(bucket: Bucket, data: Any, part: str) -> pathlib.Path:
    """Returns where the copy of a part of a data set lies; `itm_jax.cache clear` leaves it until this process ends.

    Args:
        bucket: the folder of the data set.
        data: `config.data`.
        part: what is copied, such as the name of a split.
    """
    copy = copies.local_copy(bucket.url, data.cache_dir, use="data")
    copies.use(copy)
    return copy / part


def copy_objects(bucket: Bucket, home: pathlib.Path, objects: Mapping[str, ObjectInfo], limit_gb: float) -> None:
    """Makes `home` a copy of these objects of a bucket.

    Args:
        bucket: the folder of the data set.
        home: the local folder.
        objects: what is wanted of it, by path.
        limit_gb: `config.data.cache_gb`.

    Raises:
        InputError: the objects take more than the cache may, the bucket cannot be read, or the disk has no room.
    """
    size = sum(info.size for info in objects.values())
    if size > limit_gb * 1e9:
        raise InputError(
            f"{bucket.url}: {size / 1e9:.1f} GB, and config.data.cache_gb={limit_gb:g} bounds the local copy; set it "
            "to more, or mount the bucket (with gcsfuse, say) and pass the local path"
        )
    read = Mirror(bucket, home).fetch(lambda path: path in objects)
    if read > 1e6:
        say(f"{bucket.url}: {read / 1e6:,.0f} MB copied to {home}")
