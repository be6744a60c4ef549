"""Checkpoints with Orbax, with checksums of all arrays. A run keeps its two newest, and the best of each by dev rSum.

A step's directory has three items: `variables` (parameters, running statistics), `progress` (step, optimiser state,
skipped steps) and `meta`, a sealed JSON record with the checksums. `files.json` has the checksums of the files. Orbax
makes the directory appear whole or not at all. It does not notice a flipped bit, and it does not fall back to an older
step: this module and `restore.py` do both.
"""

import dataclasses
import errno
import os
import pathlib
import shutil
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from itm_jax.errors import DamagedError, InputError
from itm_jax.files import free_space
from itm_jax.runs.checksums import checksums, describe, read_sealed, seal, write_files
from itm_jax.runs.progress import Progress
from itm_jax.structs import TrainState

FOLDER = "checkpoints"
UNFINISHED = "*.orbax-checkpoint-tmp*"
NEWEST = 2  # newest checkpoints that are kept: if one is damaged, the run continues from the other
SLACK = 1 << 20  # upper bound of the bytes that a checkpoint takes besides its arrays
VARIABLES = ("params", "batch_stats")
PROGRESS = ("step", "opt_state", "skipped")


def by_this_process() -> ocp.options.MultiprocessingOptions:
    """Makes Orbax read and write in this process alone: it must not wait for the other processes of the run."""
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    me = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process_{me}"
    )


class Keep:
    """Orbax preservation policy: keeps the newest checkpoints, and for each of them the best one that it recorded.

    Attributes:
        best_of: for each step with a checkpoint, the step of the best checkpoint up to then.
    """

    def __init__(self, best_of: dict[int, int]):
        self.best_of = best_of

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        """Returns for each of the checkpoints, oldest first, whether to keep it."""
        del context
        newest = {info.step for info in checkpoints[-NEWEST:]}
        best = {self.best_of.get(step) for step in newest}
        return [info.step in newest | best for info in checkpoints]


class Manager(ocp.CheckpointManager):
    """Writes `workdir/checkpoints`. First it removes what an interrupted save left there."""

    def __init__(self, workdir: pathlib.Path):
        folder = (workdir / FOLDER).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._began_in = folder, _inode(folder)
        for left in folder.glob(UNFINISHED):
            shutil.rmtree(left, ignore_errors=True)
        self.keep = Keep({step: _best_of(workdir, step) for step in steps_of(workdir)[:NEWEST]})

        def write_checksums() -> None:
            """Runs when all files of a step are written, and before its directory gets its final name."""
            for unfinished in folder.glob(UNFINISHED):
                write_files(unfinished)

        options = ocp.CheckpointManagerOptions(
            preservation_policy=self.keep,
            async_options=ocp.AsyncOptions(post_finalization_callback=write_checksums),
            multiprocessing_options=by_this_process(),
            create=False,
        )
        super().__init__(folder, options=options)

    def wait_until_finished(self) -> None:
        """Waits for the save in the background.

        Raises:
            InputError: the folder was removed in the meantime, or the save took too long by the clock of the machine.
        """
        try:
            super().wait_until_finished()
        except Exception as e:
            if isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
                raise  # the cause itself
            if _inode(self.folder) != self._began_in:
                what = f"{self.folder}: was removed while the run saved there; start the same command again"
            elif isinstance(e, TimeoutError):
                what = (
                    f"{self.folder}: saving took too long, or the clock of the machine was set while it saved; the "
                    "same command continues"
                )
            else:
                raise
            raise InputError(what) from None


def _inode(folder: pathlib.Path) -> int | None:
    """The number of a folder on its disk; another folder of the same name has another number. None: it is gone."""
    try:
        return folder.stat().st_ino
    except OSError:
        return None


def steps_of(workdir: pathlib.Path) -> list[int]:
    """The steps of the finished checkpoints, newest first."""
    folder = workdir / FOLDER
    return sorted((int(p.name) for p in folder.iterdir() if p.name.isdigit()), reverse=True) if folder.is_dir() else []


