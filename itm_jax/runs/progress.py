"""How far a run has come: what its checkpoints keep beside the state of training."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from itm_jax.errors import DamagedError

KINDS = {"best_step": (int,), "total_steps": (int,), "best_rsum": (int, float), "train_seconds": (int, float)}


@dataclasses.dataclass(frozen=True)
class Progress:
    """What every checkpoint keeps beside the state.

    Attributes:
        best_rsum: the best rSum on dev so far; -1 before the first evaluation.
        best_step: the step at which the best rSum was reached; 0 before the first evaluation.
        train_seconds: seconds of training so far, over all starts.
        code: hashes of the code that trained the run (`provenance.code_version`); "unknown" for old runs.
        total_steps: steps of the whole run.
    """

    best_rsum: float = -1.0
    best_step: int = 0
    train_seconds: float = 0.0
    code: tuple[str, ...] = ()
    total_steps: int = 0

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Progress":
        """Takes the progress from the record of a checkpoint. A field that the record lacks gets its default.

        Raises:
            DamagedError: a value has another type than a run writes.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        values = {"code": ["unknown"]} | {name: record[name] for name in names if name in record}
        for name, value in values.items():
            fits = isinstance(value, list | tuple) if name == "code" else type(value) in KINDS[name]
            if not fits or (name == "code" and not all(isinstance(x, str) for x in value)):
                raise DamagedError(f"damaged: {name} of its record is {value!r:.40}")
        return cls(**values | {"code": tuple(values["code"])})

    def evaluated(self, step: int, rsum: float) -> "Progress":
        """Returns the progress after an evaluation on dev. Of two equal evaluations the earlier one stays the best."""
        return dataclasses.replace(self, best_rsum=rsum, best_step=step) if rsum > self.best_rsum else self
