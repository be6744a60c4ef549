"""A config file that reads the config of a finished run: `--config=itm_jax/config_of_run.py:WORKDIR`."""

import pathlib

from itm_jax import config as config_lib


def get_config(workdir: str):
    """The config of the run in `workdir`."""
    return config_lib.read_json(pathlib.Path(workdir).expanduser() / "config.json")
