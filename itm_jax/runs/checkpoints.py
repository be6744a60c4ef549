"""Checkpoints with Orbax: the two newest and their best by dev rSum are kept, each with checksums of all its arrays.

A step's directory has three items: `variables` (parameters, running statistics), `progress` (step, optimiser state,
skipped steps) and `meta`, a sealed JSON record with the checksums; `files.json` has those of its files. Orbax makes the
directory appear whole or not at all, but neither reads a flipped bit as damage nor falls back to an older step: that is
done here.
"""

import dataclasses
import errno
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from itm_jax.errors import DamagedError, InputError
from itm_jax.files import free_space
from itm_jax.runs.checksums import check_files, checksums, describe, read_sealed, seal, write_files
from itm_jax.runs.progress import Progress
from itm_jax.structs import TrainState

FOLDER = "checkpoints"
DAMAGED = "damaged"
UNFINISHED = "*.orbax-checkpoint-tmp*"
NEWEST = 2  # checkpoints besides the best: one to go on from where the other turns out to be damaged
SLACK = 1 << 20  # bytes that a checkpoint takes besides its arrays, generously
VARIABLES = ("params", "batch_stats")
PROGRESS = ("step", "opt_state", "skipped")


def _by_this_process() -> ocp.options.MultiprocessingOptions:
    """One process reads and writes; Orbax must not wait for the others of the run."""
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    me = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process_{me}"
    )


class Keep:
    """Orbax preservation policy: the newest checkpoints, and the best one as each of them knows it.

    Attributes:
        best_of: step of the best checkpoint, by the step at which it was.
    """

    def __init__(self, best_of: dict[int, int]):
        self.best_of = best_of

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        """Whether to keep each of the checkpoints, oldest first."""
        del context
        newest = {info.step for info in checkpoints[-NEWEST:]}
        best = {self.best_of.get(step) for step in newest}
        return [info.step in newest | best for info in checkpoints]


class Manager(ocp.CheckpointManager):
    """Writes `workdir/checkpoints`; removes first what an interrupted save left there."""

    def __init__(self, workdir: pathlib.Path):
        folder = (workdir / FOLDER).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(UNFINISHED):
            shutil.rmtree(left, ignore_errors=True)
        self.keep = Keep({step: _best_of(workdir, step) for step in steps_of(workdir)[:NEWEST]})
        # Called when all files of a step are written and before its directory gets its final name.
        after = ocp.AsyncOptions(post_finalization_callback=lambda: [write_files(p) for p in folder.glob(UNFINISHED)])
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self.keep,
            async_options=after,
            multiprocessing_options=_by_this_process(),
            create=False,
        )
        super().__init__(folder, options=options)


def steps_of(workdir: pathlib.Path) -> list[int]:
    """The steps of the finished checkpoints, newest first."""
    folder = workdir / FOLDER
    return sorted((int(p.name) for p in folder.iterdir() if p.name.isdigit()), reverse=True) if folder.is_dir() else []


def _items(state: TrainState) -> dict[str, dict[str, Any]]:
    return {
        "variables": {name: getattr(state, name) for name in VARIABLES},
        "progress": {name: getattr(state, name) for name in PROGRESS},
    }


def save(manager: Manager, state: TrainState, progress: Progress) -> None:
    """Saves in the background under the state's step; nothing happens when that step is saved already.

    Args:
        manager: of the run's workdir.
        state: what to save.
        progress: goes with it; the checkpoint of its `best_step` is kept as the best.

    Raises:
        OSError: the disk has no room for it (ENOSPC).
    """
    step = int(state.step)
    if step in manager.all_steps():
        return
    _check_space(manager, sum(x.nbytes for x in jax.tree.leaves(state)))
    items = _items(state)
    content = dataclasses.asdict(progress) | {
        "arrays": {name: describe(tree) for name, tree in items.items()},
        "checksums": {name: checksums(tree) for name, tree in items.items()},
    }
    manager.keep.best_of[step] = progress.best_step
    saved = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
    manager.save(step, args=ocp.args.Composite(**saved, meta=ocp.args.JsonSave(seal(content))), force=True)


def _check_space(manager: Manager, size: int) -> None:
    """Raises OSError where a checkpoint of `size` bytes does not fit: Orbax finds out in its threads, with much noise."""
    folder = pathlib.Path(manager.directory)
    if free_space(folder) < size + SLACK:
        manager.wait_until_finished()  # which removes what is no longer kept
        if free_space(folder) < size + SLACK:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def read_meta(workdir: pathlib.Path, step: int) -> dict[str, Any]:
    """The sealed record of a checkpoint. Raises DamagedError where it is not what was saved."""
    return read_sealed(workdir / FOLDER / str(step) / "meta" / "metadata")


def _best_of(workdir: pathlib.Path, step: int) -> int:
    """The best step as a checkpoint knows it, 0 where it is damaged."""
    try:
        return read_meta(workdir, step)["best_step"]
    except DamagedError:
        return 0


def _target(x: Any) -> Any:
    """What Orbax shall make of an array: one like it, on the same devices or on the host."""
    return x if isinstance(x, np.ndarray) else jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)


