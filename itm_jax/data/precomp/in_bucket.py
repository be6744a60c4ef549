"""A `precomp` directory in a bucket: small files, and features that fit, are copied; other features are read by row.

`data.cache_gb` bounds the files of a split that are copied. Larger features stay in the bucket, and as many of their
rows as fit into `data.cache_gb` are kept (data.bucket_rows).
"""

from typing import Any

from itm_jax.buckets.store import Bucket
from itm_jax.data.bucket import copy_objects, home_of
from itm_jax.data.bucket_rows import RowsInBucket
from itm_jax.data.precomp.reader import Place
from itm_jax.data.precomp.single_files import FEATURES, names_of_split
from itm_jax.errors import InputError
from itm_jax.vision.identity import FILE as EXTRACTOR

ROWS = "-rows"  # in the names of copies whose features stay in the bucket: copies with and without are not mixed


def place_of(data: Any, split: str) -> Place:
    """Returns where the files of a split of `data.dir`, an address in a bucket, lie on the local disk.

    Args:
        data: `config.data`.
        split: the name of the split.

    Raises:
        InputError: the bucket cannot be read or has no such split, or the local disk has no room.
    """
    bucket = Bucket(data.dir)
    objects = bucket.objects()
    folder = next((f for f in ("", "precomp/") if f"{f}{split}{FEATURES}" in objects), None)
    if folder is None:
        names = sorted(p.rpartition("/")[2].removesuffix(FEATURES) for p in objects if p.endswith(FEATURES))
        hint = f"; splits found there: {', '.join(names)}" if names else ""
        raise InputError(f"{bucket.where(split + FEATURES)}: no such object{hint}")
    names = [path.removeprefix(folder) for path in objects if path.startswith(folder)]
    paths = [folder + name for name in (*names_of_split(names, split), EXTRACTOR)]
    mine = {path: objects[path] for path in paths if path in objects}
    path = f"{folder}{split}{FEATURES}"
    stays = objects[path].size > data.cache_gb * 1e9
    info = mine.pop(path) if stays else None
    home = home_of(bucket, data, split + ROWS if stays else split)
    copy_objects(bucket, home, mine, data.cache_gb)
    kept = home.with_name(f"{home.name}-kept")
    return Place(home / folder, info and RowsInBucket(bucket, path, info, kept, int(data.cache_gb * 1e9)))
