"""Loads a trained model for images and captions of your own."""

import pathlib
from typing import Any

import numpy as np

from itm_jax.config.fields import read_json
from itm_jax.data.labels import label_bank, label_indices
from itm_jax.data.pipeline import TextSplit, usable_buckets
from itm_jax.data.prepare import prepare
from itm_jax.data.text.tokens import tokenize
from itm_jax.devices import distributed
from itm_jax.devices.programs import use_cache
from itm_jax.errors import InputError
from itm_jax.evaluation.encode import make_encoders
from itm_jax.evaluation.open_run import build_for_evaluation
from itm_jax.files import read_json as read_values
from itm_jax.hub.inputs import blank_split
from itm_jax.hub.matcher import Matcher, fingerprint_of
from itm_jax.runs.restore import restore_variables
from itm_jax.runs.workdir import read_data
from itm_jax.vision.identity import read as read_extractor


def load(name: str | pathlib.Path) -> Matcher:
    """Loads the best checkpoint of a run.

    Args:
        name: the directory of the run.

    Raises:
        InputError: there is no run, it has no checkpoint, or a file of it is damaged.

    Examples:
        model = itm_jax.load("runs/cpfean")
        model.score(model.encode_images(["a.jpg"]), model.encode_captions(["two dogs play in the snow"]))
    """
    run = pathlib.Path(name).expanduser()
    if not (run / "config.json").is_file():
        raise InputError(f"{run}: no config.json; pass the directory of a run")
    trained = read_json(run / "config.json")
    use_cache(trained)
    prepared = prepare(trained, (), workdir=run, trained=trained, has_checkpoint=True)
    config, text = prepared.config, prepared.text
    shape = _shape(run)
    names = tuple(text.labels) or tuple(config.model.regions.label_names or ())
    split = blank_split(config, shape, names)
    table = tokenize(split.captions, text.tokenizer, edges=split.edges)
    states = None
    if not config.model.text.trainable:
        assert text.bert is not None
        states = np.zeros((int(table.offsets[-1]), text.bert.hidden_size), config.model.text.cache_dtype)
    index, bank = label_indices(config, split), label_bank(config, split, text)
    data = TextSplit(split, table, states, usable_buckets(config), config.data.max_tokens, index, bank)
    model, mesh, like = build_for_evaluation(config, data)
    restored = distributed.by_first(lambda like: restore_variables(run, like), like)
    assert restored is not None  # it is restored, or an error is raised
    return Matcher(
        source=str(name),
        config=config,
        text=text,
        model=model,
        mesh=mesh,
        encoders=make_encoders(model, mesh),
        variables=restored[0],
        shape=shape,
        fingerprint=fingerprint_of(config, text, restored[0]),
        extractor=read_extractor(run),
        results=_results(run),
    )


def _shape(run: pathlib.Path) -> tuple[int, int]:
    """Regions and width of the features that a run was trained on."""
    shape = next((split.get("features_shape") for split in read_data(run).values()), None)
    if not shape:
        raise InputError(
            f"{run}: its data.json does not say how wide its features are; continue or train the run again"
        )
    return int(shape[0]), int(shape[1])


def _results(run: pathlib.Path) -> dict[str, Any]:
    path = run / "results.json"
    return read_values(path) if path.is_file() else {}
