"""What a trained run says of itself before it is evaluated: its state, and what was selected on dev."""

import pathlib
from typing import Any

from itm_jax import files
from itm_jax.errors import InputError
from itm_jax.runs import checkpoints


def state(workdir: pathlib.Path) -> str:
    """Returns `finished`, `cut off` or `missing`: whether the run in a workdir was trained to its last step."""
    if not (workdir / checkpoints.FOLDER).is_dir():
        return "missing"
    try:
        record = checkpoints.newest_record(workdir)
    except InputError:  # no checkpoint is whole yet
        return "cut off"
    return "finished" if record.step >= record.progress.total_steps > 0 else "cut off"


def content(workdir: pathlib.Path) -> dict[str, Any]:
    """Returns the selection on dev of a trained run, its steps, its seconds and its data.

    Raises:
        InputError: the run has no checkpoint.
    """
    progress = checkpoints.newest_record(workdir).progress
    return {
        "selection": {"rsum": progress.best_rsum, "step": progress.best_step},
        "steps": progress.total_steps,
        "seconds": {"train": progress.train_seconds},
        "data": files.read_json(workdir / "data.json", "remove the run, and it is trained again"),
    }
