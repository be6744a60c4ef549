"""Convert other forms of a data set to and from ours.

    python -m itm_jax.convert tfds --precomp=DIR --out=OUT
    python -m itm_jax.convert tfds --precomp=DIR --out=OUT --splits=train,dev,test --name=f30k

`tfds` writes ArrayRecord files through TFDS, without TensorFlow, to OUT/name/1.0.0; train from them with
--config.data.source=tfds --config.data.dir=OUT.
"""

import signal
import sys

from absl import flags

from itm_jax import commands
from itm_jax.errors import InputError, TerminatedError

WORDS = ("tfds",)
_PRECOMP = flags.DEFINE_string("precomp", None, "directory with {split}_ims.npy, or the one above its precomp/")
_OUT = flags.DEFINE_string("out", None, "directory to write the data set to, as OUT/name/1.0.0")
_SPLITS = flags.DEFINE_list("splits", None, "splits to convert, default: all that are there")
_NAME = flags.DEFINE_string("name", None, "name of the data set, default: the one of the --precomp directory")


def main(word: str) -> None:
    """Flags -> one conversion; `word` is the form to convert to."""
    for flag, what in ((_PRECOMP, "the directory with {split}_ims.npy"), (_OUT, "the directory to write to")):
        if not flag.value:
            raise InputError(f"--{flag.name}: not given; pass --{flag.name}=DIR, {what}")
    from itm_jax.data.tfds_builder import build

    signal.signal(signal.SIGTERM, _terminate)
    path = build(_PRECOMP.value, _OUT.value, splits=_SPLITS.value, name=_NAME.value or "")
    print(f"written: {path}\ntrain from it with --config.data.source={word} --config.data.dir={path}")


def _terminate(*_):
    raise TerminatedError("stopped by SIGTERM; nothing was kept, run the same command again")


if __name__ == "__main__":
    sys.exit(commands.run(main, words=WORDS))
