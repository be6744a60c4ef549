"""An exported model: a folder with everything that `itm_jax.load` needs, to be copied or shared as it is.

| file | content |
|---|---|
| `config.json` | the completed config of the run, without paths of the machine |
| `model.safetensors` | all arrays: `params/...`, `batch_stats/...`, and `text_encoder/...` of a frozen text encoder |
| `text/`, `vocab.txt` | tokenizer or vocabulary, and the encodings of label names (`data.text.kept`) |
| `extractor.json` | what extracted the features that it was trained on, if `itm_jax.extract` did |
| `results.json` | its results, if it was evaluated |
| `README.md` | the model card |
| `itm_jax.json` | the record: format, fingerprint, sizes, checksums of the files. It is complete only at the end |
"""

import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

import itm_jax
from itm_jax.config.fields import mutable_copy, read_json, set_field
from itm_jax.config.plugins import is_own
from itm_jax.data.text.kept import LABELS, TOKENIZER, Kept, read_kept
from itm_jax.data.text.kept import RECORD as TEXT
from itm_jax.data.text.text_input import source_of
from itm_jax.data.text.vocabulary import VOCAB
from itm_jax.errors import InputError
from itm_jax.files import read_json as read_values
from itm_jax.pretrained.huggingface import expected_tensors
from itm_jax.pretrained.safetensors_files import read_file
from itm_jax.runs.checksums import array_differences, describe
from itm_jax.vision.identity import FILE as EXTRACTOR

RECORD, WEIGHTS, CARD, RESULTS = "itm_jax.json", "model.safetensors", "README.md", "results.json"
FORMAT = 1
TEXT_ENCODER = "text_encoder"  # how the names of a frozen encoder's arrays begin
FILES = ("config.json", WEIGHTS, RECORD, RESULTS, CARD, EXTRACTOR, VOCAB, "text/*")  # what a folder may have
NAMES = ("config.json", WEIGHTS, RESULTS, CARD, EXTRACTOR, VOCAB)
NEEDED = ("config.json", WEIGHTS, "text/text.json")
SUMMED = ("config.json", WEIGHTS, RESULTS, EXTRACTOR, VOCAB, f"text/{TEXT}", f"text/{TOKENIZER}", f"text/{LABELS}")
LIMITS = {"regions": 10_000, "feature_width": 1_000_000}  # larger numbers in a record are no sizes of a model
OPTIONAL = (EXTRACTOR, RESULTS, VOCAB, f"text/{LABELS}")
# Fields of a run that say where things lie on its machine.
OF_THE_MACHINE = ("data.dir", "data.cache_dir", "eval.ground_truth", "init_from")
AGAIN = "copy or download the folder again, or export the run again"


class Exported(NamedTuple):
    """What an exported folder holds, besides its text side.

    Attributes:
        config: the completed config.
        arrays: all arrays, by name.
        record: the content of itm_jax.json.
        kept: the text side.
    """

    config: Any
    arrays: Mapping[str, np.ndarray]
    record: Mapping[str, Any]
    kept: Kept


def is_exported(folder: pathlib.Path) -> bool:
    """Returns whether a folder is an exported model, or an interrupted export."""
    return (folder / RECORD).is_file()


def rounded(tree: Any, dtype: str) -> Any:
    """Returns the arrays of a tree on the host; those of floats are in `dtype`."""

    def one(x: Any) -> np.ndarray:
        kind = jnp.dtype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x.dtype
        return np.asarray(x).astype(kind, copy=False)

    return jax.tree.map(one, tree)


def without_places(config: Any) -> Any:
    """Returns a copy of a config without the places of data and caches, which the folder of others must not decide."""
    out = mutable_copy(config)
    for name in OF_THE_MACHINE:
        set_field(out, name, None)
    set_field(out, "data.dir", ".")  # a valid config has one; nothing is read from it
    return out


