"""`scenes` that are read slowly, so that a fault can meet a run in the middle."""

import dataclasses
import os
import time
from typing import Any

import numpy as np

from itm_jax.data.elsewhere import RowsElsewhere
from itm_jax.data.scenes.world import make_split

SECONDS = "FAULTS_SECONDS"  # the variable that says how long a batch takes


class SlowFeatures(RowsElsewhere):
    """Features that take a while."""

    def __init__(self, features: np.ndarray):
        super().__init__(features.shape, features.dtype)
        self._features = features

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Rows by their indices."""
        time.sleep(float(os.environ.get(SECONDS, "0.05")))
        return self._features[rows]


def read(data: Any, name: str):
    """A data source."""
    split = make_split(data.scenes, name)
    features: Any = SlowFeatures(split.features)
    return dataclasses.replace(split, features=features) if name == "train" else split
