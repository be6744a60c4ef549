"""Evaluation: encode a split, score it in tiles, rank, and write the results of a run."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial

from itm_jax import config as config_lib
from itm_jax import distributed
from itm_jax.checkpoints import newest_meta, restore_variables
from itm_jax.choices import resolve
from itm_jax.data import pipeline
from itm_jax.data.labels import take_priors
from itm_jax.data.pipeline import TextSplit
from itm_jax.data.text import TextInput, load_text
from itm_jax.encode import encode_split, make_encoders
from itm_jax.errors import InputError
from itm_jax.files import write_whole
from itm_jax.lock import workdir_lock
from itm_jax.metrics.eccv import read_truth, truth_metrics
from itm_jax.metrics.retrieval import Ranks, fold_ranks, folds, protocol_metrics, protocol_ranks
from itm_jax.programs import use_cache
from itm_jax.provenance import config_hash, read_data
from itm_jax.results import results, results_name, to_text, write_ranks
from itm_jax.run import build_for_evaluation
from itm_jax.scoring import retrieve, score_matrix
from itm_jax.structs import Split
from itm_jax.train_state import count_params


def score_split(encoders, variables: Any, data: TextSplit, config, mesh) -> tuple[np.ndarray, dict[str, float]]:
    """The [i, t] score matrix of a split and the seconds that encoding and scoring took."""
    began = time.perf_counter()
    images, captions = encode_split(encoders, variables, data, config=config, mesh=mesh)
    encoded = time.perf_counter()
    score = Partial(encoders[2], variables)
    scores = matrix(score, images, captions, config, mesh)
    return scores, {"encode": encoded - began, "score": time.perf_counter() - encoded}


def matrix(score: Partial, images: Any, captions: Sequence[tuple[np.ndarray, Any]], config, mesh) -> np.ndarray:
    """The scores of all captions, in their order, whatever the shapes of their encodings."""
    blocks = [score_matrix(score, images, group, tile=config.eval.tile, mesh=mesh) for _, group in captions]
    if len(blocks) == 1:
        return blocks[0]
    return np.concatenate(blocks, axis=1)[:, np.argsort(np.concatenate([index for index, _ in captions]))]


def rank_split(
    encoders, variables: Any, data: TextSplit, config, mesh, *, look: Callable[[np.ndarray], dict] | None = None
) -> tuple[dict[str, Ranks], dict, dict[str, float]]:
    """(ranks by protocol, what `look` makes of the [i, t] matrix of scores, seconds by part) of a split.

    Scores that would fill more than `eval.matrix_gb` are reduced to ranks tile by tile; then `score` has the seconds of
    both, and `look` is an InputError.
    """
    split = data.split
    size = 4 * split.num_images * len(split.captions) / 1e9
    if size > config.eval.matrix_gb:
        if look:
            raise InputError(
                f"config.eval.ground_truth: needs the matrix of scores; set config.eval.matrix_gb above {size:.2g}"
            )
        began = time.perf_counter()
        images, captions = encode_split(encoders, variables, data, config=config, mesh=mesh)
        encoded = time.perf_counter()
        score = Partial(encoders[2], variables)
        ranks = streamed(score, images, captions, split.caption_image_index, config, mesh)
        return ranks, {}, {"encode": encoded - began, "score": time.perf_counter() - encoded, "rank": 0.0}
    scores, seconds = score_split(encoders, variables, data, config, mesh)
    began = time.perf_counter()
    ranks = protocol_ranks(scores, split.caption_image_index)
    seconds |= {"rank": time.perf_counter() - began}
    return ranks, look(scores) if look else {}, seconds


def beyond_pairs(config, split: Split) -> Callable[[np.ndarray], dict] | None:
    """[i, t] scores -> the metrics of ECCV Caption and CxC, where `eval.ground_truth` asks for them."""
    if not config.eval.ground_truth:
        return None
    truth = read_truth(pathlib.Path(config.eval.ground_truth).expanduser(), split)
    return lambda scores: truth_metrics(scores, truth)


def check_truth(config, splits: Sequence[Split]) -> None:
    """Raises InputError where `eval.ground_truth` is not that of the config's test split, if that is among the splits."""
    for split in splits:
        if split.name == config.data.test_split:
            beyond_pairs(config, split)