def items_of(state: TrainState) -> dict[str, dict[str, Any]]:
    """The parts of a state that are saved as items of their own."""
    return {
        "variables": {name: getattr(state, name) for name in VARIABLES},
        "progress": {name: getattr(state, name) for name in PROGRESS},
    }


def save(manager: Manager, state: TrainState, progress: Progress) -> None:
    """Saves in the background under the state's step; nothing happens when that step is saved already.

    Args:
        manager: the manager of the run's workdir.
        state: what to save.
        progress: is saved with the state; the checkpoint of its `best_step` is kept as the best.

    Raises:
        OSError: the disk has no room for the checkpoint (ENOSPC).
    """
    step = int(state.step)
    if step in manager.all_steps():
        return
    _check_space(manager, sum(x.nbytes for x in jax.tree.leaves(state)))
    items = items_of(state)
    content = dataclasses.asdict(progress) | {
        "arrays": {name: describe(tree) for name, tree in items.items()},
        "checksums": {name: checksums(tree) for name, tree in items.items()},
    }
    manager.keep.best_of[step] = progress.best_step
    saved = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
    manager.save(step, args=ocp.args.Composite(**saved, meta=ocp.args.JsonSave(seal(content))), force=True)


def _check_space(manager: Manager, size: int) -> None:
    """Raises OSError where a checkpoint of `size` bytes does not fit.

    Without this check Orbax fails in its threads and prints many lines.
    """
    folder = pathlib.Path(manager.directory)
    if free_space(folder) < size + SLACK:
        manager.wait_until_finished()  # the end of a save removes checkpoints that are no longer kept
        if free_space(folder) < size + SLACK:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


class Record(NamedTuple):
    """What a checkpoint records of itself.

    Attributes:
        step: its step.
        progress: that of the run.
        arrays: dtype and shape of the arrays, by item and name.
        checksums: of the arrays, by item and name.
    """

    step: int
    progress: Progress
    arrays: dict[str, dict[str, str]]
    checksums: dict[str, dict[str, str]]


def read_record(workdir: pathlib.Path, step: int) -> Record:
    """Returns the sealed record of a checkpoint. Raises DamagedError where it differs from what was saved."""
    meta = read_sealed(workdir / FOLDER / str(step) / "meta" / "metadata")
    progress = Progress.of_record(meta)
    if not all(_is_table(meta.get(part)) for part in ("arrays", "checksums")):
        raise DamagedError("damaged: its record does not name its arrays")
    return Record(step, progress, meta["arrays"], meta["checksums"])


def _is_table(value: Any) -> bool:
    """Returns whether a value is {item: {array: text}}."""
    return isinstance(value, dict) and all(
        isinstance(items, dict) and all(isinstance(text, str) for text in items.values()) for items in value.values()
    )


def _best_of(workdir: pathlib.Path, step: int) -> int:
    """The best step that a checkpoint recorded; 0 where the checkpoint is damaged."""
    try:
        return read_record(workdir, step).progress.best_step
    except DamagedError:
        return 0


def newest_path(workdir: pathlib.Path) -> str:
    """The path of the newest checkpoint, for messages."""
    steps = steps_of(workdir)
    return str(workdir / FOLDER / str(steps[0])) if steps else "none yet"


def newest_record(workdir: pathlib.Path) -> Record:
    """Returns the newest intact record among the checkpoints of a run.

    Raises:
        InputError: the run has no checkpoint with an intact record.
    """
    if not (workdir / FOLDER).is_dir():
        raise InputError(f"{workdir}: no checkpoints; train a run there first")
    for step in steps_of(workdir):
        try:
            return read_record(workdir, step)
        except DamagedError:
            continue
    raise InputError(f"{workdir / FOLDER}: no intact checkpoint; run the training command again")