def _restore_item(workdir: pathlib.Path, step: int, name: str, meta: dict[str, Any], like: Any) -> Any:
    """One item of a checkpoint, laid out like `like`, its checksums compared."""
    path = (workdir / FOLDER / str(step) / name).absolute()
    problems = _differences(meta["arrays"][name], describe(like))
    if problems:
        raise InputError(f"{path.parent}: a checkpoint of another architecture: {'; '.join(problems[:5])}")
    target = jax.tree.map(_target, like)
    try:
        with ocp.StandardCheckpointer(multiprocessing_options=_by_this_process()) as checkpointer:
            restored = checkpointer.restore(path, target)
        got = checksums(restored)
    except (MemoryError, PermissionError):
        raise
    except Exception as e:  # Orbax and TensorStore raise many kinds for damaged files
        if "RESOURCE_EXHAUSTED" in str(e):
            raise
        raise DamagedError(f"damaged: {name} cannot be restored ({_short(e)})") from None
    wrong = [leaf for leaf, value in meta["checksums"][name].items() if got[leaf] != value]
    if wrong:
        raise DamagedError(f"damaged: {len(wrong)} arrays are not what was saved, among them {wrong[0]}")
    return restored


def restore(workdir: pathlib.Path, step: int, like: TrainState) -> tuple[TrainState, Progress]:
    """The state of a step, laid out like `like`, and the progress saved with it.

    Raises:
        DamagedError: it is not what was saved.
        InputError: it belongs to another architecture; names the arrays that differ.
    """
    meta = read_meta(workdir, step)
    check_files(workdir / FOLDER / str(step))
    parts = {}
    for name, tree in _items(like).items():
        parts |= _restore_item(workdir, step, name, meta, tree)
    return TrainState(**parts), Progress.of_record(meta)


def restore_newest(
    workdir: pathlib.Path, like: TrainState, say: Callable[[str], None]
) -> tuple[TrainState, Progress] | None:
    """The newest intact checkpoint whose best checkpoint is also intact, or None where there is none.

    Any other is named through `say` and moved to `workdir/damaged`, out of the way of the run, which goes on from the
    one before and comes to the same numbers again. It must be the only writer of the workdir.
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
    meta = read_meta(workdir, step)
    check_files(workdir / FOLDER / str(step), "variables/")
    return _restore_item(workdir, step, "variables", meta, like)


def _check_best(workdir: pathlib.Path, step: int, best: int, like: TrainState) -> None:
    """Raises DamagedError where the best checkpoint at the time of checkpoint `step` is lost."""
    if best in (0, step):
        return
    try:
        _best_variables(workdir, best, _items(like)["variables"])
    except DamagedError as e:
        raise DamagedError(f"the best checkpoint before it, {best}, is lost: {e}") from None


def _set_aside(workdir: pathlib.Path, step: int) -> pathlib.Path:
    (workdir / DAMAGED).mkdir(exist_ok=True)
    taken = len(list((workdir / DAMAGED).glob(f"{step}*")))
    target = workdir / DAMAGED / (f"{step}-{taken}" if taken else str(step))
    return (workdir / FOLDER / str(step)).rename(target)


def newest_path(workdir: pathlib.Path) -> str:
    """The newest checkpoint, for messages."""
    steps = steps_of(workdir)
    return str(workdir / FOLDER / str(steps[0])) if steps else "none yet"


class Record(NamedTuple):
    """What a checkpoint says of itself: its step, the run's progress, and the shapes of its arrays by item and name."""

    step: int
    progress: Progress
    arrays: dict[str, dict[str, str]]


def newest_record(workdir: pathlib.Path) -> Record:
    """The record of a run's newest intact checkpoint.

    Raises:
        InputError: there is none.
    """
    if not (workdir / FOLDER).is_dir():
        raise InputError(f"{workdir}: no checkpoints; train a run there first")
    for step in steps_of(workdir):
        try:
            meta = read_meta(workdir, step)
            return Record(step, Progress.of_record(meta), meta["arrays"])
        except DamagedError:
            continue
    raise InputError(f"{workdir / FOLDER}: no finished checkpoint")


def restore_variables(workdir: pathlib.Path, like: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Variables of a run's best checkpoint (its newest, before the first evaluation on dev) and its step.

    Args:
        workdir: of the run.
        like: `{"params", "batch_stats"}`, arrays or shape structs with shardings.

    Raises:
        InputError: there is none, it is damaged, or its parameters are not those of `like`; names what differs.
    """
    newest = newest_record(workdir)
    step = newest.progress.best_step or newest.step
    path = workdir / FOLDER / str(step)
    try:
        return _best_variables(workdir, step, like), step
    except DamagedError as e:
        raise InputError(
            f"{path}: the best checkpoint: {e}; the command that trained the run, given again, trains on from the "
            "newest one that is whole"
        ) from None


def _differences(saved: dict[str, str], like: dict[str, str]) -> list[str]:
    out = [f"missing {n}" for n in sorted(set(like) - set(saved))]
    out += [f"unexpected {n}" for n in sorted(set(saved) - set(like))]
    return out + [f"{n} is {saved[n]}, not {like[n]}" for n in sorted(set(saved) & set(like)) if saved[n] != like[n]]


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
