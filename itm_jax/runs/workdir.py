"""The files of a workdir that say which run it belongs to."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from itm_jax import files
from itm_jax.config.fields import differences, read_json, to_json
from itm_jax.data.text.kept import keeps_text, read_kept, write_kept
from itm_jax.data.text.text_input import TextInput, run_vocabulary, source_of
from itm_jax.data.text.vocabulary import VOCAB, to_text
from itm_jax.errors import InputError
from itm_jax.files import write_whole
from itm_jax.runs.provenance import describe_split, fingerprint
from itm_jax.structs import Split
from itm_jax.vision.identity import FILE as EXTRACTOR
from itm_jax.vision.identity import difference, moved
from itm_jax.vision.identity import read as read_extractor
from itm_jax.vision.identity import text as identity_text

DATA = "data.json"
DATA_AGAIN = "remove the file, and the run records its data again"


def read_data(workdir: pathlib.Path) -> dict[str, Any]:
    """The fingerprints that a run recorded of its train and dev splits; empty where there is no run yet."""
    path = workdir / DATA
    if not path.exists():
        return {}
    recorded = files.read_json(path, DATA_AGAIN)
    if not isinstance(recorded, dict) or not all(map(_is_fingerprint, recorded.values())):
        raise InputError(f"{path}: not the fingerprints of splits; {DATA_AGAIN}")
    return recorded


def _is_fingerprint(value: Any) -> bool:
    """Returns whether a value of data.json can be what `provenance.fingerprint` returns; earlier ones lack fields."""
    if not isinstance(value, dict):
        return False
    shape, extractor = value.get("features_shape", [1, 1]), value.get("extractor")
    fits = isinstance(shape, list) and len(shape) == 2 and all(type(n) is int and n > 0 for n in shape)
    return fits and isinstance(extractor, str | None)


def check_data(recorded: Mapping[str, Any], splits: Mapping[str, Split], workdir: pathlib.Path) -> None:
    """Raises InputError where a split is not the one that the run of `workdir` began with."""
    for name in splits.keys() & recorded.keys():
        split, before, now = splits[name], recorded[name], fingerprint(splits[name])
        changed = [k for k in now if k != "id" and k in before and now[k] != before[k]]
        if changed:
            raise InputError(
                f"{split.source}: its {', '.join(changed)} changed since the run in {workdir} began; put the old data "
                "back, or take another --workdir"
            )


def check_width(split: Split, recorded: Mapping[str, Any], run: pathlib.Path) -> None:
    """Raises InputError where the features of a split are not as wide as those that a run was trained on."""
    width = split.features.shape[-1]
    for before in recorded.values():
        trained = before.get("features_shape", [width])[-1]
        if trained != width:
            raise InputError(
                f"{split.source}: its features are {width} wide, but the run in {run} was trained on features that are "
                f"{trained} wide; extract the features of both in the same way"
            )


def check_extractor(split: Split, recorded: Mapping[str, Any], run: pathlib.Path) -> None:
    """Raises InputError where the features of a split come from another extractor than those of a run's training."""
    now = split.extractor.fingerprint if split.extractor else None
    for before in recorded.values():
        if before.get("extractor") == now:
            continue
        if now is None:
            raise InputError(
                f"{split.source}: has no {EXTRACTOR} beside it, but the run in {run} was trained with one; copy it "
                "from where the features were extracted"
            )
        theirs = read_extractor(run)
        assert split.extractor is not None
        identities = [found.record["identity"] for found in (split.extractor, theirs) if found]
        what = difference(*identities) if len(identities) == 2 else "nothing says which"
        raise InputError(
            f"{split.source}: its features come from another extractor than those of the training of {run} "
            f"({what}); extract both with the same settings of itm_jax.extract"
        )


def check_workdir(config, workdir: pathlib.Path) -> None:
    """Raises InputError where the workdir belongs to a run with another config."""
    path = workdir / "config.json"
    changed = differences(config, read_json(path), places=not keeps_text(workdir)) if path.exists() else []
    if changed:
        raise InputError(
            f"{workdir}: belongs to a run with another config ({'; '.join(changed[:4])}); take the same config to "
            f"continue it, or another --workdir, with --config.init_from={workdir} to start from its best parameters"
        )


def check_text_of(text: TextInput, other: pathlib.Path, *, frozen: bool) -> None:
    """Raises InputError where the run `other`, whose parameters this run starts from, has another text side.

    The tokenizers must be the same, and with a `frozen` encoder the weights too. A BiGRU run that lacks its vocab.txt
    is refused as well: nothing says which words its embeddings belong to.
    """
    path = other / VOCAB
    theirs = run_vocabulary(other) if text.words else None
    if theirs and theirs != text.words:
        raise InputError(f"{path}: not the vocabulary of this run; set config.model.text.vocab={path} to use it")
    kept = read_kept(other) if text.bert else None
    for name in ("tokenizer", "weights") if frozen else ("tokenizer",):
        if kept and kept.fingerprints.get(name) not in (None, text.fingerprints.get(name)):
            raise InputError(
                f"{other}: the {name} of its text encoder is not that of config.model.text; take the text encoder that "
                f"it was trained with ({kept.source or 'the vocabulary of scenes'})"
            )


def write_run_files(
    config, text: TextInput, workdir: pathlib.Path, splits: Sequence[Split] | None, labels: Mapping[str, np.ndarray]
) -> None:
    """Writes config.json and the text side of a run; for a new run also data.json and extractor.json.

    Args:
        config: the completed config.
        text: the text side.
        workdir: the run's directory.
        splits: the splits of a new run, else None.
        labels: the encodings of label names that the model reads.
    """
    if splits and splits[0].extractor:
        write_whole(workdir / EXTRACTOR, identity_text(moved(splits[0].extractor, workdir)))
    if splits:
        data = {s.name: describe_split(s) for s in splits}
        write_whole(workdir / DATA, json.dumps(data, indent=2) + "\n")
    if text.words:
        write_whole(workdir / VOCAB, to_text(text.words))
    write_kept(
        workdir,
        source=source_of(config.model.text),
        fingerprints=text.fingerprints,
        bert=text.bert,
        tokenizer=text.tokenizer,
        labels=dict(text.labels) | dict(labels),
    )
    write_whole(workdir / "config.json", to_json(config))
