"""The text side that a run keeps in its workdir, so that its numbers do not depend on files elsewhere.

`WORKDIR/text/text.json` has fingerprints of the tokenizer and of the pretrained weights, and the architecture of the
encoder. `tokenizer.json` beside it is the tokenizer; a BiGRU has `WORKDIR/vocab.txt` instead. `labels.safetensors` has
the encodings of label names where the model reads them (runs of earlier versions: `labels.npz`). A run that fine-tunes
its encoder has all weights in its own checkpoints; a run with a frozen encoder also needs the pretrained weights, from
any place. An exported model (`hub.folder`) keeps its text side in the same way.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from tokenizers import Tokenizer

from itm_jax.data.text.fingerprints import without_limits
from itm_jax.errors import InputError
from itm_jax.files import parse_json, read_json, read_npz, write_whole
from itm_jax.modules.bert import BertConfig
from itm_jax.pretrained.tokenizer_files import read_tokenizer

FOLDER = "text"
RECORD, TOKENIZER, LABELS = "text.json", "tokenizer.json", "labels.safetensors"
OLD_LABELS = "labels.npz"
ENCODINGS, NAMES = "encodings", "names"  # in LABELS: a tensor [n e]; a key of its metadata, a JSON list of n strings


@dataclasses.dataclass(frozen=True)
class Kept:
    """The text side of a run as its workdir has it.

    Attributes:
        folder: where it is.
        source: the value of `model.text.pretrained` or `model.text.vocab` that it came from, None where neither is set.
        fingerprints: `tokenizer`, and `weights` of a pretrained encoder.
        bert: architecture of a BERT encoder; None with a BiGRU.
        tokenizer: of a BERT; None with a BiGRU, whose words are in `vocab.txt`.
        labels: the encoding of each label name, [e].
    """

    folder: pathlib.Path
    source: str | None
    fingerprints: Mapping[str, str]
    bert: BertConfig | None
    tokenizer: Tokenizer | None
    labels: Mapping[str, np.ndarray]


def keeps_text(workdir: pathlib.Path) -> bool:
    """Returns whether the workdir has a text side; runs of earlier versions have none."""
    return (workdir / FOLDER / RECORD).exists()


def read_kept(workdir: pathlib.Path) -> Kept | None:
    """Returns the text side that the run in `workdir` keeps; None where no run has begun, or it keeps none.

    Raises:
        InputError: a file is missing or damaged.
    """
    folder = workdir / FOLDER
    if not (workdir / "config.json").exists() or not keeps_text(workdir):
        return None
    record = read_json(folder / RECORD, "copy the workdir again")
    try:
        fingerprints = {name: str(value) for name, value in record["fingerprints"].items()}
        bert = None if record["bert"] is None else BertConfig(**record["bert"])
    except (AttributeError, KeyError, TypeError) as e:
        raise InputError(f"{folder / RECORD}: damaged ({type(e).__name__}: {e}); copy the workdir again") from None
    source = record.get("source")
    if (bert and bert.problem) or not isinstance(source, str | None):
        problem = bert.problem if bert and bert.problem else f"source is {source!r:.40}"
        raise InputError(f"{folder / RECORD}: damaged ({problem}); copy the workdir again")
    tokenizer = None if bert is None else read_tokenizer(folder / TOKENIZER, "copy the workdir again")
    labels = _read_labels(folder / LABELS) if (folder / LABELS).exists() else _read_old_labels(folder / OLD_LABELS)
    return Kept(folder, source, fingerprints, bert, tokenizer, labels)


def _read_labels(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        with safe_open(path, framework="numpy") as file:
            names, encodings = parse_json((file.metadata() or {})[NAMES]), file.get_tensor(ENCODINGS)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("the names of the labels are no list of texts")
        if encodings.ndim != 2 or len(names) != len(encodings):
            raise ValueError(f"{len(names)} names, and encodings of shape {list(encodings.shape)}")
        return dict(zip(names, encodings, strict=True))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as e:
        raise InputError(f"{path}: cannot be read ({e}); copy it again") from None


def _read_old_labels(path: pathlib.Path) -> dict[str, np.ndarray]:
    if not path.exists():
        return {}
    arrays = read_npz(path, hint="copy the workdir again")
    names, encodings = arrays.get("names"), arrays.get("encodings")
    if names is None or encodings is None or names.dtype.kind != "U" or names.shape != encodings.shape[:1]:
        raise InputError(f"{path}: not the names and encodings of labels; copy the workdir again")
    return dict(zip(names.tolist(), encodings, strict=True))


def write_kept(
    workdir: pathlib.Path,
    *,
    source: str | None,
    fingerprints: Mapping[str, str],
    bert: BertConfig | None,
    tokenizer: Tokenizer,
    labels: Mapping[str, np.ndarray],
) -> None:
    """Writes the text side of a run; the arguments are as in `Kept`."""
    folder = workdir / FOLDER
    folder.mkdir(exist_ok=True)
    if bert is not None:
        write_whole(folder / TOKENIZER, without_limits(tokenizer).to_str())
    if labels:
        encodings = {ENCODINGS: np.stack(list(labels.values()))}
        write_whole(folder / LABELS, save(encodings, {NAMES: json.dumps(list(labels))}))
    record: dict[str, Any] = {
        "source": source,
        "fingerprints": dict(fingerprints),
        "bert": None if bert is None else dataclasses.asdict(bert),
    }
    write_whole(folder / RECORD, json.dumps(record, indent=2) + "\n")
