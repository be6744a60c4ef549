"""An exported model: a folder with everything that `itm_jax.load` needs, to be copied or shared as it is.

| file | content |
|---|---|
| `config.json` | the completed config of the run, without paths of the machine |
| `model.safetensors` | all arrays: `params/...`, `batch_stats/...`, and `text_encoder/...` of a frozen text encoder |
| `text/`, `vocab.txt` | tokenizer or vocabulary, and the encodings of label names (`data.text.kept`) |
| `extractor.json` | what extracted the features that it was trained on, if `itm_jax.extract` did |
| `results.json` | its results, if it was evaluated |
| `README.md` | the model card |
| `itm_jax.json` | the record: format, fingerprint, sizes. It is written last: a folder without it is not whole |
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.flax import save_file

import itm_jax
from itm_jax.config.fields import PLACES, flatten, mutable_copy, read_json, set_field, to_json
from itm_jax.config.plugins import is_own
from itm_jax.data.text.fingerprints import of_weights
from itm_jax.data.text.kept import LABELS, keeps_text, read_kept, write_kept
from itm_jax.data.text.text_input import TextInput, source_of
from itm_jax.data.text.vocabulary import VOCAB, to_text
from itm_jax.errors import InputError
from itm_jax.files import check_space, make_directory, umask, write_whole
from itm_jax.files import read_json as read_values
from itm_jax.pretrained.huggingface import expected_tensors
from itm_jax.pretrained.safetensors_files import read_safetensors
from itm_jax.runs.checksums import array_differences, describe
from itm_jax.structs import Extractor
from itm_jax.vision.identity import FILE as EXTRACTOR
from itm_jax.vision.identity import text as identity_text

RECORD, WEIGHTS, CARD, RESULTS = "itm_jax.json", "model.safetensors", "README.md", "results.json"
FORMAT = 1
TEXT_ENCODER = "text_encoder"  # how the names of a frozen encoder's arrays begin
DTYPES = ("float32", "bfloat16")
FILES = ("config.json", WEIGHTS, RECORD, RESULTS, CARD, EXTRACTOR, VOCAB, "text/*")  # what a folder may have
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
    """

    config: Any
    arrays: Mapping[str, np.ndarray]
    record: Mapping[str, Any]


def is_exported(folder: pathlib.Path) -> bool:
    """Returns whether a folder is an exported model, or the rest of one."""
    return any((folder / name).is_file() for name in (RECORD, WEIGHTS))


def rounded(tree: Any, dtype: str) -> Any:
    """Returns the arrays of a tree on the host; those of floats are in `dtype`."""

    def one(x: Any) -> np.ndarray:
        return np.asarray(x).astype(jnp.dtype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x.dtype)

    return jax.tree.map(one, tree)


def write_folder(
    folder: pathlib.Path,
    *,
    config: Any,
    text: TextInput,
    variables: Mapping[str, Any],
    shape: tuple[int, int],
    fingerprint: str,
    extractor: Mapping[str, Any] | None,
    results: Mapping[str, Any],
    card: str,
    dtype: str,
) -> None:
    """Writes an exported model. The folder may hold other files, or an earlier export, which is replaced.

    Args:
        folder: where it is written.
        config: the completed config (`without_places`).
        text: the text side; with the weights of a frozen encoder.
        variables: `{"params", "batch_stats"}`.
        shape: regions of an image and width of a feature.
        fingerprint: of the model as it is stored.
        extractor: the content of extractor.json (`without_images`).
        results: the content of results.json; empty for none.
        card: the text of README.md.
        dtype: of the arrays, one of DTYPES.

    Raises:
        InputError: the folder belongs to a run, or cannot be written.
    """
    if (folder / "config.json").exists() and not is_exported(folder):
        raise InputError(f"{folder}: holds a run, or something else that has a config.json; take another folder")
    make_directory(folder)
    arrays = flatten_dict(dict(variables), sep="/")
    if not config.model.text.trainable:
        arrays |= flatten_dict({TEXT_ENCODER: dict(text.params)}, sep="/")
    arrays = rounded(arrays, dtype)
    check_space(folder, sum(x.nbytes for x in arrays.values()) + (1 << 22))
    for name in (RECORD, *OPTIONAL):
        (folder / name).unlink(missing_ok=True)
    _write_arrays(folder / WEIGHTS, arrays)
    write_whole(folder / "config.json", to_json(config))
    if text.words:
        write_whole(folder / VOCAB, to_text(text.words))
    prints = dict(text.fingerprints)
    if not config.model.text.trainable:
        prints["weights"] = of_weights(restored(arrays, TEXT_ENCODER))
    write_kept(
        folder,
        source=source_of(config.model.text),
        fingerprints=prints,
        bert=text.bert,
        tokenizer=text.tokenizer,
        labels=text.labels,
    )
    if extractor:
        write_whole(folder / EXTRACTOR, identity_text(extractor))
    if results:
        write_whole(folder / RESULTS, json.dumps(results, indent=2) + "\n")
    write_whole(folder / CARD, card)
    record = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "regions": shape[0],
        "feature_width": shape[1],
        "dtype": dtype,
        "itm_jax": itm_jax.__version__,
    }
    write_whole(folder / RECORD, json.dumps(record, indent=2) + "\n")


