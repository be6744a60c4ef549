"""Convert other forms of a data set to and from ours, and add to it what it lacks.

    python -m itm_jax.convert tfds --precomp=DIR --out=OUT
    python -m itm_jax.convert tfds --precomp=DIR --out=OUT --splits=train,dev,test --name=f30k
    python -m itm_jax.convert dependencies --precomp=DIR

`tfds` writes ArrayRecord files through TFDS, without TensorFlow, to OUT/name/1.0.0; train from them with
--config.data.source=tfds --config.data.dir=OUT.
`dependencies` parses the captions with spaCy (extra `spacy`, and a pipeline with a parser) and writes
{split}_dependencies.json beside them, for --config.model.words.graph=sparse.
"""

import signal
import sys

from absl import flags

from itm_jax.cli import commands
from itm_jax.errors import InputError, TerminatedError

WORDS = ("tfds", "dependencies")
FLAGS = flags.FlagValues()
_PRECOMP = flags.DEFINE_string(
    "precomp", None, "directory with {split}_ims.npy, or the one above its precomp/", flag_values=FLAGS
)
_OUT = flags.DEFINE_string(
    "out", None, "tfds: directory to write the data set to, as OUT/name/1.0.0", flag_values=FLAGS
)
_SPLITS = flags.DEFINE_list("splits", None, "splits to convert, default: all that are there", flag_values=FLAGS)
_PARSER = flags.DEFINE_string(
    "parser", "en_core_web_sm", "dependencies: name or directory of a spaCy pipeline", flag_values=FLAGS
)
_NAME = flags.DEFINE_string(
    "name", None, "tfds: name of the data set, default: the one of the --precomp directory", flag_values=FLAGS
)


def main(word: str) -> None:
    """Flags -> one conversion; `word` is the form to convert to, or what to add."""
    needed = [(_PRECOMP, "the directory with {split}_ims.npy"), (_OUT, "the directory to write to")]
    for flag, what in needed if word == "tfds" else needed[:1]:
        if not flag.value:
            raise InputError(f"--{flag.name}: not given; pass --{flag.name}=DIR, {what}")
    if word == "dependencies":
        from itm_jax.data.precomp.dependencies import load_parser, write_dependencies

        written = write_dependencies(_PRECOMP.value, _SPLITS.value, load_parser(_PARSER.value))
        print("\n".join(f"written: {path}" for path in written))
        return
    from itm_jax.data.tfds.builder import build

    signal.signal(signal.SIGTERM, _terminate)
    path = build(_PRECOMP.value, _OUT.value, splits=_SPLITS.value, name=_NAME.value or "")
    print(f"written: {path}\ntrain from it with --config.data.source={word} --config.data.dir={path}")


def _terminate(*_):
    raise TerminatedError("stopped by SIGTERM; nothing was kept, run the same command again")


if __name__ == "__main__":
    sys.exit(commands.start(sys.modules[__name__], sys.argv))
