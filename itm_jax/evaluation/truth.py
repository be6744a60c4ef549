"""Ground truth beyond the pairs of the data: ECCV Caption and CxC."""

import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from itm_jax.metrics.eccv import read_truth, truth_metrics
from itm_jax.structs import Split


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
