"""A model with its variables on a split: the scores of all pairs, and the ranks of all queries."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float, Int

from itm_jax.data.pipeline import TextSplit
from itm_jax.evaluation.encode import Encoded, Encoders, encode_split
from itm_jax.metrics.retrieval import Ranks, fold_ranks, folds, protocol_ranks
from itm_jax.scoring import retrieve, score_matrix


class Scored(NamedTuple):
    """The [i t] scores of a split, and the seconds that encoding and scoring took."""

    scores: Float[np.ndarray, "i t"]
    seconds: dict[str, float]


class Ranked(NamedTuple):
    """The ranks of a split by protocol.

    Attributes:
        ranks: the ranks of each protocol.
        seconds: the seconds of each part: encode, score, rank.
        scores: the [i t] scores; None where they were too many to be held at once.
        modality_gap: the cosine of the mean image and the mean caption; None for models with several vectors per item.
        encoded: the encodings of the split.
    """

    ranks: dict[str, Ranks]
    seconds: dict[str, float]
    scores: Float[np.ndarray, "i t"] | None
    modality_gap: float | None
    encoded: Encoded


def modality_gap(encoded: Encoded) -> float | None:
    """Returns the cosine of the mean image and the mean caption; None for models with several vectors per item.

    1 means that there is no gap, and -1 that the two modalities lie on opposite sides. (Liang et al., NeurIPS 2022, who
    named the gap, measure the distance of the two means.)
    """
    parts = [encoded.images, *(captions for _, captions in encoded.captions)]
    if not all(isinstance(x, np.ndarray) and x.ndim == 2 and x.shape[1] == parts[0].shape[1] for x in parts):
        return None
    image = encoded.images.mean(axis=0, dtype=np.float64)
    caption = np.concatenate([captions for _, captions in encoded.captions]).mean(axis=0, dtype=np.float64)
    return float(image @ caption / max(float(np.linalg.norm(image) * np.linalg.norm(caption)), 1e-12))


def scores_of(
    encoders: Encoders, variables: Any, encoded: Encoded, *, tile: int, mesh: Any
) -> Float[np.ndarray, "i t"]:
    """Returns the scores of encoded items in their order; captions come in groups of equal length."""
    score = Partial(encoders.score, variables)
    blocks = [score_matrix(score, encoded.images, part, tile=tile, mesh=mesh) for _, part in encoded.captions]
    if len(blocks) == 1:
        return blocks[0]
    return np.concatenate(blocks, axis=1)[:, np.argsort(np.concatenate([index for index, _ in encoded.captions]))]


@dataclasses.dataclass(frozen=True)
class Scorer:
    """A model with its variables, on a split.

    Attributes:
        config: a completed config.
        data: the split.
        mesh: the devices.
        encoders: the compiled functions of the model.
        variables: `{"params", "batch_stats"}`.
        shown: whether a bar shows the progress of encoding.
    """

    config: Any
    data: TextSplit
    mesh: Any
    encoders: Encoders
    variables: Any
    shown: bool = dataclasses.field(default=False, kw_only=True)

    def encode(self) -> Encoded:
        """Returns the encodings of the split."""
        return encode_split(
            self.encoders, self.variables, self.data, config=self.config, mesh=self.mesh, shown=self.shown
        )

    def scores_of(self, encoded: Encoded) -> Float[np.ndarray, "i t"]:
        """Returns the scores of encoded items in the order of the split."""
        return scores_of(self.encoders, self.variables, encoded, tile=self.config.eval.tile, mesh=self.mesh)

    def scores(self) -> Scored:
        """Returns the score of every image with every caption of the split."""
        began = time.perf_counter()
        encoded = self.encode()
        between = time.perf_counter()
        scores = self.scores_of(encoded)
        return Scored(scores, {"encode": between - began, "score": time.perf_counter() - between})

    @property
    def can_hold_scores(self) -> bool:
        """Whether all scores of the split fit in `eval.matrix_gb`."""
        return self.gigabytes <= self.config.eval.matrix_gb

    @property
    def gigabytes(self) -> float:
        """Size of the matrix of scores, in GB (10^9 bytes)."""
        return 4 * self.data.split.num_images * len(self.data.split.captions) / 1e9

    def ranks(self) -> Ranked:
        """Returns the ranks of all queries of the split.

        Scores that would fill more than `eval.matrix_gb` are reduced to ranks tile by tile. The seconds of ranking are
        then counted under `score`.
        """
        owner = self.data.split.caption_image_index
        times = [time.perf_counter()]
        encoded, scores = self.encode(), None
        times.append(time.perf_counter())
        if self.can_hold_scores:
            scores = self.scores_of(encoded)
            times.append(time.perf_counter())
            ranks = protocol_ranks(scores, owner)
        else:
            score = Partial(self.encoders.score, self.variables)
            ranks = streamed_ranks(score, encoded, owner, tile=self.config.eval.tile, mesh=self.mesh)
            times.append(time.perf_counter())
        times.append(time.perf_counter())
        seconds = dict(zip(("encode", "score", "rank"), np.diff(times).tolist(), strict=True))
        return Ranked(ranks, seconds, scores, modality_gap(encoded), encoded)


def streamed_ranks(
    score: Callable[[Any, Any], jax.Array], encoded: Encoded, owner: Int[np.ndarray, " t"], *, tile: int, mesh: Any
) -> dict[str, Ranks]:
    """Does the same as `metrics.retrieval.protocol_ranks`, without the matrix of all scores.

    Args:
        score: (images, captions) -> [i t] scores of encoded items.
        encoded: the items.
        owner: index of the image that each caption describes.
        tile: images and captions that are scored at a time.
        mesh: the devices.
    """

    def ranks(images, captions, owner):
        kept = retrieve(score, images, captions, owner, tile=tile, mesh=mesh)
        return Ranks(kept.image_ranks, kept.caption_ranks)

    ranks_of_folds, count = [], int(owner.max()) + 1
    for rows, columns in folds(owner, count):
        groups = []
        for index, captions in encoded.captions:
            here = np.isin(index, columns)
            if here.any():
                part = jax.tree.map(lambda x, here=here: x[here], captions)
                groups.append((np.searchsorted(columns, index[here]), part))
        fold_images = jax.tree.map(lambda x, rows=rows: x[rows], encoded.images)
        ranks_of_folds.append((rows, columns, ranks(fold_images, groups, owner[columns] - rows.start)))
    full = ranks(encoded.images, encoded.captions, owner)
    return {"full": full} | fold_ranks(ranks_of_folds, count, len(owner))
