"""All-pairs scores in tiles: peak device memory is set by the tile, not by the split."""

from itm_jax.scoring.matrix import score_matrix
from itm_jax.scoring.streaming import Retrieved, retrieve

__all__ = ["Retrieved", "retrieve", "score_matrix"]
