"""Scores of all pairs, in tiles. The tile, not the split, decides the peak memory of a device."""

from itm_jax.scoring.matrix import score_matrix
from itm_jax.scoring.streaming import Retrieved, retrieve

__all__ = ["Retrieved", "retrieve", "score_matrix"]
