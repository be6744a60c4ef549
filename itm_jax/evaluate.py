"""Evaluation: encode a split, score it in tiles, rank, and write the results of a run."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial

from itm_jax import config as config_lib
from itm_jax.checkpoints import newest_meta, restore_variables
from itm_jax.choices import depends_on_batch, resolve
from itm_jax.data import pipeline
from itm_jax.data.labels import take_priors
from itm_jax.data.pipeline import TextSplit
from itm_jax.data.text import TextInput, load_text
from itm_jax.files import write_whole
from itm_jax.lock import workdir_lock
from itm_jax.mesh import put_batch
from itm_jax.metrics.retrieval import protocols
from itm_jax.provenance import config_hash, read_data
from itm_jax.results import results, results_name, to_text
from itm_jax.run import build_for_evaluation
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


def _encode(
    encode: Callable, variables: Any, read: Callable, order: np.ndarray, batch_size: int, mesh
) -> list[tuple[np.ndarray, Any]]:
    """Encodes the items in `order`, batch by batch.

    Returns:
        (indices of items, in order, and their encodings) for each shape that encodings have: one for single vectors,
        one for every padded length of a model that keeps its words.
    """
    batch_size = -(-min(batch_size, len(order)) // mesh.size) * mesh.size
    parts: dict[tuple, list] = {}
    for start in range(0, len(order), batch_size):
        items = order[start : start + batch_size]
        whole = np.resize(items, batch_size)  # the last batch is whole again
        n, encoded = len(items), encode(variables, put_batch(read(whole), mesh))
        encoded = jax.tree.map(lambda x, n=n: np.asarray(x)[:n], encoded)
        parts.setdefault(tuple(x.shape[1:] for x in jax.tree.leaves(encoded)), []).append((items, encoded))
    return [_in_order(*zip(*group, strict=True)) for group in parts.values()]


def _in_order(items: Sequence[np.ndarray], encoded: Sequence[Any]) -> tuple[np.ndarray, Any]:
    """The parts of one shape as one, by rising index."""
    index = np.concatenate(items)
    order = np.argsort(index, kind="stable")
    return index[order], jax.tree.map(lambda *x: np.concatenate(x)[order], *encoded)


def encode_split(
    encoders, variables: Any, data: TextSplit, *, config, mesh
) -> tuple[Any, list[tuple[np.ndarray, Any]]]:
    """Encodings of all images, and of all captions as (their indices, encodings) by shape, on the host.

    Captions of like length share a batch, except where an embedding depends on its batch: then the batches are those
    of the authors' code, in the split's order and as large as in training.
    """
    encode_images, encode_captions, _ = encoders
    fixed = depends_on_batch(config.model)
    batch_size = config.data.batch_size if fixed else config.data.eval_batch_size
    lengths = data.table.lengths
    order = np.arange(len(lengths)) if fixed else np.argsort(lengths, kind="stable")
    variables = variables | data.constants
    [(_, images)] = _encode(encode_images, variables, data.regions, np.arange(data.split.num_images), batch_size, mesh)
    return images, _encode(encode_captions, variables, data.tokens, order, batch_size, mesh)


def score_split(encoders, variables: Any, data: TextSplit, config, mesh) -> tuple[np.ndarray, dict[str, float]]:
    """The [i, t] score matrix of a split and the seconds that encoding and scoring took."""
    began = time.perf_counter()
    images, captions = encode_split(encoders, variables, data, config=config, mesh=mesh)
    encoded = time.perf_counter()
    score = Partial(encoders[2], variables)
    blocks = [score_matrix(score, images, group, tile=config.eval.tile) for _, group in captions]
    scores = blocks[0]
    if len(blocks) > 1:
        scores = np.concatenate(blocks, axis=1)[:, np.argsort(np.concatenate([index for index, _ in captions]))]
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


@dataclasses.dataclass(frozen=True)
class OpenRun:
    """A finished or stopped run with its best parameters, and its test split."""

    config: Any
    text: TextInput
    data: TextSplit
    model: Any
    mesh: Any
    variables: Any
    step: int


def open_run(config, workdir: pathlib.Path) -> OpenRun:
    """The run in `workdir` with its best checkpoint, on the test split of `config`.

    Raises:
        InputError: the workdir holds no run, one of another model, or a damaged one.
    """
    text = load_text(config, source=config.data.source, workdir=workdir)
    resolve(config)
    trained = config_lib.read_json(workdir / "config.json")
    take_priors(config, trained)
    results_name(config, trained)  # refuses another model
    data = pipeline.with_text(config, pipeline.read_split(config, config.data.test_split), text)
    model, mesh, like = build_for_evaluation(config, data)
    variables, step = restore_variables(workdir, like)
    return OpenRun(config, text, data, model, mesh, variables, step)


def score_run(config, workdir: pathlib.Path) -> ScoredRun:
    """Scores the test split of `config` with the best checkpoint of the run in `workdir`.

    Raises:
        InputError: the workdir holds no run, one of another model, or a damaged one.
    """
    run = open_run(config, workdir)
    meta, trained_on = newest_meta(workdir), read_data(workdir)
    scores, seconds = score_split(make_encoders(run.model), run.variables, run.data, config, run.mesh)
    seconds = {"train": meta["train_seconds"]} | seconds
    params = count_params(run.variables["params"])
    return ScoredRun(config, run.data.split, scores, run.step, meta, trained_on, params, seconds)


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
