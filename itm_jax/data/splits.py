"""Reads the splits of the configured data source."""

from collections.abc import Sequence

from itm_jax.config.plugins import is_own, load
from itm_jax.data.alter import alter
from itm_jax.data.precomp import reader as precomp
from itm_jax.errors import InputError
from itm_jax.structs import Split


def read_split(config, name: str) -> Split:
    """A split of the configured source, altered where the config says so."""
    return alter(_read(config, name), config.data, train=name == config.data.train_split)


def _read(config, name: str) -> Split:
    if is_own(config.data.source):
        return load(config.data.source, "data.source")(config.data, name)
    if config.data.source == "scenes":
        from itm_jax.data.scenes import world as scenes

        return scenes.make_split(config.data.scenes, name)
    if config.data.source == "tfds":
        from itm_jax.data.tfds import reader as tfds_reader

        return tfds_reader.read_split(config.data.dir, name)
    return precomp.read_split(config.data.dir, name)


def read_splits(config, names: Sequence[str]) -> list[Split]:
    """Opens several splits of one data set; features of different widths are an InputError."""
    splits = [read_split(config, name) for name in names]
    first = splits[0]
    for other in splits[1:]:
        if other.features.shape[-1] != first.features.shape[-1]:
            raise InputError(
                f"{other.source}: features are {other.features.shape[-1]} wide, "
                f"those of {first.source} {first.features.shape[-1]}"
            )
    return splits
