"""Convert other forms of a data set to and from ours.

    python -m itm_jax.convert tfds --precomp=DIR --out=OUT --name=f30k
    python -m itm_jax.convert tfds --precomp=DIR --out=OUT --name=coco --splits=train,dev,testall

`tfds` writes ArrayRecord files through TFDS, without TensorFlow; train on them with --config.data.source=tfds
--config.data.dir=OUT.
"""

import contextlib
import pathlib
import sys

from absl import flags

from itm_jax import commands
from itm_jax.errors import InputError

WORDS = ("tfds",)
_PRECOMP = flags.DEFINE_string("precomp", None, "directory with {split}_ims.npy, {split}_caps.txt, ...")
_OUT = flags.DEFINE_string("out", None, "directory to build in; the data set becomes OUT/NAME/1.0.0")
_NAME = flags.DEFINE_string("name", None, "name of the data set: lower case letters, digits and _")
_SPLITS = flags.DEFINE_list("splits", ["train", "dev", "test"], "splits to convert")


def main(word: str) -> None:
    """Flags -> conversion."""
    for flag in (_PRECOMP, _OUT, _NAME):
        if not flag.value:
            raise InputError(f"--{flag.name}: not given")
    from itm_jax.data.tfds_builder import build

    with contextlib.redirect_stdout(sys.stderr):  # TFDS reports its progress with print
        path = build(_PRECOMP.value, _SPLITS.value, name=_NAME.value, out=str(pathlib.Path(_OUT.value).expanduser()))
    print(f"{word}: {path}; use it with --config.data.source=tfds --config.data.dir={path}")


if __name__ == "__main__":
    sys.exit(commands.run(main, words=WORDS))
