"""Validate a config and its data set before training: every defect by file and row on stdout, their number on stderr.

    python -m itm_jax.check --config=configs/afa_f30k.py --config.data.dir=DIR
    python -m itm_jax.check --config=configs/afa_f30k.py --config.data.dir=DIR --workdir=runs/f30k   (also the workdir)

It reads every byte of the features once. Exit code 0: no defects; 2: there are some.
"""

import dataclasses
import json
import sys

from absl import flags
from ml_collections import config_flags

from itm_jax.cli import commands
from itm_jax.errors import InputError
from itm_jax.terminal import say

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "config file (Python with get_config())", lock_config=True, flag_values=FLAGS
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "directory of the run; if it is set, it is checked too", flag_values=FLAGS
)
_JSON = flags.DEFINE_bool(
    "json", False, "print each defect as a JSON object: path, where, kind, text", flag_values=FLAGS
)


def main() -> None:
    """Flags -> the list of defects."""
    workdir = commands.directory("workdir", _WORKDIR.value) if _WORKDIR.value else None
    config = commands.config_of(_CONFIG, FLAGS)
    say("checking the config, the data and the text encoder")
    from itm_jax.checks.run import check, describe

    defects, splits = check(config, workdir)
    if _JSON.value:
        for defect in defects.records:
            print(json.dumps(dataclasses.asdict(defect)))
        for (path, kind, text), count in defects.more.items():
            print(json.dumps({"path": path, "where": f"{count} more", "kind": kind, "text": text}))
    else:
        print("\n".join([*(defects.lines or [describe(split) for split in splits]), *defects.notes]))
        if not defects.count:
            images, captions = sum(s.num_images for s in splits), sum(len(s.captions) for s in splits)
            where = config.data.dir if config.data.source in ("precomp", "tfds") else config.data.source
            print(f"no defects in {where}: {len(splits)} splits, {images:,} images, {captions:,} captions")
    if defects.count:
        raise InputError(f"{defects.count} defect{'s' * (defects.count > 1)}")


if __name__ == "__main__":
    sys.exit(commands.start(sys.modules[__name__], sys.argv))
