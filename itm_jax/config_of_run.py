"""A config file that reads the config of a run: `--config=itm_jax/config_of_run.py:WORKDIR`."""

import pathlib

import ml_collections

from itm_jax import config as config_lib


def get_config(workdir: str) -> ml_collections.ConfigDict:
    """The config of the run in `workdir`."""
    return config_lib.read_json(pathlib.Path(workdir).expanduser() / "config.json")
