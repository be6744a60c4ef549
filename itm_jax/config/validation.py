"""Validates a config: the values that its fields may have."""

import re
from collections.abc import Iterator
from typing import Any

import ml_collections

from itm_jax.buckets.store import is_url
from itm_jax.config.default import default_config
from itm_jax.config.fields import flatten, nearest_field
from itm_jax.config.model_fields import MODELS, VARIANTS, fields_of
from itm_jax.config.plugins import is_own
from itm_jax.config.ranges import range_problems
from itm_jax.errors import InputError

ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu")  # the keys of modules.bert.ACTIVATIONS
CHOICES = {
    "data.bank": ("auto", "device", "host"),
    "data.pairing": ("order", "ids"),
    "data.source": ("scenes", "precomp", "tfds"),
    "model.name": tuple(MODELS),
    "model.variant": tuple(VARIANTS),
    "model.dtype": ("float32", "bfloat16"),
    "model.selection": ("max", "mean", "gpo"),
    "model.enhancement.text": ("mlp", "linear"),
    "model.enhancement.statistics": ("valid", "all"),
    "model.enhancement.init": ("lecun", "authors"),
    "model.aggregation.variant": ("paper", "official", "official_single"),
    "model.aggregation.pairing": ("similarity", "random"),
    "model.words.graph": ("dense", "sparse"),
    "model.words.activation": ("relu", "none"),
    "model.fusion.gate": ("cosine", "region", "feature"),
    "model.alignment.kind": ("prominent", "cross_attention"),
    "model.alignment.prior": ("lift", "agreement"),
    "model.alignment.sides": ("both", "words", "regions"),
    "model.attention.direction": ("t2i", "i2t"),
    "model.text.encoder": ("bert", "gru"),
    "model.text.cache_dtype": ("float16", "float32"),
    "loss.soft_negatives": ("mixup", "hardest", "none", "hinge"),
    "loss.same_image": ("mask", "keep"),
    "train.logger": ("tensorboard", "wandb", "none"),
}
OWN = ("data.source", "model.name")  # fields that may also be MODULE:NAME
# Fields that are places on this machine.
LOCAL = ("data.cache_dir", "init_from", "eval.ground_truth", "model.text.pretrained", "model.text.vocab")
# A value of the type that each field which may be None has otherwise; those that are missing here are strings.
OPTIONAL = {
    "model.text.dropout": 0.0,
    "optim.text_lr_factor": 0.0,
    "model.attention.temperature": 0.0,
    "model.regions.boxes": True,
    "model.regions.labels": True,
}


def validate(config: ml_collections.ConfigDict) -> None:
    """Raises InputError that names the first invalid field."""
    for problem in problems(config):
        raise InputError(problem)


def problems(config: ml_collections.ConfigDict) -> Iterator[str]:
    """Yields one message for every invalid field. Values are checked only where all names and types are right."""
    known, given = flatten(default_config()), flatten(config)
    sound = True
    for problem in _structure_problems(known, given):
        sound = False
        yield problem
    if sound:
        yield from _value_problems(config, known, given)


def _structure_problems(known: dict[str, Any], given: dict[str, Any]) -> Iterator[str]:
    for name in given:
        if name not in known:
            near = nearest_field(name, default_config())
            yield f"config.{name}: no such field; the nearest known one is config.{near}"
    for name, default in known.items():
        if name not in given:
            yield f"config.{name}: missing; start the config file from itm_jax.config.default_config()"
            continue
        if name == "model.graph.iou" and given[name] is None:  # all pairs
            continue
        if default is None:  # a field that may be None
            default = OPTIONAL.get(name, "")
            if given[name] is None:
                continue
        if not _same_type(given[name], default):
            yield f"config.{name}={given[name]!r}: must be {_type_name(default)}"
        elif isinstance(default, list) and not all(_same_type(x, default[0] if default else "") for x in given[name]):
            yield f"config.{name}={tuple(given[name])!r}: must be a tuple like {tuple(default) or ('name', 'name')}"


def _same_type(value: Any, default: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, int | float):
        return isinstance(value, int | (float if isinstance(default, float) else int))
    return isinstance(value, type(default))


def _type_name(default: Any) -> str:
    names = {bool: "True or False", int: "an integer", float: "a number", str: "a string", list: "a tuple"}
    return names[type(default)]