def read_folder(folder: pathlib.Path, *, own_code: bool = False) -> Exported:
    """Reads an exported model.

    Args:
        folder: where it is.
        own_code: whether the Python code that its config names may be imported, for a model of the user's own.

    Raises:
        InputError: a file is missing, damaged, or of a later version.
    """
    record = read_values(folder / RECORD, AGAIN)
    if not isinstance(record, dict) or type(record.get("format")) is not int:
        raise InputError(f"{folder / RECORD}: has no valid format; {AGAIN}")
    if record["format"] == FORMAT and record.get("unfinished"):
        raise InputError(f"{folder}: its export was interrupted; {AGAIN}")
    if record["format"] == FORMAT and (missing := [name for name in NEEDED if not (folder / name).is_file()]):
        raise InputError(f"{folder}: has no {missing[0]}, so it is not complete; {AGAIN}")
    if record["format"] != FORMAT:
        raise InputError(
            f"{folder / RECORD}: format {record['format']}, written by itm_jax {record.get('itm_jax')}; this version "
            f"({itm_jax.__version__}) reads format {FORMAT}: take the version that wrote it"
        )
    fields = {"fingerprint": str, "regions": int, "feature_width": int, "about": dict, "sha256": dict}
    for name, kind in fields.items():
        if type(record.get(name)) is not kind:
            raise InputError(f"{folder / RECORD}: has no valid {name}; {AGAIN}")
    for name, most in LIMITS.items():
        if not 0 < record[name] <= most:
            raise InputError(f"{folder / RECORD}: has no valid {name}; {AGAIN}")
    before, now = record["sha256"], checksums_of(folder)
    for name in sorted({*before, *now}):
        if name not in now:
            raise InputError(f"{folder}: has no {name}, so it is not complete; {AGAIN}")
        if now[name] != before.get(name):
            raise InputError(f"{folder / name}: not the file that was exported; {AGAIN}")
    config = without_places(read_json(folder / "config.json"))
    kept = read_kept(folder)
    if kept is None or kept.source != source_of(config.model.text):
        raise InputError(f"{folder}/text/text.json: not the text side of config.json; {AGAIN}")
    if (code := own_code_of(config)) and not own_code:
        raise InputError(
            f"{folder}: config.{code} is Python code of its author, which is not imported unasked; if you trust it, "
            "pass own_code=True with the module on the Python path"
        )
    return Exported(config, read_file(folder / WEIGHTS), record, kept)


def own_code_of(config: Any) -> str:
    """Returns the first field of a config that names Python code of its author, as `model.name=VALUE`; "" for none."""
    fields = (("model.name", config.model.name), ("loss.function", config.loss.function))
    return next((f"{name}={value}" for name, value in fields if is_own(value)), "")


def checksums_of(folder: pathlib.Path) -> dict[str, str]:
    """Returns the SHA-256 of all files but the record and the model card, which people may edit."""
    return {name: _sha256(folder / name) for name in SUMMED if (folder / name).is_file()}


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def restored(arrays: Mapping[str, np.ndarray], start: str) -> Any:
    """Returns the arrays whose names begin with `start/` as a tree, without that beginning, in float32.

    Integers stay what they are.
    """
    inside = {n.removeprefix(f"{start}/"): x for n, x in arrays.items() if n.startswith(f"{start}/")}
    return rounded(unflatten_dict(inside, sep="/"), "float32")


def encoder_of(exported: Exported, folder: pathlib.Path) -> Any:
    """Returns the parameters of the frozen text encoder of an exported model.

    Raises:
        InputError: an array is missing, unexpected, or of another shape; the message names it.
    """
    if exported.kept.bert is None:
        raise InputError(f"{folder}/text/text.json: names no frozen text encoder, but the config has one; {AGAIN}")
    params = restored(exported.arrays, TEXT_ENCODER)
    like = {"/".join(path): f"float32{list(shape)}" for path, shape, _ in expected_tensors(exported.kept.bert).values()}
    if problems := array_differences(describe(params), like):
        raise InputError(f"{folder}/{WEIGHTS}: not the arrays of its text encoder ({'; '.join(problems[:3])}); {AGAIN}")
    return params


def variables_of(exported: Exported, like: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Returns the variables of an exported model, laid out like `like`.

    Raises:
        InputError: an array is missing, unexpected, or of another shape; the message names it.
    """
    got = {name: restored(exported.arrays, name) for name in like}
    strange = [n for n in exported.arrays if n.split("/")[0] not in (*like, TEXT_ENCODER)]
    problems = [f"unexpected {n}" for n in strange] + array_differences(describe(got), describe(like))
    if problems:
        raise InputError(f"{source}/{WEIGHTS}: not the arrays of its config ({'; '.join(problems[:3])}); {AGAIN}")
    return jax.tree.map(lambda x, shape: jax.device_put(x, shape.sharding), got, dict(like))
