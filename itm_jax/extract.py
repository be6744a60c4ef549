"""Extract region features of a folder of images, with its captions: a data set to train on, in SCAN's form.

    python -m itm_jax.extract --images=DIR --captions=FILE --out=DIR
    python -m itm_jax.extract --images=DIR --captions=FILE --out=DIR --backbone=vit:openai/clip-vit-base-patch32
    python -m itm_jax.extract --images=DIR --captions=FILE --out=DIR --shard=0/8

FILE is a COCO JSON, a Karpathy JSON, a Flickr token file, a CSV or JSONL. It says which split an image is in, or
--split_lists does, or dev and test are drawn. After any stop the same command continues. On several machines each
extracts a --shard of the images, and the same command without --shard puts the data set together.
--form=array_record writes ArrayRecord files in place of SCAN's form.
"""

import os
import pathlib
import shutil
import sys
import warnings

from absl import flags

from itm_jax.cli import commands
from itm_jax.errors import InputError

SMALLEST, LARGEST = 32, 4096  # sides of the squares
FLAGS = flags.FlagValues()


def _string(name: str, default: str | None, text: str) -> flags.FlagHolder:
    return flags.DEFINE_string(name, default, text, flag_values=FLAGS)


_IMAGES = _string("images", None, "folder of images")
_CAPTIONS = _string("captions", None, "file of captions: COCO JSON, Karpathy JSON, Flickr token file, CSV or JSONL")
_OUT = _string("out", None, "directory to write the data set to")
_BACKBONE = _string(
    "backbone", "efficientnet-lite0", "efficientnet-lite0, efficientnet-lite2, vit:CHECKPOINT or resnet:CHECKPOINT"
)
_BOXES = _string("boxes", "layout", "layout, detector:CHECKPOINT (extra `detect`), or a JSONL file of boxes")
_REGIONS = flags.DEFINE_integer("regions", 36, "regions of an image", lower_bound=1, upper_bound=100, flag_values=FLAGS)
_SIZES = flags.DEFINE_list(
    "sizes", None, "sides of the squares to which an image is resized; the features are the mean", flag_values=FLAGS
)
_SPLIT_LISTS = flags.DEFINE_list(
    "split_lists", [], "train=FILE,dev=FILE,test=FILE: files with names of images, one per line", flag_values=FLAGS
)
_DRAW = flags.DEFINE_list("draw", [], "dev=N,test=N: how many images to draw; the rest is train", flag_values=FLAGS)
_SEED = flags.DEFINE_integer("seed", 0, "seed of the draw", flag_values=FLAGS)
_PER_IMAGE = flags.DEFINE_integer(
    "captions_per_image", None, "take the first N captions of each image", lower_bound=1, flag_values=FLAGS
)
_SHARD = _string("shard", None, "i/n: extract only part i of n, with i from 0 to n - 1")
_ON_ERROR = flags.DEFINE_enum(
    "on_error", "stop", ["stop", "skip"], "an image that cannot be used: stop, or leave it out", flag_values=FLAGS
)
_FORM = flags.DEFINE_enum(
    "form",
    "precomp",
    ["precomp", "array_record"],
    "form of the data set: SCAN's files, or ArrayRecord",
    flag_values=FLAGS,
)
_BATCH = flags.DEFINE_integer(
    "batch", None, "images at a time on the devices, default: what the backbone needs", lower_bound=1, flag_values=FLAGS
)
_THREADS = flags.DEFINE_integer(
    "threads", min(16, 2 * (os.cpu_count() or 1)), "images decoded at a time", lower_bound=1, flag_values=FLAGS
)


def main() -> None:
    """Flags -> one extraction."""
    from itm_jax.terminal import say
    from itm_jax.vision.command import Settings, extract

    warnings.filterwarnings("ignore", category=RuntimeWarning, module="PIL")
    say("reading the captions, loading the backbone")
    out = _directory("out", _OUT.value, "the directory to write to")
    array_record = _FORM.value == "array_record"
    if array_record and _array_record(out).exists():
        say(f"{out}: already extracted; remove it, or pass another --out, to do it again")
        return
    complete = extract(
        Settings(
            images=_directory("images", _IMAGES.value, "the folder of images"),
            captions=_directory("captions", _CAPTIONS.value, "the file of captions"),
            out=out / "precomp" if array_record else out,
            backbone=_BACKBONE.value,
            boxes=_BOXES.value,
            regions=_REGIONS.value,
            sizes=tuple(_number("sizes", size, SMALLEST, LARGEST) for size in _SIZES.value or ()),
            split_lists={k: pathlib.Path(v).expanduser() for k, v in _pairs("split_lists", _SPLIT_LISTS.value).items()},
            draw={k: _number("draw", v) for k, v in _pairs("draw", _DRAW.value).items()},
            seed=_SEED.value,
            captions_per_image=_PER_IMAGE.value,
            shard=_shard(_SHARD.value),
            skip=_ON_ERROR.value == "skip",
            batch=_BATCH.value,
            threads=_THREADS.value,
        )
    )
    if complete and array_record:
        from itm_jax.data.tfds.builder import build

        say(f"written: {build(str(out / 'precomp'), out, name=_array_record(out).parent.name)}")
        shutil.rmtree(out / "precomp")
    elif complete:
        say(f"written: {out}\ncheck it with python -m itm_jax.check --config=CONFIG --config.data.dir={out}")


def _array_record(out: pathlib.Path) -> pathlib.Path:
    """Where the data set in ArrayRecord goes."""
    from itm_jax.data.tfds.builder import default_name
    from itm_jax.data.tfds.reader import VERSION

    return out / (default_name(str(out)) or "images") / VERSION


def _directory(name: str, value: str | None, what: str) -> pathlib.Path:
    if not value:
        raise InputError(f"--{name}: missing; it is {what}")
    return commands.directory(name, value)


def _number(name: str, value: str, least: int = 0, most: int = 10**9) -> int:
    if not value.isdecimal() or not least <= int(value) <= most:
        raise InputError(f"--{name}: {value!r} is no whole number from {least} to {most}")
    return int(value)


def _pairs(name: str, values: list[str]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for (key, equals, value), given in zip(pairs, values, strict=True):
        if not (key.isidentifier() and equals and value):
            raise InputError(f"--{name}: {given!r}; say NAME=VALUE, such as dev={'FILE' if 'list' in name else '1000'}")
    if len({key for key, _, _ in pairs}) < len(pairs):
        raise InputError(f"--{name}: a name is twice in {','.join(values)}")
    return {key: value for key, _, value in pairs}


def _shard(value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    part, slash, parts = value.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        raise InputError(f"--shard={value}: say i/n with i from 0 to n - 1, such as 0/8")
    return int(part), int(parts)


if __name__ == "__main__":
    sys.exit(commands.start(sys.modules[__name__], sys.argv))
