"""Export a trained model to a folder that itm_jax.load reads on any machine; or export its embeddings.

    python -m itm_jax.export --run=runs/mine --out=exported
    python -m itm_jax.export --run=runs/mine --out=exported --dtype=bfloat16 --license=apache-2.0 --push=me/my-model
    python -m itm_jax.export embeddings --model=exported --images=DIR --out=images.parquet
    python -m itm_jax.export embeddings --model=exported --data=DIR --split=test --out=images.npy
    python -m itm_jax.export embeddings --model=exported --captions=captions.txt --out=captions.parquet

The folder holds the weights (safetensors), the config, the tokenizer, the encodings of label names, what extracted the
features, the results, and a model card, README.md. It needs neither the run nor its data nor a network. --push also
uploads it to the Hugging Face hub; this needs a token, in HF_TOKEN or from `hf auth login`.

`embeddings` writes ids and vectors of the images of a folder, of the images of a split of a data set, or of the lines
of a text file. A model that keeps several vectors of an item (CPFEAN, SCAN, late interaction) writes all of them.
docs/models.md says how to read the files into FAISS, Qdrant and LanceDB.
"""

import sys
from collections.abc import Sequence

from absl import flags

from itm_jax.cli import commands, values
from itm_jax.errors import InputError
from itm_jax.terminal import say

WORDS = ("model", "embeddings")
FLAGS = flags.FlagValues()
_RUN = flags.DEFINE_string("run", None, "workdir of the run", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", None, "folder to write to; embeddings: file, .parquet or .npy", flag_values=FLAGS)
_DTYPE = flags.DEFINE_enum(
    "dtype",
    "float32",
    ["float32", "bfloat16", "float16"],
    "type of the weights, float32 or bfloat16; embeddings: of the vectors, float32 or float16",
    flag_values=FLAGS,
)
_LICENSE = flags.DEFINE_string(
    "license", None, "licence for the model card, as the hub names it, such as apache-2.0", flag_values=FLAGS
)
_PUSH = flags.DEFINE_string(
    "push", None, "USER/NAME on the Hugging Face hub to upload the folder to", flag_values=FLAGS
)
_PRIVATE = flags.DEFINE_bool("private", False, "whether a new repository on the hub is private", flag_values=FLAGS)
_MODEL = flags.DEFINE_string("model", None, "embeddings: run, exported folder or hub name", flag_values=FLAGS)
_IMAGES = flags.DEFINE_string("images", None, "embeddings: folder of images", flag_values=FLAGS)
_DATA = flags.DEFINE_string("data", None, "embeddings: directory of a data set", flag_values=FLAGS)
_SPLIT = flags.DEFINE_string("split", "test", "embeddings: split of --data", flag_values=FLAGS)
_CAPTIONS = flags.DEFINE_string("captions", None, "embeddings: file with a caption in each line", flag_values=FLAGS)
_ON_ERROR = flags.DEFINE_enum(
    "on_error",
    "stop",
    ["stop", "skip"],
    "embeddings: an image file that cannot be used: stop, or leave it out",
    flag_values=FLAGS,
)
_BACKBONE = flags.DEFINE_string(
    "backbone", None, "embeddings: where the backbone of the extractor lies now, KIND:DIR", flag_values=FLAGS
)
OF_A_MODEL, OF_EMBEDDINGS = (
    ("run", "license", "push", "private"),
    ("model", "images", "data", "split", "captions", "on_error"),
)
READ_BY = dict.fromkeys(OF_A_MODEL, ("model",)) | dict.fromkeys((*OF_EMBEDDINGS, "backbone"), ("embeddings",))


def arguments(argv: list[str]) -> list[str]:
    """Puts the word `model` before the flags where no word stands."""
    first = argv[1] if len(argv) > 1 else ""
    return argv if first in WORDS or not first.startswith("-") else [argv[0], WORDS[0], *argv[1:]]


def main(word: str) -> None:
    """Flags -> one exported model, or one file of embeddings."""
    values.only_for(FLAGS, word, READ_BY)
    if word == "embeddings":
        return _embeddings()
    run = commands.required(_RUN, "DIR", "the workdir of the run")
    out = commands.directory("out", commands.required(_OUT, "DIR", "the folder to write to"))
    if _DTYPE.value == "float16":
        raise InputError("--dtype=float16: is for embeddings; a model takes float32 or bfloat16")
    if _PRIVATE.value and not _PUSH.value:
        raise InputError("--private: has no effect without --push=USER/NAME; leave it out")
    if _PUSH.value:
        from itm_jax.hub.push import check_push

        check_push(_PUSH.value)
    from itm_jax.hub.load import load

    model = load(run)
    model.save(out, dtype=_DTYPE.value, license=_LICENSE.value, name=_PUSH.value)
    say(f'written: {out}\nload it with itm_jax.load("{_OUT.value}")')
    if _PUSH.value:
        from itm_jax.hub.push import push

        say(f"uploaded: {push(out, _PUSH.value, private=_PRIVATE.value)}")


def _embeddings() -> None:
    from itm_jax.hub import gallery
    from itm_jax.hub.embeddings import check_file, write_embeddings
    from itm_jax.hub.load import load

    name = commands.required(_MODEL, "DIR", "a run, an exported folder or a hub name")
    out = commands.file("out", commands.required(_OUT, "FILE", "the file to write, .parquet or .npy"))
    sources: Sequence[tuple[str, str | None]] = [
        ("images", _IMAGES.value), ("data", _DATA.value), ("captions", _CAPTIONS.value)
    ]  # fmt: skip
    if len([flag for flag, value in sources if value]) != 1:
        raise InputError("--images, --data, --captions: pass one of them, what is to be encoded")
    if FLAGS["on_error"].present and not _IMAGES.value:
        raise InputError("--on_error: has an effect with --images alone; leave it out")
    if _DTYPE.value == "bfloat16":
        raise InputError("--dtype=bfloat16: is for models; embeddings take float32 or float16")
    check_file(out)
    model = load(name, backbone=_BACKBONE.value)
    if _IMAGES.value:
        folder, skip = commands.directory("images", _IMAGES.value), _ON_ERROR.value == "skip"
        items = gallery.of_images(model, folder, skip=skip)
    elif _DATA.value:
        items = gallery.of_data(model, commands.directory("data", _DATA.value), _SPLIT.value)
    else:
        items = gallery.of_captions(model, commands.file("captions", _CAPTIONS.value or ""))
    count = write_embeddings(model, items, out, _DTYPE.value)
    say(f"written: {out}: {count:,} {items.kind}, model {model.fingerprint}")


if __name__ == "__main__":
    sys.exit(commands.start(sys.modules[__name__], sys.argv))
