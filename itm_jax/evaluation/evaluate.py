"""Evaluation of a run: its best checkpoint on a split, written to a results file."""

import contextlib
import pathlib
from typing import Any

from itm_jax.config.fields import read_json
from itm_jax.devices import distributed
from itm_jax.evaluation.open_run import OpenRun, open_run
from itm_jax.evaluation.rank import Ranked
from itm_jax.evaluation.truth import ranks_and_truth
from itm_jax.files import write_whole
from itm_jax.metrics.retrieval import protocol_metrics
from itm_jax.models.variables import count_params
from itm_jax.runs.lock import workdir_lock
from itm_jax.runs.results import results, results_name, to_text, write_ranks


def results_of(run: OpenRun) -> tuple[Ranked, dict[str, Any]]:
    """The ranks of an open run on its split, and the content of the results file; nothing is written."""
    ranked, beyond = ranks_and_truth(run)
    split = run.data.split
    content = results(
        run.config,
        split,
        step=run.step,
        record=run.record,
        trained_on=run.trained_on,
        text=run.text.fingerprints,
        metrics=protocol_metrics(ranked.ranks, split.caption_image_index) | beyond,
        seconds={"train": run.record.progress.train_seconds} | ranked.seconds,
        params=count_params(run.variables["params"]),
    )
    return ranked, content


def evaluate(config, workdir: str | pathlib.Path) -> tuple[dict[str, Any], pathlib.Path]:
    """Evaluates the best checkpoint of a run on the test split of `config`. `config` stays as it is.

    Returns:
        (content, path) of the results file. It is results.json, or results-<dataset>-<split>.json where the data
        fields are not those of the run.

    Raises:
        InputError: the workdir holds no run, or a run of another model.
    """
    workdir = pathlib.Path(workdir).expanduser()
    read_json(workdir / "config.json")  # a workdir without a run is refused before anything is written there
    with workdir_lock(workdir) if distributed.first() else contextlib.nullcontext():
        run = open_run(config, workdir)
        ranked, content = results_of(run)
        path = workdir / results_name(run.config, run.trained)
        if distributed.first():
            write_ranks(path, ranked.ranks, run.data.split)
            write_whole(path, to_text(content))
    return content, path
