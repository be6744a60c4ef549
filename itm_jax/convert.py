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
_SPLITS = flags.DEFINE_list("splits", None, "splits to convert, default: all in the directory", flag_values=FLAGS)
_PARSER = flags.DEFINE_string(
    "parser", "en_core_web_sm", "dependencies: name or directory of a spaCy pipeline", flag_values=FLAGS
)
_NAME = flags.DEFINE_string(
    "name", None, "tfds: name of the data set, default: the name of the --precomp directory", flag_values=FLAGS
)
_PAIRING = flags.DEFINE_enum(
    "pairing",
    "order",
    ["order", "ids"],
    "tfds: what says which captions belong to an image, the order of the files or {split}_ids.txt",
    flag_values=FLAGS,
)


def main(word: str) -> None:
    """Flags -> one conversion; `word` is the form to convert to, or what to add."""
    precomp = _required(_PRECOMP, "the directory with {split}_ims.npy")
    if word == "dependencies":
        from itm_jax.data.precomp.dependencies import load_parser, write_dependencies

        written = write_dependencies(precomp, _SPLITS.value, load_parser(_PARSER.value))
        print("\n".join(f"written: {path}" for path in written))
        return
    out = _required(_OUT, "the directory to write to")
    from itm_jax.data.tfds.builder import build

    signal.signal(signal.SIGTERM, _terminate)
    path = build(precomp, out, splits=_SPLITS.value, name=_NAME.value or "", pairing=_PAIRING.value)
    print(f"written: {path}\ntrain from it with --config.data.source={word} --config.data.dir={path}")


def _required(flag: flags.FlagHolder, what: str) -> str:
    """The value of a flag that must be set; `what` describes it in the error."""
    if not flag.value:
        raise InputError(f"--{flag.name}: missing; pass --{flag.name}=DIR, {what}")
    return flag.value


def _terminate(*_):
    raise TerminatedError("stopped by SIGTERM; nothing was kept, run the same command again")


if __name__ == "__main__":
    sys.exit(commands.start(sys.modules[__name__], sys.argv))