def _value_problems(config: ml_collections.ConfigDict, known: dict[str, Any], given: dict[str, Any]) -> Iterator[str]:
    for name, choices in CHOICES.items():
        if name in OWN and is_own(given[name]):
            continue
        if given[name] not in choices and not (given[name] is None and known[name] is None):
            yield f"config.{name}={given[name]!r}: must be one of {', '.join(choices)}"
    for name in LOCAL:
        if is_url(given[name] or ""):
            yield f"config.{name}={given[name]!r}: a URL; pass a local path (mount a bucket with gcsfuse, say)"
    yield from range_problems(given)
    augment = config.data.augment
    if abs(augment.word_mask + augment.word_random + augment.word_delete - 1) > 1e-6:
        yield "config.data.augment: word_mask + word_random + word_delete must be 1; they say how a word is touched"
    if config.model.name in MODELS:  # a model of your own is looked at when the config is completed
        yield from model_problems(config)
    if config.loss.function and not is_own(config.loss.function):
        yield f"config.loss.function={config.loss.function!r}: must be MODULE:FUNCTION, a loss of your own"
    if config.data.source == "tfds" and not config.data.dir:
        yield "config.data.dir: not set; pass --config.data.dir=OUT, the data set that itm_jax.convert tfds wrote"
    if config.data.source == "precomp" and not config.data.dir:
        yield ("config.data.dir: not set; pass --config.data.dir=DIR with {split}_ims.npy and {split}_caps.txt")
    if config.data.pairing == "ids" and config.data.source in ("scenes", "tfds"):
        yield f"config.data.pairing='ids': has no effect on config.data.source={config.data.source}; leave it out"
    text = config.model.text
    if text.encoder == "gru" and text.pretrained:
        yield (
            f"config.model.text.pretrained={text.pretrained!r}: has no effect on config.model.text.encoder=gru; leave "
            "it out, or pass --config.model.text.pretrained= (empty) where the config file sets it"
        )
    for name in ("embed_size", "min_count"):
        if text.encoder == "bert" and text[name] != known[f"model.text.{name}"]:
            yield (
                f"config.model.text.{name}={text[name]!r}: has no effect on config.model.text.encoder=bert; "
                "leave it out"
            )
    if not text.trainable and (text.encoder == "gru" or not text.pretrained):
        yield (
            "config.model.text.trainable=False: needs config.model.text.encoder=bert and config.model.text.pretrained; "
            "set both, or leave the field out"
        )
    yield from _shape_problems(config)
    yield from _memory_problems(config)
    buckets = list(config.data.token_buckets)
    if buckets != sorted(set(buckets)) or any(b < 4 for b in buckets):
        yield f"config.data.token_buckets={tuple(buckets)}: must be increasing lengths of at least 4 tokens"


def model_problems(config: ml_collections.ConfigDict) -> Iterator[str]:
    """Yields a message for every setting that does not fit the model of the config; loads a model of your own."""
    model, fields = config.model, fields_of(config.model.name)
    if model.variant in VARIANTS and model.variant not in fields.variants:
        yield f"config.model.variant={model.variant!r}: config.model.name={model.name} has no such variant"
    if config.loss.soft_negatives in ("mixup", "hardest") and not fields.single_vector:
        yield (
            f"config.loss.soft_negatives={config.loss.soft_negatives!r}: needs a model with one vector per item, "
            f"which config.model.name={model.name} is not; set it to none or hinge"
        )
    yield from fields.problems(config)


def _memory_problems(config: ml_collections.ConfigDict) -> Iterator[str]:
    train, text, b = config.train, config.model.text, config.data.batch_size
    for name, set_to in (("text_parts", train.text_parts > 1), ("remat", train.remat)):
        if set_to and not text.trainable:
            yield (
                f"config.train.{name}={train[name]!r}: has no effect on config.model.text.trainable=False; leave it out"
            )
    if train.remat and text.encoder == "gru":
        yield "config.train.remat=True: has no effect on config.model.text.encoder=gru; leave it out"
    if b % max(1, train.text_parts):
        yield (
            f"config.train.text_parts={train.text_parts!r}: config.data.batch_size={b} is no multiple of it; "
            "change one of them"
        )


def _shape_problems(config: ml_collections.ConfigDict) -> Iterator[str]:
    text, data = config.model.text, config.data
    if data.dev_split in ("test", "testall"):
        yield f"config.data.dev_split={data.dev_split!r}: a run must not be selected on a split that reports"
    if not re.fullmatch(r"[\w.-]+", data.name):
        yield f"config.data.name={data.name!r}: must be letters, digits and . _ -; it is part of file names"
    if text.num_heads > 0 and text.hidden_size % text.num_heads:
        yield f"config.model.text.hidden_size={text.hidden_size}: not a multiple of num_heads={text.num_heads}"
    first, last = config.train.profile if len(config.train.profile) == 2 else (1, 0)
    if not (0 < first <= last or first == last == 0):
        yield (
            f"config.train.profile={tuple(config.train.profile)!r}: must be (first step, last step), "
            "or (0, 0) for no trace"
        )
    if text.activation not in ACTIVATIONS:
        yield f"config.model.text.activation={text.activation!r}: must be one of {', '.join(ACTIVATIONS)}"


def split_problem(config: Any) -> str | None:
    """Returns a message where train, dev and test are not three different splits, else None."""
    used = (config.data.train_split, config.data.dev_split, config.data.test_split)
    if len(set(used)) == 3:
        return None
    return (
        f"config.data: train_split={used[0]}, dev_split={used[1]}, test_split={used[2]}: must be three different "
        "splits; dev selects, test reports"
    )
