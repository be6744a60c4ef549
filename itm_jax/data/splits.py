"""Reads the splits of the configured data source."""

from collections.abc import Sequence
from typing import Any

from itm_jax.buckets.store import Bucket, is_url
from itm_jax.config.plugins import is_own, load
from itm_jax.data.alter import alter
from itm_jax.data.bucket import copy_objects, home_of
from itm_jax.data.precomp import in_bucket
from itm_jax.data.precomp import reader as precomp
from itm_jax.errors import InputError
from itm_jax.structs import Split


def read_split(config, name: str) -> Split:
    """Reads a split of the configured source, and alters it where the config says so (`data.alter`)."""
    return alter(read_unaltered(config, name), config.data, train=name == config.data.train_split)


def read_unaltered(config, name: str) -> Split:
    """Reads a split of the configured source as it is."""
    if is_own(config.data.source):
        split = load(config.data.source, "data.source")(config.data, name)
        if not isinstance(split, Split):
            raise InputError(
                f"config.data.source={config.data.source}: returned {type(split).__name__} for {name}; a data source "
                "returns an itm_jax.structs.Split"
            )
        return split
    if config.data.source == "scenes":
        from itm_jax.data.scenes import world as scenes

        return scenes.make_split(config.data.scenes, name)
    if config.data.source == "tfds":
        from itm_jax.data.tfds import reader as tfds_reader

        return tfds_reader.read_split(local_directory(config.data), name)
    split = precomp.read_split(local_place(config.data, name), name, pairing=config.data.pairing)
    assert split is not None  # defects are strict: the first one is raised
    return split


def local_place(data: Any, split: str) -> str | precomp.Place:
    """Returns where the files of a split lie: `data.dir`, or a copy of them where it lies in a bucket.

    Args:
        data: `config.data` of a `precomp` directory.
        split: the name of the split.

    Raises:
        InputError: the bucket cannot be read or has no such split, or the local disk has no room.
    """
    return in_bucket.place_of(data, split) if is_url(data.dir or "") else data.dir


def local_directory(data: Any) -> str:
    """Returns where a TFDS data set lies: `data.dir`, or a whole copy of it where it lies in a bucket.

    Raises:
        InputError: the bucket cannot be read or is empty, or the local disk has no room.
    """
    if not is_url(data.dir or ""):
        return data.dir
    bucket = Bucket(data.dir)
    objects, home = bucket.objects(), home_of(bucket, data, "all")
    if not objects:
        raise InputError(f"{bucket.url}: no objects there; pass the address of a TFDS data set")
    copy_objects(bucket, home, objects, data.cache_gb)
    return str(home)


def read_splits(config, names: Sequence[str]) -> list[Split]:
    """Reads several splits of one data set; it is an InputError where their features differ in width."""
    splits = [read_split(config, name) for name in names]
    for other in splits[1:]:
        first = splits[0]
        if other.features.shape[-1] != first.features.shape[-1]:
            raise InputError(
                f"{other.source}: features are {other.features.shape[-1]} wide, but those of {first.source} are "
                f"{first.features.shape[-1]} wide; extract both in the same way"
            )
    return splits
