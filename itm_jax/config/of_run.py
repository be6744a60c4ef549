"""Reads the config of a run, for `--config=itm_jax/config/of_run.py:WORKDIR`."""

import pathlib

import ml_collections

from itm_jax.buckets.store import RemoteFile, is_url
from itm_jax.config.fields import read_json


def get_config(workdir: str) -> ml_collections.ConfigDict:
    """Returns the config of the run in `workdir`, a local path or an address in a bucket."""
    if is_url(workdir):
        return read_json(RemoteFile(f"{workdir.rstrip('/')}/config.json"))
    return read_json(pathlib.Path(workdir).expanduser() / "config.json")
