"""Restores checkpoints: a damaged one is noticed by its checksums, set aside, and an older one is used."""

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from itm_jax.errors import DamagedError, InputError
from itm_jax.runs.checkpoints import FOLDER, Record, by_this_process, items_of, newest_record, read_record, steps_of
from itm_jax.runs.checksums import array_differences, check_files, checksums, describe
from itm_jax.runs.progress import Progress
from itm_jax.structs import TrainState

DAMAGED = "damaged"  # folder of the workdir


def _target(x: Any) -> Any:
    """Tells Orbax how to restore an array: with the same shape and dtype, on the same devices or on the host."""
    return x if isinstance(x, np.ndarray) else jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)


def _restore_item(workdir: pathlib.Path, record: Record, name: str, like: Any) -> Any:
    """Restores one item of a checkpoint, laid out like `like`, and compares its checksums."""
    path = (workdir / FOLDER / str(record.step) / name).absolute()
    problems = array_differences(record.arrays.get(name, {}), describe(like))
    if problems:
        raise InputError(
            f"{path.parent}: a checkpoint of another architecture ({'; '.join(problems[:5])}); set config.model as in "
            "the run that saved it"
        )
    target = jax.tree.map(_target, like)
    try:
        with ocp.StandardCheckpointer(multiprocessing_options=by_this_process()) as checkpointer:
            restored = checkpointer.restore(path, target)
        got = checksums(restored)
    except (MemoryError, PermissionError):
        raise
    except Exception as e:  # Orbax and TensorStore raise many kinds of errors for damaged files
        if "RESOURCE_EXHAUSTED" in str(e):
            raise
        raise DamagedError(f"damaged: {name} cannot be restored ({_short(e)})") from None
    wrong = [leaf for leaf, value in got.items() if record.checksums.get(name, {}).get(leaf) != value]
    if wrong:
        raise DamagedError(f"damaged: {len(wrong)} arrays are not what was saved, among them {wrong[0]}")
    return restored


def restore(workdir: pathlib.Path, step: int, like: TrainState) -> tuple[TrainState, Progress]:
    """Returns the state of a step, laid out like `like`, and the progress that was saved with it.

    Raises:
        DamagedError: the checkpoint differs from what was saved.
        InputError: the checkpoint has another architecture; the message names the arrays that differ.
    """
    record = read_record(workdir, step)
    check_files(workdir / FOLDER / str(step))
    parts: dict[str, Any] = {}
    for name, tree in items_of(like).items():
        parts |= _restore_item(workdir, record, name, tree)
    return TrainState(**parts), record.progress


def restore_newest(
    workdir: pathlib.Path, like: TrainState, say: Callable[[str], None]
) -> tuple[TrainState, Progress] | None:
    """Returns the newest intact checkpoint whose best checkpoint is also intact, or None where there is none.

    Every newer checkpoint is named through `say` and moved to `workdir/damaged`. The run continues from the checkpoint
    before it, and reaches the same numbers again. The caller must be the only writer of the workdir.
    """
    for step in steps_of(workdir):
        try:
            state, progress = restore(workdir, step, like)
            _check_best(workdir, step, progress.best_step, like)
            return state, progress
        except DamagedError as e:
            aside = _set_aside(workdir, step)
            say(f"warning: {workdir / FOLDER / str(step)}: {e}; moved to {aside}, going on without it")
    return None


def _best_variables(workdir: pathlib.Path, step: int, like: dict[str, Any]) -> dict[str, Any]:
    record = read_record(workdir, step)
    check_files(workdir / FOLDER / str(step), "variables/")
    return _restore_item(workdir, record, "variables", like)


def _check_best(workdir: pathlib.Path, step: int, best: int, like: TrainState) -> None:
    """Raises DamagedError where the best checkpoint that checkpoint `step` recorded is missing or damaged."""
    if best in (0, step):
        return
    try:
        _best_variables(workdir, best, items_of(like)["variables"])
    except DamagedError as e:
        raise DamagedError(f"the best checkpoint before it, {best}, is lost: {e}") from None


def _set_aside(workdir: pathlib.Path, step: int) -> pathlib.Path:
    (workdir / DAMAGED).mkdir(exist_ok=True)
    taken = len(list((workdir / DAMAGED).glob(f"{step}*")))
    target = workdir / DAMAGED / (f"{step}-{taken}" if taken else str(step))
    return (workdir / FOLDER / str(step)).rename(target)


def restore_variables(workdir: pathlib.Path, like: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Returns the variables of a run's best checkpoint, and its step.

    Before the first evaluation on dev the newest checkpoint counts as the best.

    Args:
        workdir: the workdir of the run.
        like: `{"params", "batch_stats"}`, arrays or shape structs with shardings.

    Raises:
        InputError: there is no checkpoint, it is damaged, or its arrays differ from `like`; the message names them.
    """
    newest = newest_record(workdir)
    step = newest.progress.best_step or newest.step
    path = workdir / FOLDER / str(step)
    try:
        return _best_variables(workdir, step, like), step
    except DamagedError as e:
        raise InputError(
            f"{path}: the best checkpoint: {e}; run the training command again, it continues from the newest intact "
            "checkpoint"
        ) from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