def _write_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        save_file({name: jnp.asarray(x) for name, x in arrays.items()}, temporary, {"format": "flax"})
        temporary.chmod(0o666 & ~umask())  # safetensors writes files that nobody else may read
        temporary.replace(path)
    except OSError as e:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({e})") from None


def without_places(config: Any) -> Any:
    """Returns a copy of a config without paths of the machine; of a text encoder's directory the last name stays."""
    out = mutable_copy(config)
    given = flatten(out)
    for name in OF_THE_MACHINE:
        set_field(out, name, None)
    set_field(out, "data.dir", ".")  # a valid config has one; nothing is read from it
    for name in PLACES:
        if given[name]:
            set_field(out, name, _last_name(given[name]))
    return out


def without_images(extractor: Extractor) -> dict[str, Any]:
    """Returns the record of an extractor without the place of the images, and without paths of its checkpoints."""
    source = {
        key: ":".join([kind, _last_name(place)]) if (kind := str(value).partition(":")[0]) and place else value
        for key, value in extractor.record.get("source", {}).items()
        for place in [str(value).partition(":")[2]]
    }
    return {**extractor.record, "images": ".", "source": source}


def _last_name(place: str) -> str:
    """Returns the last part of a path; a hub name and a folder of a Python package stay as they are."""
    path = pathlib.Path(place).expanduser()
    return path.name if path.is_absolute() or path.exists() or place.startswith(".") else place


def read_folder(folder: pathlib.Path, *, own_code: bool = False) -> Exported:
    """Reads an exported model.

    Args:
        folder: where it is.
        own_code: whether the Python code that its config names may be imported, for a model of the user's own.

    Raises:
        InputError: a file is missing, damaged, or of a later version.
    """
    if missing := [name for name in (RECORD, WEIGHTS, "config.json", "text/text.json") if not _has(folder, name)]:
        raise InputError(f"{folder}: has no {missing[0]}, and is no whole exported model; {AGAIN}")
    record = read_values(folder / RECORD, AGAIN)
    fields = {"format": int, "fingerprint": str, "regions": int, "feature_width": int}
    for name, kind in fields.items():
        if not isinstance(record, dict) or type(record.get(name)) is not kind:
            raise InputError(f"{folder / RECORD}: has no valid {name}; {AGAIN}")
    if record["format"] != FORMAT:
        raise InputError(
            f"{folder / RECORD}: format {record['format']}, written by itm_jax {record.get('itm_jax')}; this version "
            f"({itm_jax.__version__}) reads format {FORMAT}: take the version that wrote it"
        )
    config = read_json(folder / "config.json")
    for name in ("model.name", "loss.function"):
        if is_own(flatten(config)[name]) and not own_code:
            raise InputError(
                f"{folder}: config.{name}={flatten(config)[name]} is Python code of its author, which is not imported "
                "unasked; if you trust it, pass own_code=True with the module on the Python path"
            )
    return Exported(config, read_safetensors(folder), record)


def _has(folder: pathlib.Path, name: str) -> bool:
    return keeps_text(folder) if name == "text/text.json" else (folder / name).is_file()


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
    kept = read_kept(folder)
    if kept is None or kept.bert is None:
        raise InputError(f"{folder}/text/text.json: names no frozen text encoder, but the config has one; {AGAIN}")
    params = restored(exported.arrays, TEXT_ENCODER)
    like = {"/".join(path): f"float32{list(shape)}" for path, shape, _ in expected_tensors(kept.bert).values()}
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