def streamed(score: Partial, images: Any, captions, owner: np.ndarray, config, mesh) -> dict[str, Ranks]:
    """`metrics.retrieval.protocol_ranks` without the matrix of all scores."""

    def ranks(images, captions, owner):
        found = retrieve(score, images, captions, owner, tile=config.eval.tile, mesh=mesh)
        return Ranks(found.image_ranks, found.caption_ranks)

    of_folds, count = [], int(owner.max()) + 1
    for rows, columns in folds(owner, count):
        groups = []
        for index, encoded in captions:
            here = np.isin(index, columns)
            if here.any():
                part = jax.tree.map(lambda x, here=here: x[here], encoded)
                groups.append((np.searchsorted(columns, index[here]), part))
        of_fold = jax.tree.map(lambda x, rows=rows: x[rows], images)
        of_folds.append((rows, columns, ranks(of_fold, groups, owner[columns] - rows.start)))
    return {"full": ranks(images, captions, owner)} | fold_ranks(of_folds, count, len(owner))


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
    use_cache(config)
    text = load_text(config, source=config.data.source, workdir=workdir)
    resolve(config)
    trained = config_lib.read_json(workdir / "config.json")
    take_priors(config, trained)
    results_name(config, trained)  # refuses another model
    data = pipeline.with_text(config, pipeline.read_split(config, config.data.test_split), text)
    model, mesh, like = build_for_evaluation(config, data)
    variables, step = distributed.by_first(lambda like: restore_variables(workdir, like), like)
    return OpenRun(config, text, data, model, mesh, variables, step)


def score_run(config, workdir: pathlib.Path) -> ScoredRun:
    """Scores the test split of `config` with the best checkpoint of the run in `workdir`.

    Raises:
        InputError: the workdir holds no run, one of another model, or a damaged one.
    """
    run = open_run(config, workdir)
    meta, trained_on = newest_meta(workdir), read_data(workdir)
    scores, seconds = score_split(make_encoders(run.model, run.mesh), run.variables, run.data, config, run.mesh)
    seconds = {"train": meta["train_seconds"]} | seconds
    params = count_params(run.variables["params"])
    return ScoredRun(config, run.data.split, scores, run.step, meta, trained_on, params, seconds)


def results_of(run: OpenRun, workdir: pathlib.Path) -> tuple[np.ndarray, dict[str, Ranks], dict]:
    """([i, t] scores, ranks by protocol, what a results file says) of an open run; nothing is written."""
    scores, seconds = score_split(make_encoders(run.model, run.mesh), run.variables, run.data, run.config, run.mesh)
    split = run.data.split
    ranks, look = protocol_ranks(scores, split.caption_image_index), beyond_pairs(run.config, split)
    return scores, ranks, _content(run, workdir, ranks, look(scores) if look else {}, seconds)


def _content(run: OpenRun, workdir: pathlib.Path, ranks: dict, beyond: dict, seconds: dict[str, float]) -> dict:
    meta = newest_meta(workdir)
    return results(
        run.config,
        run.data.split,
        step=run.step,
        meta=meta,
        trained_on=read_data(workdir),
        metrics=protocol_metrics(ranks, run.data.split.caption_image_index) | beyond,
        seconds={"train": meta["train_seconds"]} | seconds,
        params=count_params(run.variables["params"]),
    )


def evaluate(config, workdir: pathlib.Path) -> tuple[dict, pathlib.Path]:
    """Evaluates the best checkpoint of a run on the config's test split.

    Returns:
        (content, path) of the results file: results.json, or results-<dataset>-<split>.json where the data fields
        are not those of the run.

    Raises:
        InputError: the workdir holds no run, or one of another model.
    """
    trained = config_lib.read_json(workdir / "config.json")
    with workdir_lock(workdir) if distributed.first() else contextlib.nullcontext():
        run = open_run(config, workdir)
        encoders, look = make_encoders(run.model, run.mesh), beyond_pairs(config, run.data.split)
        ranks, beyond, seconds = rank_split(encoders, run.variables, run.data, config, run.mesh, look=look)
        content = _content(run, workdir, ranks, beyond, seconds)
        path = workdir / results_name(config, trained)
        if distributed.first():
            write_ranks(path, ranks, run.data.split)
            write_whole(path, to_text(content))
    return content, path
