"""The default config, what its fields decide of one another, and the text forms it takes (config.json)."""

import difflib
import json
import pathlib
from typing import Any

import ml_collections
from ml_collections import config_dict

from itm_jax.errors import InputError

# What `model.variant` decides where a field is not set.
VARIANTS = {
    "paper": {
        "model.enhancement.text": "mlp",
        "model.enhancement.statistics": "valid",
        "model.aggregation.variant": "paper",
        "loss.soft_negatives": "mixup",
        "loss.same_image": "mask",
    },
    "official": {
        "model.enhancement.text": "linear",
        "model.enhancement.statistics": "all",
        "model.aggregation.variant": "official",
        "loss.soft_negatives": "hinge",
        "loss.same_image": "keep",
    },
}
# Fields that change what a run prints or how fast it runs, not what it computes: a workdir accepts another value.
FREE_FIELDS = (
    "data.cache_dir",
    "data.dir",
    "data.eval_batch_size",
    "data.prefetch",
    "eval.tile",
    "train.log_every",
    "train.max_skipped",
)


def default_config() -> ml_collections.ConfigDict:
    """The recipe of AFA's authors (scripts/train_f30k.sh) on Flickr30K; every config file starts from this."""
    c = ml_collections.ConfigDict()
    c.seed = 0
    c.init_from = config_dict.placeholder(str)  # workdir of a finished run whose best parameters start this one

    c.data = ml_collections.ConfigDict()
    c.data.source = "precomp"
    c.data.name = "f30k"  # the `dataset` of results.json
    c.data.dir = config_dict.placeholder(str)
    c.data.train_split = "train"
    c.data.dev_split = "dev"
    c.data.test_split = "test"
    c.data.batch_size = 128
    c.data.eval_batch_size = 256
    c.data.max_tokens = 96  # longer captions are cut, [SEP] kept
    c.data.token_buckets = (16, 24, 32, 40, 48, 64)  # padded lengths; captions above the last go to max_tokens
    c.data.prefetch = 4  # batches read ahead
    c.data.cache_dir = config_dict.placeholder(str)  # default: $XDG_CACHE_HOME/itm_jax
    c.data.scenes = ml_collections.ConfigDict(
        {"train": 2000, "dev": 500, "test": 500, "regions": 16, "features": 128, "noise": 1.5, "seed": 0}
    )
    c.data.augment = ml_collections.ConfigDict(
        {"region_drop": 0.2, "word_touch": 0.2, "word_mask": 0.5, "word_random": 0.1, "word_delete": 0.4}
    )

    c.model = ml_collections.ConfigDict()
    c.model.name = "afa"
    c.model.variant = "paper"  # official: as the authors' code; decides the fields marked (variant) that are not set
    c.model.width = 1024  # joint width d
    c.model.dtype = "float32"  # compute; parameters and losses stay float32
    c.model.selection = "max"
    c.model.enhancement = ml_collections.ConfigDict()
    c.model.enhancement.text = config_dict.placeholder(str)  # (variant) mlp beside the linear layer, or linear alone
    c.model.enhancement.statistics = config_dict.placeholder(str)  # (variant) BatchNorm over valid rows, or all
    c.model.aggregation = ml_collections.ConfigDict(
        {"enabled": True, "ratio": 0.05, "pairing": "similarity", "shuffle": True}
    )
    c.model.aggregation.variant = config_dict.placeholder(str)  # (variant)
    c.model.text = ml_collections.ConfigDict()
    c.model.text.encoder = "bert"  # gru: a BiGRU from scratch, whose states are model.width wide
    c.model.text.embed_size = 300  # (gru) width of the word embeddings
    c.model.text.min_count = 4  # (gru) rarer words of the train captions are [UNK]
    c.model.text.pretrained = config_dict.placeholder(str)  # (bert) directory or hub name; None: from scratch
    c.model.text.trainable = True  # False: states encoded once and cached
    c.model.text.cache_dtype = "float16"
    # None: the WordPiece vocabulary of the checkpoint, or of scenes; for gru the words of the train captions. A gru run
    # keeps its own in WORKDIR/vocab.txt and reads it from there ever after.
    c.model.text.vocab = config_dict.placeholder(str)
    c.model.text.vocab_size = 0  # filled in from the vocabulary or the checkpoint, as are the next ones for the latter
    c.model.text.hidden_size = 256  # (bert), as all that follow but dropout
    c.model.text.num_layers = 4
    c.model.text.num_heads = 4
    c.model.text.intermediate_size = 1024
    c.model.text.max_positions = 128
    c.model.text.type_vocab_size = 2
    c.model.text.activation = "gelu"
    c.model.text.layer_norm_eps = 1e-12
    c.model.text.dropout = config_dict.placeholder(float)  # None: the checkpoint's, 0.1 from scratch, 0 for gru

    c.loss = ml_collections.ConfigDict()
    c.loss.margin = 0.2
    # (variant) terms 3-4: mixup; hardest: the negative itself; none: dropped; hinge: terms 1-2 again, half the margin
    c.loss.soft_negatives = config_dict.placeholder(str)
    c.loss.tau = 1.0
    c.loss.fold = True
    c.loss.stop_gradient = False
    c.loss.same_image = config_dict.placeholder(str)  # (variant) mask, or keep other captions of an image as negatives
    c.loss.num_negatives = 0  # negatives per query; 0: all of the batch
    c.loss.warmup_epochs = 1.0  # epochs in which terms 1-2 sum over all negatives

    c.optim = ml_collections.ConfigDict()
    c.optim.lr = 5e-4
    # Learning rate of the text encoder as a fraction of lr; None: 0.1 where it is pretrained, 1 from scratch.
    c.optim.text_lr_factor = config_dict.placeholder(float)
    c.optim.weight_decay = 1e-4
    c.optim.clip = 2.0
    c.optim.decay_epochs = (15,)
    c.optim.decay_factor = 0.1

    c.train = ml_collections.ConfigDict()
    c.train.epochs = 30.0
    c.train.eval_every_epochs = 1.0
    c.train.checkpoint_every = 0  # steps between checkpoints besides those at evaluations; 0: none
    c.train.log_every = 10
    c.train.max_skipped = 20  # steps with a non-finite loss or gradient that a run survives

    c.eval = ml_collections.ConfigDict()
    c.eval.tile = 1024
    return c


