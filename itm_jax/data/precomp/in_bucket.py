"""A `precomp` directory in a bucket: small files, and features that fit, are copied; other features are read by row.

`data.cache_gb` bounds what a split takes of the local disk: features that are larger stay in the bucket, and only as
many of their rows are kept as fit (data.bucket_rows).
"""

import json
import pathlib
from typing import Any

from itm_jax.buckets.copies import locked
from itm_jax.buckets.store import Bucket
from itm_jax.data.bucket import copy_objects, home_of
from itm_jax.data.precomp.single_files import FEATURES, IN_BUCKET
from itm_jax.errors import InputError
from itm_jax.files import write_whole
from itm_jax.vision.identity import FILE as EXTRACTOR


def directory_of(data: Any, split: str) -> pathlib.Path:
    """Returns a local directory with the files of a split of `data.dir`, an address in a bucket.

    Where the features stay in the bucket, the directory has a JSON file in their place, `{split}_ims.npy.in_bucket`.

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
    mine = {
        path: info
        for path, info in objects.items()
        if path.startswith(f"{folder}{split}_") or path == folder + EXTRACTOR
    }
    features, in_bucket = f"{folder}{split}{FEATURES}", f"{folder}{split}{IN_BUCKET}"
    stays = objects[features].size > data.cache_gb * 1e9
    if stays:
        del mine[features]
    home = home_of(bucket, data, split)
    copy_objects(bucket, home, mine, data.cache_gb, ours=in_bucket)
    with locked(home):
        if stays:
            record = {"url": bucket.url, "path": features, "cache_gb": data.cache_gb, "rows": str(home) + "-rows"}
            write_whole(home / in_bucket, json.dumps(record | objects[features]._asdict()))
        else:
            (home / in_bucket).unlink(missing_ok=True)
    return home
