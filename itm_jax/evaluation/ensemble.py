"""Ensembles: the mean of the score matrices of finished runs with the same data and the same selection split."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from itm_jax.config.fields import FREE_FIELDS, PLACES, flatten, read_json, set_field
from itm_jax.data.splits import read_split
from itm_jax.errors import InputError
from itm_jax.evaluation.open_run import open_run
from itm_jax.evaluation.rank import Scored
from itm_jax.evaluation.truth import check_truth, truth_of
from itm_jax.files import write_whole
from itm_jax.metrics.eccv import truth_metrics
from itm_jax.metrics.retrieval import Ranks, protocol_metrics, protocol_ranks
from itm_jax.models.variables import count_params
from itm_jax.runs.bucket import open_workdir
from itm_jax.runs.checkpoints import Record
from itm_jax.runs.provenance import config_hash
from itm_jax.runs.results import results, results_path, to_text, write_ranks
from itm_jax.structs import Split

# Data fields that every member takes from the command.
EVALUATED = ("source", "name", "dir", "pairing", "test_split", "scenes", "alter")


class Member(NamedTuple):
    """The scores of a run, and what a results file says of it; neither its parameters nor its data are kept."""

    config: Any
    split: Split
    scored: Scored
    step: int
    record: Record
    trained_on: dict[str, Any]
    text: Mapping[str, str]
    params: int

    def describe(self) -> dict[str, Any]:
        """Returns what identifies the run as a member of an ensemble."""
        return {
            "model": self.config.model.name,
            "variant": self.config.model.variant,
            "seed": self.config.seed,
            "step": self.step,
            "config_hash": config_hash(self.config, self.text),
            "text": dict(self.text),
        }


def score_member(config, workdir: pathlib.Path) -> Member:
    """Scores the test split of `config` with the best checkpoint of the run in `workdir`."""
    run = open_run(config, workdir)
    params = count_params(run.variables["params"])
    text = run.text.fingerprints
    return Member(run.config, run.data.split, run.scores(), run.step, run.record, run.trained_on, text, params)


def member_config(config, run: pathlib.Path, first: Any) -> Any:
    """The config of a member, with the data of `config` and its fields that decide speed and memory.

    Where `config` has another place of the text encoder than `first`, the config of the first member, the encoder has
    moved; the new place holds for all members that had it at the old one.
    """
    member = read_json(run / "config.json")
    for name in PLACES:
        given, before = (flatten(c)[name] for c in (config, first))
        if given and before == flatten(member)[name]:
            set_field(member, name, given)
    for name in EVALUATED:
        member.data[name] = config.data[name]
    given = flatten(config)
    for name in FREE_FIELDS:
        value = given[name]
        set_field(member, name, tuple(value) if isinstance(value, list) else value)
    return member


def check_members(runs: Sequence[pathlib.Path], members: Sequence[Member]) -> None:
    """Raises InputError where a member is unfinished, or two members differ in data or in their selection split."""
    first = members[0]
    for path, member in zip(runs, members, strict=True):
        step, total = member.record.step, member.record.progress.total_steps
        if step < total:
            raise InputError(f"{path}: stopped at step {step} of {total}; finish it first")
        if member.config.data.dev_split != first.config.data.dev_split:
            raise InputError(
                f"{path}: selected on {member.config.data.dev_split}, {runs[0]} on {first.config.data.dev_split}; "
                "an ensemble does not mix them, leave one out"
            )
        for other, earlier in zip(runs, members, strict=True):
            if earlier is member:
                break
            same_seed = member.config.seed == earlier.config.seed
            if same_seed and np.array_equal(member.scored.scores, earlier.scored.scores):
                raise InputError(f"{path}: a copy of the run {other}; an ensemble counts each run once, leave one out")
        for name in sorted(set(first.trained_on) | set(member.trained_on)):
            a, b = (m.trained_on.get(name, {}).get("id") for m in (first, member))
            if a != b:
                raise InputError(
                    f"{path}: its split {name} differs from that of {runs[0]} (fingerprints {b} and {a}); an ensemble "
                    "does not mix them, leave one out"
                )


def evaluate_ensemble(config, runs: Sequence[pathlib.Path], workdir: str | pathlib.Path) -> tuple[dict, pathlib.Path]:
    """Evaluates the mean of the score matrices of `runs` on the test split of `config`.

    Returns:
        (content, path) of the results file in `workdir`, or in the local copy where that is in a bucket.

    Raises:
        InputError: a run is missing, unfinished or damaged, the runs differ in data or selection, or the workdir
            belongs to a run.
    """
    if len(runs) < 2:
        raise InputError("--ensemble: name at least two runs, --ensemble=RUN1,RUN2")
    for k, run in enumerate(runs):
        if run.resolve() in [other.resolve() for other in runs[:k]]:
            raise InputError(f"--ensemble: {run} is named twice; name each run once")
    with open_workdir(workdir, config.data.cache_dir, write=True) as (workdir, _):
        if (workdir / "config.json").exists():
            raise InputError(f"{workdir}: holds a run; give the ensemble a --workdir of its own")
        if config.eval.ground_truth:  # checked before hours of scoring
            check_truth(config, [read_split(config, config.data.test_split)])
        first = read_json(runs[0] / "config.json")
        members = [score_member(member_config(config, run, first), run) for run in runs]
        check_members(runs, members)
        content, ranks = _results_of(members)
        content["members"] = [m.describe() | {"run": str(run)} for run, m in zip(runs, members, strict=True)]
        trained = read_json(runs[0] / "config.json")
        trained.data.dir = config.data.dir  # the data may have moved; their content was compared above
        path = results_path(workdir, members[0].config, trained, content)
        write_ranks(path, ranks, members[0].split)
        write_whole(path, to_text(content))
    return content, path


def _results_of(members: Sequence[Member]) -> tuple[dict[str, Any], dict[str, Ranks]]:
    first = members[0]
    split = first.split
    scores = np.asarray(sum(m.scored.scores for m in members) / len(members))
    ranks = protocol_ranks(scores, split.caption_image_index)
    truth = truth_of(first.config, split)
    trained = sum(m.record.progress.train_seconds for m in members)
    content = results(
        first.config,
        split,
        step=0,
        record=first.record,
        trained=first.config,
        trained_on=first.trained_on,
        text=first.text,
        metrics=protocol_metrics(ranks, split.caption_image_index) | (truth_metrics(scores, truth) if truth else {}),
        seconds={"train": trained} | {k: sum(m.scored.seconds[k] for m in members) for k in members[0].scored.seconds},
        params=sum(m.params for m in members),
        mechanism={},
    )
    for key in ("step", "batch", "selection", "seed", "config_hash", "text", "finished", "variant"):
        del content[key]
    content["model"] = "ensemble"
    content["trained_by"] = sorted({code for m in members for code in m.record.progress.code})
    return content, ranks
