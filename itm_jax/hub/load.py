"""Loads a trained model for images and captions of your own."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from itm_jax.buckets.store import is_url
from itm_jax.config.fields import read_json
from itm_jax.config.model_fields import depends_on_batch
from itm_jax.data.labels import label_bank, label_indices
from itm_jax.data.pipeline import TextSplit, usable_buckets
from itm_jax.data.prepare import Prepared, prepare
from itm_jax.data.text.tokens import tokenize
from itm_jax.devices import distributed
from itm_jax.devices.programs import use_cache
from itm_jax.errors import InputError
from itm_jax.evaluation.encode import make_encoders
from itm_jax.evaluation.open_run import build_for_evaluation
from itm_jax.files import read_json as read_values
from itm_jax.hub.batch_independent import batch_independent
from itm_jax.hub.fingerprint import fingerprint_of
from itm_jax.hub.folder import AGAIN, FILES, WEIGHTS, Exported, encoder_of, is_exported, read_folder, variables_of
from itm_jax.hub.inputs import blank_split
from itm_jax.hub.matcher import Matcher
from itm_jax.pretrained.directory import checkpoint_dir, revision_of
from itm_jax.pretrained.hub_names import split_revision
from itm_jax.runs.bucket import fetch_workdir
from itm_jax.runs.restore import restore_variables
from itm_jax.runs.workdir import read_data
from itm_jax.vision.identity import read as read_extractor

UNUSABLE = (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError, MemoryError)


def load(name: str | pathlib.Path, *, backbone: str | None = None, own_code: bool = False) -> Matcher:
    """Loads a trained model: the best checkpoint of a run, or an exported model from a folder or from the hub.

    Args:
        name: the directory of a run, or its address in a bucket; or a folder that `Matcher.save` or `itm_jax.export`
            wrote; or its name on the Hugging Face hub, `user/name`, or `user/name@revision` for a tag, a branch or a
            commit of it. What was downloaded once is read from the hub's cache.
        backbone: the name of the backbone of its extractor, `vit:DIR` for example, where its weights lie in another
            place than in its training.
        own_code: whether Python code that the config of an exported folder names may be imported. The code that a run
            names is always imported: a run is your own. Do not load the run of somebody whom you do not trust.

    Raises:
        InputError: there is no model, or a file of it is missing or damaged.

    Examples:
        model = itm_jax.load("runs/cpfean")
        model.score(model.encode_images(["a.jpg"]), model.encode_captions(["two dogs play in the snow"]))
    """
    if is_url(str(name)):
        model = load(fetch_workdir(str(name)), backbone=backbone, own_code=own_code)
        return dataclasses.replace(model, source=str(name))
    if "/" not in str(name) and not os.path.isdir(name):  # no name of the hub either
        raise InputError(f"{name}: no such directory; pass a run, an exported folder, or USER/NAME of the hub")
    folder = checkpoint_dir(str(name), flag="the name of the model", files=FILES, weights=(WEIGHTS,))
    commit = revision_of(folder)
    source = f"{split_revision(str(name))[0]}@{commit}" if commit else str(name)
    if is_exported(folder):
        model = _load_exported(folder, source, own_code=own_code)
    elif (folder / "config.json").is_file() and not commit:  # what comes from the hub is never taken for a run
        model = _load_run(folder, source)
    else:
        what = "no itm_jax.json" if commit else "no config.json"
        raise InputError(f"{folder}: {what}; pass the directory of a run, or an exported model")
    return dataclasses.replace(model, backbone=backbone)


def _load_run(run: pathlib.Path, name: str) -> Matcher:
    as_trained = read_json(run / "config.json")
    trained = batch_independent(as_trained)
    use_cache(trained, small=True)
    prepared = prepare(trained, (), workdir=run, trained=trained, has_checkpoint=True)

    def restore(like: Any) -> Any:
        restored = distributed.by_first(lambda like: restore_variables(run, like), like)
        assert restored is not None  # it is restored, or an error is raised
        return restored[0]

    about = {"batch_dependent_results": True} if depends_on_batch(as_trained.model) else {}
    return _assemble(name, run, prepared, _shape(run), restore, about=about)


def _load_exported(folder: pathlib.Path, name: str, *, own_code: bool) -> Matcher:
    try:
        return _read_exported(folder, name, own_code=own_code)
    except InputError:
        raise
    except UNUSABLE as e:  # values that no export writes
        reason = " ".join(f"{type(e).__name__}: {e}".split())[:160]
        raise InputError(f"{folder}: its files hold values that cannot be used ({reason}); {AGAIN}") from None


def _read_exported(folder: pathlib.Path, name: str, *, own_code: bool) -> Matcher:
    exported: Exported = read_folder(folder, own_code=own_code)
    config = batch_independent(exported.config)
    use_cache(config, small=True)
    params = None if config.model.text.trainable else encoder_of(exported, folder)
    prepared = prepare(config, (), workdir=folder, trained=config, has_checkpoint=True, text_params=params)
    shape = (exported.record["regions"], exported.record["feature_width"])
    return _assemble(
        name,
        folder,
        prepared,
        shape,
        lambda like: variables_of(exported, like, str(folder)),
        about=exported.record["about"],
        # That of the export: a later version may have further fields, and would compute another one.
        fingerprint=exported.record["fingerprint"],
    )


def _assemble(
    name: str,
    folder: pathlib.Path,
    prepared: Prepared,
    shape: tuple[int, int],
    restore: Callable[[Any], Any],
    *,
    about: Mapping[str, Any],
    fingerprint: str | None = None,
) -> Matcher:
    """Builds a model; `restore` takes the shapes of its variables and returns them."""
    config, text, bert = prepared.config, prepared.text, prepared.text.bert
    split = blank_split(config, shape, tuple(text.labels) or tuple(config.model.regions.label_names or ()))
    table = tokenize(split.captions, text.tokenizer, edges=split.edges)
    states = None
    if not config.model.text.trainable:
        assert bert is not None  # a frozen encoder is a BERT
        text = dataclasses.replace(text, params=jax.device_put(text.params))  # once, not at each caption
        states = np.zeros((int(table.offsets[-1]), bert.hidden_size), config.model.text.cache_dtype)
    index, bank = label_indices(config, split), label_bank(config, split, text)
    data = TextSplit(split, table, states, usable_buckets(config), config.data.max_tokens, index, bank)
    model, mesh, like = build_for_evaluation(config, data)
    variables = restore(like)
    return Matcher(
        source=name,
        config=config,
        text=text,
        model=model,
        mesh=mesh,
        encoders=make_encoders(model, mesh),
        variables=variables,
        shape=shape,
        fingerprint=fingerprint or fingerprint_of(config, text, variables),
        extractor=read_extractor(folder),
        results=_results(folder),
        about=about,
    )


def _shape(run: pathlib.Path) -> tuple[int, int]:
    """Regions and width of the features that a run was trained on."""
    shape = next((split.get("features_shape") for split in read_data(run).values()), None)
    if not shape:
        raise InputError(
            f"{run}: its data.json does not say how wide its features are; continue or train the run again"
        )
    return int(shape[0]), int(shape[1])


def _results(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / "results.json"
    if not path.is_file():
        return {}
    values = read_values(path)
    protocols = values.get("protocols") if isinstance(values, dict) else None
    full = protocols.get("full") if isinstance(protocols, dict) else None
    recalls = [f"{direction}_r{k}" for direction in ("i2t", "t2i") for k in (1, 5, 10)]
    if (
        not isinstance(full, dict)
        or not {"dataset", "split", "counts", "selected_on", "seed", "devices"} <= values.keys()
        or not all(isinstance(full.get(name), int | float) for name in (*recalls, "rsum"))
    ):
        raise InputError(f"{path}: not what an evaluation writes; evaluate the run again, or remove the file")
    return values
