"""Data that lie in a bucket: small files and features that fit are copied to the cache; other features are read by row.

The copy of a split is in the cache directory, `buckets/<hash>-<name>-data/<split>/`. `data.cache_gb` bounds what it
takes: features that are larger stay in the bucket, and only as many of their rows are kept as fit.
"""

import json
import pathlib
from typing import Any

from itm_jax.buckets.mirror import Mirror
from itm_jax.buckets.store import Bucket, Entry, is_url
from itm_jax.buckets.workdir import local_copy
from itm_jax.errors import InputError
from itm_jax.files import check_space, write_whole
from itm_jax.terminal import say

FEATURES = "_ims.npy"
STAY = "_ims.npy.in_bucket"  # a JSON file in the copy, in place of features that stay in the bucket
COMMON = ("extractor.json",)


def local_directory(data: Any, split: str) -> str:
    """Returns a local directory with the files of a split: `data.dir`, or a copy of it where it lies in a bucket.

    Args:
        data: `config.data`.
        split: the name of the split.

    Raises:
        InputError: the bucket cannot be read or has no such split, or the local disk has no room.
    """
    if not is_url(data.dir or ""):
        return data.dir
    bucket = Bucket(data.dir)
    home = local_copy(bucket.url, data.cache_dir, use="data") / split
    if data.source == "tfds":
        return str(_copy(bucket, home, bucket.entries(), data.cache_gb))
    entries = bucket.entries()
    folder = next((f for f in ("", "precomp/") if f"{f}{split}{FEATURES}" in entries), None)
    if folder is None:
        names = sorted(p.rpartition("/")[2].removesuffix(FEATURES) for p in entries if p.endswith(FEATURES))
        hint = f"; splits found there: {', '.join(names)}" if names else ""
        raise InputError(f"{bucket.where(split + FEATURES)}: no such object{hint}")
    mine = {
        path: entry
        for path, entry in entries.items()
        if path.startswith(f"{folder}{split}_") or path in [folder + name for name in COMMON]
    }
    features = f"{folder}{split}{FEATURES}"
    if mine[features].size > data.cache_gb * 1e9:
        del mine[features]
        _copy(bucket, home, mine, data.cache_gb)
        record = {
            "url": bucket.url,
            "path": features,
            "size": entries[features].size,
            "tag": entries[features].tag,
            "cache_gb": data.cache_gb,
            "rows": str(home.with_name(f"{split}-rows")),  # beside the copy, which is made equal to the bucket
        }
        write_whole(home / folder / (split + STAY), json.dumps(record))
    else:
        _copy(bucket, home, mine, data.cache_gb)
    return str(home)


def _copy(bucket: Bucket, home: pathlib.Path, entries: dict[str, Entry], limit_gb: float) -> pathlib.Path:
    """Makes `home` a copy of these objects. Raises InputError where they take more than the cache may."""
    size = sum(entry.size for entry in entries.values())
    if size > limit_gb * 1e9:
        raise InputError(
            f"{bucket.url}: {size / 1e9:.1f} GB, and config.data.cache_gb={limit_gb:g} bounds the local copy; set it "
            "to more, or mount the bucket (with gcsfuse, say) and pass the local path"
        )
    check_space(home, size)
    mirror = Mirror(bucket, home, seal="", unfinished="*.tmp")
    missing = mirror.fetch(lambda path: path in entries)
    if missing > 1e6:
        say(f"{bucket.url}: {missing / 1e6:,.0f} MB copied to {home}")
    return home
