"""Validate a config and its data set before training: every defect by file and row on stdout, their number on stderr.

    python -m itm_jax.check --config=configs/afa_f30k.py --config.data.dir=DIR
    python -m itm_jax.check --config=configs/afa_f30k.py --config.data.dir=DIR --workdir=runs/f30k   (also the workdir)

Reads every byte of the features once. Exit code 0: no defects; 2: there are some.
"""

import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from itm_jax.cli import commands
from itm_jax.errors import InputError

_CONFIG = config_flags.DEFINE_config_file("config", None, "config file (Python with get_config())", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "directory of the run, checked too where it is given")


def main() -> None:
    """Flags -> the list of defects."""
    config = commands.config_of(_CONFIG)
    from itm_jax.checks.run import check, describe

    defects, splits = check(config, pathlib.Path(_WORKDIR.value).expanduser() if _WORKDIR.value else None)
    for line in defects.lines:
        print(line)
    if defects.count:
        raise InputError(f"{defects.count} defects")
    for split in splits:
        print(describe(split))


if __name__ == "__main__":
    sys.exit(commands.run(main))
