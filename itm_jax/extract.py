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
import signal
import sys
import warnings

from absl import flags
from etils import epath

from itm_jax.cli import commands, values
from itm_jax.errors import InputError, TerminatedError

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
_SEED = flags.DEFINE_integer("seed", 0, "seed of the draw", lower_bound=0, flag_values=FLAGS)
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
    from itm_jax.vision.run import extract, prepare

    warnings.filterwarnings("ignore", category=RuntimeWarning, module="PIL")
    signal.signal(signal.SIGTERM, _terminate)
    say("reading the captions, loading the backbone")
    out = _path(_OUT, "DIR", "the directory to write to")
    if _FORM.value == "array_record":
        return _extract_array_record(out)
    if extract(prepare(_settings(out))):
        say(f"written: {out}\ncheck it with python -m itm_jax.check --config=CONFIG --config.data.dir={out}")


def _settings(out: pathlib.Path):
    from itm_jax.vision.run import Settings

    return Settings(
        images=_path(_IMAGES, "DIR", "the folder of images"),
        captions=_path(_CAPTIONS, "FILE", "the file of captions"),
        out=out,
        backbone=_BACKBONE.value,
        boxes=_BOXES.value,
        regions=_REGIONS.value,
        sizes=tuple(_number("sizes", size, SMALLEST, LARGEST) for size in _SIZES.value or ()),
        split_lists={k: commands.file("split_lists", v) for k, v in _pairs("split_lists", _SPLIT_LISTS.value).items()},
        draw={k: _number("draw", v) for k, v in _pairs("draw", _DRAW.value).items()},
        seed=_SEED.value,
        captions_per_image=_PER_IMAGE.value,
        shard=values.shard(_SHARD.value) if _SHARD.value is not None else None,
        skip=_ON_ERROR.value == "skip",
        batch=_BATCH.value,
        threads=_THREADS.value,
    )


def _extract_array_record(out: pathlib.Path) -> None:
    """Extracts to OUT/precomp, and makes ArrayRecord files of it, in OUT/NAME/VERSION."""
    from itm_jax.data.tfds.builder import build, check_split_name, default_name
    from itm_jax.data.tfds.reader import VERSION, open_dataset
    from itm_jax.terminal import say
    from itm_jax.vision.extraction import OTHER, SKIPPED
    from itm_jax.vision.run import extract, prepare

    name = default_name(str(out))
    name = name if name[:1].isalpha() else f"images_{name}".rstrip("_")
    precomp, path = out / "precomp", out / name / VERSION
    prepared = prepare(_settings(precomp))
    for split in prepared.plan.splits:
        check_split_name(split)
    if path.exists():
        record = next(iter(open_dataset(epath.Path(path))[1].values())).get("extractor") or {}
        if record.get("plan") != prepared.plan.fingerprint():
            raise InputError(f"{path}: holds a data set, which {OTHER}")
        say(f"{path}: already extracted")
    elif extract(prepared):
        build(str(precomp), out, name=name)
        if (precomp / SKIPPED).exists():
            (precomp / SKIPPED).replace(out / SKIPPED)
        say(f"written: {path}\ntrain from it with --config.data.source=tfds --config.data.dir={out}")
    else:
        return  # a shard
    shutil.rmtree(precomp, ignore_errors=True)


def _path(flag: flags.FlagHolder, kind: str, what: str) -> pathlib.Path:
    return commands.directory(flag.name, commands.required(flag, kind, what))


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


def _terminate(*_):
    raise TerminatedError("stopped by SIGTERM; the same command continues")


if __name__ == "__main__":
    sys.exit(commands.start(sys.modules[__name__], sys.argv))
