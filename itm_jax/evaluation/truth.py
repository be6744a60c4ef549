"""Ground truth beyond the pairs of the data: ECCV Caption and CxC."""

import pathlib
from collections.abc import Sequence
from typing import Any

from itm_jax.errors import InputError
from itm_jax.evaluation.rank import Ranked, Scorer
from itm_jax.metrics.eccv import GroundTruth, read_truth, truth_metrics
from itm_jax.structs import Split


def truth_of(config: Any, split: Split) -> GroundTruth | None:
    """Reads the ground truth of a split where `eval.ground_truth` is set, else returns None.

    Raises:
        InputError: the files cannot be read, or do not belong to the split.
    """
    if not config.eval.ground_truth:
        return None
    return read_truth(pathlib.Path(config.eval.ground_truth).expanduser(), split)


def check_truth(config: Any, splits: Sequence[Split]) -> None:
    """Raises InputError where `eval.ground_truth` does not fit the config's test split, if `splits` has that split."""
    for split in splits:
        if split.name == config.data.test_split:
            truth_of(config, split)


def ranks_and_truth(scorer: Scorer) -> tuple[Ranked, dict[str, dict[str, float]]]:
    """The ranks of a split, and its metrics of ECCV Caption and CxC where the config asks for them.

    Raises:
        InputError: the ground truth cannot be read, or the scores that it needs do not fit in `eval.matrix_gb`.
    """
    truth = truth_of(scorer.config, scorer.data.split)
    if truth is not None and not scorer.can_hold_scores:
        raise InputError(
            "config.eval.ground_truth: needs the matrix of all scores; set config.eval.matrix_gb above "
            f"{scorer.gigabytes:.2g}"
        )
    ranked = scorer.ranks()
    if truth is None:
        return ranked, {}
    assert ranked.scores is not None  # the scorer holds them
    return ranked, truth_metrics(ranked.scores, truth)
