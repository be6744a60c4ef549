"""Evaluation: encode a split, score it in tiles, rank, and write the results of a run."""

import dataclasses
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial

from itm_jax import config as config_lib
from itm_jax.checkpoints import newest_meta, restore_variables
from itm_jax.data import pipeline
from itm_jax.data.pipeline import TextSplit
from itm_jax.data.text import load_text
from itm_jax.lock import workdir_lock
from itm_jax.mesh import put_batch
from itm_jax.metrics.retrieval import protocols
from itm_jax.provenance import config_hash, read_data
from itm_jax.results import results, results_name, to_text
from itm_jax.run import build_for_evaluation, write_whole
from itm_jax.scoring import score_matrix
from itm_jax.structs import Split
from itm_jax.train_state import count_params


def make_encoders(model) -> tuple[Callable, Callable, Callable]:
    """`encode_images(variables, regions)`, `encode_captions(variables, tokens)`, compiled, and `score(variables, i, t)`.

    To be made once: each evaluation with the same functions finds its programs compiled.
    """
    images = jax.jit(lambda v, regions: model.apply(v, regions, train=False, method="encode_images"))
    captions = jax.jit(lambda v, tokens: model.apply(v, tokens, train=False, method="encode_captions"))
    return images, captions, lambda v, i, t: model.apply(v, i, t, method="score")


def _encode(encode: Callable, variables: Any, read: Callable, order: np.ndarray, batch_size: int, mesh) -> Any:
    """Encodes the items in `order`, batch by batch; the rows of the result are in the items' own order."""
    batch_size = -(-min(batch_size, len(order)) // mesh.size) * mesh.size
    parts = []
    for start in range(0, len(order), batch_size):
        rows = np.resize(order[start : start + batch_size], batch_size)  # the last batch is whole again
        parts.append(encode(variables, put_batch(read(rows), mesh)))
    encoded = jax.tree.map(lambda *x: np.concatenate([np.asarray(p) for p in x])[: len(order)], *parts)
    inverse = np.argsort(order, kind="stable")
    return jax.tree.map(lambda x: x[inverse], encoded)


def encode_split(encoders, variables: Any, data: TextSplit, *, config, mesh) -> tuple[Any, Any]:
    """Encodings of all images and captions of a split, on the host.

    Captions of like length share a batch, except where an embedding depends on its batch: then the batches are those
    of the authors' code, in the split's order and as large as in training.
    """
    encode_images, encode_captions, _ = encoders
    fixed = config_lib.depends_on_batch(config.model)
    batch_size = config.data.batch_size if fixed else config.data.eval_batch_size
    lengths = data.table.lengths
    order = np.arange(len(lengths)) if fixed else np.argsort(lengths, kind="stable")
    images = _encode(encode_images, variables, data.regions, np.arange(data.split.num_images), batch_size, mesh)
    return images, _encode(encode_captions, variables, data.tokens, order, batch_size, mesh)


def score_split(encoders, variables: Any, data: TextSplit, config, mesh) -> tuple[np.ndarray, dict[str, float]]:
    """The [i, t] score matrix of a split and the seconds that encoding and scoring took."""
    began = time.perf_counter()
    images, captions = encode_split(encoders, variables, data, config=config, mesh=mesh)
    encoded = time.perf_counter()
    scores = score_matrix(Partial(encoders[2], variables), images, captions, tile=config.eval.tile)
    return scores, {"encode": encoded - began, "score": time.perf_counter() - encoded}


def evaluate_split(encoders, variables: Any, data: TextSplit, config, mesh) -> tuple[dict, dict[str, float]]:
    """(metrics by protocol, seconds by part) of a split."""
    scores, seconds = score_split(encoders, variables, data, config, mesh)
    began = time.perf_counter()
    metrics = protocols(scores, data.split.caption_image_index)
    return metrics, seconds | {"rank": time.perf_counter() - began}


@dataclasses.dataclass(frozen=True)
class ScoredRun:
    """A run's best checkpoint on a split: [i, t] scores, and what a results file says of the run."""

    config: Any
    split: Split
    scores: np.ndarray
    step: int
    meta: dict[str, Any]
    trained_on: dict[str, Any]
    params: int
    seconds: dict[str, float]

    def describe(self) -> dict[str, Any]:
        """What identifies the run as a member of an ensemble."""
        return {
            "model": self.config.model.name,
            "variant": self.config.model.variant,
            "seed": self.config.seed,
            "step": self.step,
            "config_hash": config_hash(self.config),
        }


def score_run(config, workdir: pathlib.Path) -> ScoredRun:
    """Scores the test split of `config` with the best checkpoint of the run in `workdir`.

    Raises:
        InputError: the workdir holds no run, one of another model, or a damaged one.
    """
    text = load_text(config, source=config.data.source, workdir=workdir)
    config_lib.resolve(config)
    results_name(config, config_lib.read_json(workdir / "config.json"))  # refuses another model
    meta, trained_on = newest_meta(workdir), read_data(workdir)
    data = pipeline.with_text(config, pipeline.read_split(config, config.data.test_split), text)
    model, mesh, like = build_for_evaluation(config, data)
    variables, step = restore_variables(workdir, like)
    scores, seconds = score_split(make_encoders(model), variables, data, config, mesh)
    seconds = {"train": meta["train_seconds"]} | seconds
    return ScoredRun(config, data.split, scores, step, meta, trained_on, count_params(variables["params"]), seconds)


def evaluate(config, workdir: pathlib.Path) -> tuple[dict, pathlib.Path]:
    """Evaluates the best checkpoint of a run on the config's test split.

    Returns:
        (content, path) of the results file: results.json, or results-<dataset>-<split>.json where the data fields
        are not those of the run.

    Raises:
        InputError: the workdir holds no run, or one of another model.
    """
    path = workdir / "config.json"
    trained = config_lib.read_json(path)
    with workdir_lock(workdir):
        run = score_run(config, workdir)
        began = time.perf_counter()
        metrics = protocols(run.scores, run.split.caption_image_index)
        seconds = run.seconds | {"rank": time.perf_counter() - began}
        content = results(
            config,
            run.split,
            step=run.step,
            meta=run.meta,
            trained_on=run.trained_on,
            metrics=metrics,
            seconds=seconds,
            params=run.params,
        )
        path = workdir / results_name(config, trained)
        write_whole(path, to_text(content))
    return content, path
