"""The fields of a config by their dotted names, and the text forms of a config (config.json)."""

import copy
import difflib
import json
import pathlib
from typing import Any

import ml_collections

from itm_jax import files
from itm_jax.buckets.store import RemoteFile
from itm_jax.config.default import default_config
from itm_jax.errors import InputError

# Fields that change what a run prints or how fast it runs, not what it computes. A run may continue with other values.
FREE_FIELDS = (
    "data.bank",
    "data.cache_dir",
    "data.cache_gb",
    "data.dir",
    "data.eval_batch_size",
    "data.prefetch",
    "eval.ground_truth",
    "eval.matrix_gb",
    "eval.tile",
    "optim.sharded",
    "train.log_every",
    "train.logger",
    "train.max_skipped",
    "train.profile",
)
# Places of files whose content a run compares by fingerprints (data.text.kept): only whether they are set counts.
PLACES = ("model.text.pretrained", "model.text.vocab")
# Data fields that describe the training of a run. An evaluation must leave them as they were in training.
OF_TRAINING = ("data.train_split", "data.dev_split", "data.train_share", "data.batch_size", "data.augment.")


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Returns the fields of a config by their dotted names: `{"data.dir": ..., "seed": ...}`; tuples become lists."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict | ml_collections.ConfigDict | ml_collections.FrozenConfigDict):
            out |= flatten(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = list(value) if isinstance(value, tuple) else value
    return out


def mutable_copy(config: Any) -> ml_collections.ConfigDict:
    """Returns a copy, which can be changed, of a config or a section; it may be a frozen one."""
    return ml_collections.ConfigDict(copy.deepcopy(config))


def nearest_field(name: str, config: Any) -> str:
    """Returns the dotted name of the known field that is most like `name`."""
    fields = list(flatten(config))
    by_leaf = [f for f in fields if f.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]]
    return (by_leaf or difflib.get_close_matches(name, fields, 1, 0.0))[0]


def to_json(config: ml_collections.ConfigDict) -> str:
    """Returns the text of config.json for a config."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n"


def read_json(path: pathlib.Path | RemoteFile) -> ml_collections.ConfigDict:
    """Reads a config.json into a ConfigDict with the types of the default config (tuples, optional strings)."""
    values = files.read_json(path, "is this the workdir of a run?")
    if not isinstance(values, dict):
        raise InputError(f"{path}: must hold an object with the fields of a config; is this the workdir of a run?")
    given = flatten(values)
    return from_values(_values_before(given) | given, str(path))


def _values_before(given: dict[str, Any]) -> dict[str, Any]:
    """Returns what earlier versions did where a field decides today, for a run's config that lacks these fields."""
    out: dict[str, Any] = {"model.enhancement.init": "lecun"}
    if given.get("model.name") == "cpfean" and given.get("model.words.layers"):
        out["model.words.scale"] = 1.0
    if given.get("loss.soft_negatives") == "mixup":
        out["loss.normalize_mix"] = True
    if given.get("model.alignment.gamma"):
        out["model.alignment.prior"] = "agreement"
    return out


def from_values(values: dict[str, Any], source: str) -> ml_collections.ConfigDict:
    """Returns the default config with other values.

    Args:
        values: by dotted names, or nested.
        source: where the values come from, for messages.

    Raises:
        InputError: a field is unknown, or a value has the wrong type.
    """
    config = default_config()
    known = flatten(config)
    for name, value in flatten(values).items():
        if name not in known:
            raise InputError(f"{source}: field {name} is unknown to this version of itm_jax")
        set_field(config, name, tuple(value) if isinstance(value, list) else value)
    return config


def set_field(config: ml_collections.ConfigDict, name: str, value: Any) -> None:
    """Sets a field by its dotted name; a value of the wrong type is an InputError."""
    *path, leaf = name.split(".")
    node = config
    for key in path:
        node = node[key]
    try:
        node[leaf] = value
    except TypeError as e:
        raise InputError(f"config.{name}={value!r}: {e}") from None


def check_evaluable(config: Any, trained: Any, *, places: bool = False) -> None:
    """Raises InputError where `config` differs from `trained`, the config of a run, in more than the evaluated data.

    `places` is as for `differences`.
    """
    changed = differences(config, trained, places=places)
    other = [c for c in changed if not c.startswith("data.") or c.startswith(OF_TRAINING)]
    if places and any(c.split(":")[0] in PLACES for c in other):
        raise InputError(
            f"the run is of an earlier version, and knows its text encoder by its path alone ({'; '.join(other[:4])}); "
            "put the encoder back there, or a link to it"
        )
    if other:
        raise InputError(
            f"the run was trained with another config ({'; '.join(other[:4])}); an evaluation may change only the data "
            "that it reads; leave --config out to take the run's config"
        )


def differences(
    mine: ml_collections.ConfigDict, theirs: ml_collections.ConfigDict, *, places: bool = False
) -> list[str]:
    """Returns `field: theirs -> mine` for every field that differs, but for FREE_FIELDS.

    Of PLACES it compares only whether they are set; with `places` it compares their values too, as for a run of an
    earlier version, which keeps no fingerprints of its text side.
    """
    a, b = (_comparable(config, places=places) for config in (mine, theirs))
    return [f"{k}: {b.get(k)!r} -> {a.get(k)!r}" for k in a if a[k] != b.get(k)]


def _comparable(config: Any, *, places: bool) -> dict[str, Any]:
    fields = {k: v for k, v in flatten(config).items() if k not in FREE_FIELDS}
    return {k: bool(v) if k in PLACES and not places else v for k, v in fields.items()}
