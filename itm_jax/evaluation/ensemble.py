"""Ensembles: the mean of the score matrices of finished runs that saw the same data and were selected on the same split."""

import pathlib
from collections.abc import Sequence
from typing import Any

from itm_jax.config.fields import FREE_FIELDS, flatten, read_json, set_field
from itm_jax.data.splits import read_split
from itm_jax.errors import InputError
from itm_jax.evaluation.evaluate import ScoredRun, score_run
from itm_jax.evaluation.truth import beyond_pairs, check_truth
from itm_jax.files import write_whole
from itm_jax.metrics.retrieval import protocol_metrics, protocol_ranks
from itm_jax.runs.lock import workdir_lock
from itm_jax.runs.results import results, results_name, to_text, write_ranks

EVALUATED = (
    "source",
    "name",
    "dir",
    "test_split",
    "scenes",
    "alter",
)  # data fields that every member takes from the command


def member_config(config, run: pathlib.Path) -> Any:
    """The config of a member, evaluated on the data of `config` and as fast and in as little memory as that says."""
    own = read_json(run / "config.json")
    for name in EVALUATED:
        own.data[name] = config.data[name]
    given = flatten(config)
    for name in FREE_FIELDS:
        set_field(own, name, given[name])
    return own


def check_members(runs: Sequence[pathlib.Path], members: Sequence[ScoredRun]) -> None:
    """Raises InputError where two members differ in data or in the split they were selected on, or one is unfinished."""
    first = members[0]
    for path, member in zip(runs, members, strict=True):
        if member.meta["step"] < member.meta["total_steps"]:
            raise InputError(
                f"{path}: stopped at step {member.meta['step']} of {member.meta['total_steps']}; finish it first"
            )
        if member.config.data.dev_split != first.config.data.dev_split:
            raise InputError(
                f"{path}: selected on {member.config.data.dev_split}, {runs[0]} on {first.config.data.dev_split}; "
                "an ensemble does not mix them"
            )
        for name in sorted(set(first.trained_on) | set(member.trained_on)):
            a, b = (m.trained_on.get(name, {}).get("id") for m in (first, member))
            if a != b:
                raise InputError(
                    f"{path}: its split {name} is other data (fingerprint {b}) than that of {runs[0]} ({a}); an "
                    "ensemble does not mix them"
                )


def evaluate_ensemble(config, runs: Sequence[pathlib.Path], workdir: pathlib.Path) -> tuple[dict, pathlib.Path]:
    """Evaluates the mean of the score matrices of `runs` on the test split of `config`.

    Returns:
        (content, path) of the results file in `workdir`.

    Raises:
        InputError: a run is missing, unfinished or damaged, the runs differ in data or selection, or the workdir is
            that of a run.
    """
    if len(runs) < 2:
        raise InputError("--ensemble: name at least two runs, --ensemble=RUN1,RUN2")
    with workdir_lock(workdir):
        if (workdir / "config.json").exists():
            raise InputError(f"{workdir}: holds a run; give the ensemble a --workdir of its own")
        if config.eval.ground_truth:  # before hours of scoring
            check_truth(config, [read_split(config, config.data.test_split)])
        members = [score_run(member_config(config, run), run) for run in runs]
        check_members(runs, members)
        split = members[0].split
        scores = sum(m.scores for m in members) / len(members)
        ranks = protocol_ranks(scores, split.caption_image_index)
        beyond = beyond_pairs(config, split)
        content = results(
            members[0].config,
            split,
            step=0,
            meta=members[0].meta,
            trained_on=members[0].trained_on,
            metrics=protocol_metrics(ranks, split.caption_image_index) | (beyond(scores) if beyond else {}),
            seconds={k: sum(m.seconds[k] for m in members) for k in members[0].seconds},
            params=sum(m.params for m in members),
        )
        for key in ("step", "selection", "seed", "config_hash", "finished", "variant"):
            del content[key]
        content["model"] = "ensemble"
        content["trained_by"] = sorted({code for m in members for code in m.meta.get("code", ["unknown"])})
        content["members"] = [m.describe() | {"run": str(run)} for run, m in zip(runs, members, strict=True)]
        trained = read_json(runs[0] / "config.json")
        trained.data.dir = config.data.dir  # the data may have moved; what they are was compared above
        path = workdir / results_name(members[0].config, trained)
        write_ranks(path, ranks, split)
        write_whole(path, to_text(content))
    return content, path
