"""Evaluation: encode a split, score it in tiles, rank, and write the results of a run."""

import contextlib
import dataclasses
import pathlib
from typing import Any

import numpy as np

from itm_jax.config.fields import read_json
from itm_jax.devices import distributed
from itm_jax.evaluation.encode import make_encoders
from itm_jax.evaluation.open_run import OpenRun, open_run
from itm_jax.evaluation.rank import rank_split, score_split
from itm_jax.evaluation.truth import beyond_pairs
from itm_jax.files import write_whole
from itm_jax.metrics.retrieval import Ranks, protocol_metrics, protocol_ranks
from itm_jax.models.variables import count_params
from itm_jax.runs.checkpoints import newest_meta
from itm_jax.runs.lock import workdir_lock
from itm_jax.runs.provenance import config_hash
from itm_jax.runs.results import results, results_name, to_text, write_ranks
from itm_jax.runs.workdir import read_data
from itm_jax.structs import Split


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
    trained = read_json(workdir / "config.json")
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