def decided_by_variant(model: Any) -> dict[str, Any]:
    """The fields of a `model` section that `model.variant` decides, by their names there, where set as they are set."""
    flat = flatten(model)
    names = {name: value for name, value in VARIANTS[model.variant].items() if name.startswith("model.")}
    return {k.removeprefix("model."): flat[k.removeprefix("model.")] or v for k, v in names.items()}


def depends_on_batch(model: Any) -> bool:
    """Whether an embedding depends on the other items of its batch: the official variant of AFA's aggregation."""
    return model.aggregation.enabled and decided_by_variant(model)["aggregation.variant"] == "official"


def resolve(config: ml_collections.ConfigDict) -> None:
    """Fills in, in place, the fields that others decide and that are not set."""
    flat = flatten(config)
    for name, value in VARIANTS[config.model.variant].items():
        if flat[name] is None:
            set_field(config, name, value)
    if config.optim.text_lr_factor is None:
        text = config.model.text
        config.optim.text_lr_factor = 0.1 if text.encoder == "bert" and text.pretrained else 1.0


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """`{"data.dir": ..., "seed": ...}`: the leaves of a config by their dotted names."""
    out = {}
    for key, value in config.items():
        if isinstance(value, dict | ml_collections.ConfigDict | ml_collections.FrozenConfigDict):
            out |= flatten(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = list(value) if isinstance(value, tuple) else value
    return out


def nearest_field(name: str, config: Any) -> str:
    """The known field whose dotted name is most like `name`."""
    fields = list(flatten(config))
    by_leaf = [f for f in fields if f.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]]
    return (by_leaf or difflib.get_close_matches(name, fields, 1, 0.0))[0]


def to_json(config: ml_collections.ConfigDict) -> str:
    """The config as the text of config.json."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n"


def read_json(path: pathlib.Path) -> ml_collections.ConfigDict:
    """A config.json as a ConfigDict with the default config's types (tuples, optional strings)."""
    try:
        values = flatten(json.loads(path.read_text(encoding="utf-8")))
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror}); is this the workdir of a run?") from None
    except ValueError as e:
        raise InputError(f"{path}: not JSON ({e})") from None
    config = default_config()
    for name, value in values.items():
        if name not in flatten(config):
            raise InputError(f"{path}: field {name} is unknown to this version of itm_jax")
        set_field(config, name, tuple(value) if isinstance(value, list) else value)
    return config


def set_field(config: ml_collections.ConfigDict, name: str, value: Any) -> None:
    """Sets a leaf by its dotted name; a value of another type is an InputError."""
    *path, leaf = name.split(".")
    node = config
    for key in path:
        node = node[key]
    try:
        node[leaf] = value
    except TypeError as e:
        raise InputError(f"config.{name}={value!r}: {e}") from None


def differences(mine: ml_collections.ConfigDict, theirs: ml_collections.ConfigDict) -> list[str]:
    """`field: theirs -> mine` for every field that decides a run's numbers and differs."""
    a, b = flatten(mine), flatten(theirs)
    return [f"{k}: {b.get(k)!r} -> {a.get(k)!r}" for k in a if k not in FREE_FIELDS and a[k] != b.get(k)]
