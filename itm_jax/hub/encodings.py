"""Encoded images or captions, which carry the fingerprint of their model."""

import dataclasses
from typing import Any

import jax
import numpy as np

from itm_jax.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Encodings:
    """Encoded images, or encoded captions, of one model.

    Attributes:
        kind: `images` or `captions`.
        parts: (indices of items, their encodings) for each shape of encodings. A model that keeps words has one shape
            for each padded length.
        model: the fingerprint of the model.
        source: where the model comes from, for messages.
    """

    kind: str
    parts: list[tuple[np.ndarray, Any]]
    model: str
    source: str

    def __len__(self) -> int:
        """Returns the number of items."""
        return sum(len(index) for index, _ in self.parts)

    def item(self, k: int) -> "Encodings":
        """Returns the encodings of item k alone."""
        for index, part in self.parts:
            if len(where := np.flatnonzero(index == k)):
                one = jax.tree.map(lambda x: np.asarray(x)[where], part)
                return dataclasses.replace(self, parts=[(np.arange(1), one)])
        raise IndexError(f"item {k} of {len(self)}")

    def __repr__(self) -> str:
        """Returns what they are, in a line."""
        return f"<{len(self)} {self.kind}, encoded by {self.source} ({self.model})>"

    def check(self, kind: str, model: str, source: str) -> None:
        """Raises InputError where these are not `kind` of the model with the fingerprint `model`, from `source`."""
        if self.kind != kind:
            raise InputError(f"score: these are {self.kind}, where {kind} are expected; images come first")
        if self.model != model:
            raise InputError(
                f"score: {kind} encoded by {self.source} ({self.model}), but the model is {source} "
                f"({model}); encode both with the same model"
            )
