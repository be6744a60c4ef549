"""How far a run has come: what its checkpoints keep beside the state of training."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Progress:
    """What goes with every checkpoint.

    Attributes:
        best_rsum: the best rSum on dev so far; -1 before the first evaluation.
        best_step: the step at which it was reached; 0 before the first evaluation.
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
        """From the record of a checkpoint, which has more in it; a field that old versions did not write has its default."""
        names = [field.name for field in dataclasses.fields(cls)]
        values = {"code": ["unknown"]} | {name: record[name] for name in names if name in record}
        return cls(**values | {"code": tuple(values["code"])})

    def evaluated(self, step: int, rsum: float) -> "Progress":
        """After an evaluation on dev: the best one stays, the earlier of two equal ones."""
        return dataclasses.replace(self, best_rsum=rsum, best_step=step) if rsum > self.best_rsum else self
