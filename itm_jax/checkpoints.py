"""Checkpoints with Orbax: the newest and the best by dev rSum are kept; restore, and start from another run."""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from itm_jax.errors import InputError
from itm_jax.train_state import TrainState

FOLDER = "checkpoints"


def open_manager(workdir: pathlib.Path, *, read_only: bool = False) -> ocp.CheckpointManager:
    """The manager of `workdir/checkpoints`; keeps the newest step and the one with the highest rSum."""
    # max_to_keep together with best_fn would delete the newest checkpoint when it is not the best.
    best = BestN(get_metric_fn=lambda m: m["rsum"], n=1, keep_checkpoints_without_metrics=False)
    options = ocp.CheckpointManagerOptions(
        preservation_policy=AnyPreservationPolicy([LatestN(1), best]), create=not read_only, read_only=read_only
    )
    return ocp.CheckpointManager((workdir / FOLDER).absolute(), options=options)


def save(manager: ocp.CheckpointManager, state: TrainState, meta: dict[str, Any], rsum: float | None = None) -> None:
    """Saves in the background under the state's step; nothing happens when that step is saved already."""
    step = int(state.step)
    if step in manager.all_steps():
        return
    args = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta))
    manager.save(step, args=args, metrics=None if rsum is None else {"rsum": rsum}, force=True)


def restore(manager: ocp.CheckpointManager, step: int, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
    """The state of a step, laid out like `like`, and the JSON saved with it.

    Raises:
        InputError: the checkpoint is damaged or belongs to another architecture.
    """
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)
    args = ocp.args.Composite(state=ocp.args.StandardRestore(target), meta=ocp.args.JsonRestore())
    try:
        out = manager.restore(step, args=args)
    except Exception as e:  # Orbax and TensorStore raise many kinds for damaged files
        reason = " ".join(str(e).split())[:300]
        raise InputError(f"{manager.directory / str(step)}: cannot be restored ({reason})") from None
    return out.state, dict(out.meta)


def best_step(workdir: pathlib.Path) -> int:
    """The step of a run's best checkpoint."""
    if not (workdir / FOLDER).is_dir():
        raise InputError(f"{workdir}: no checkpoints; train a run there first")
    with open_manager(workdir, read_only=True) as manager:
        steps = manager.all_steps()
        rated = [(manager.metrics(s)["rsum"], s) for s in steps if manager.metrics(s)]
    if not steps:
        raise InputError(f"{workdir / FOLDER}: no finished checkpoint")
    return max(rated)[1] if rated else max(steps)


def restore_variables(workdir: pathlib.Path, like: TrainState) -> tuple[dict[str, Any], int]:
    """Variables of a run's best checkpoint and its step.

    Raises:
        InputError: there is none, or its parameters are not those of `like`; names the ones that differ.
    """
    step = best_step(workdir)
    path = (workdir / FOLDER / str(step) / "state").absolute()
    with ocp.StandardCheckpointer() as checkpointer:
        saved = checkpointer.metadata(path)
        saved = saved.item_metadata if hasattr(saved, "item_metadata") else saved
        problems = _shape_problems({k: saved[k] for k in ("params", "batch_stats")}, like)
        if problems:
            raise InputError(f"{path.parent}: a checkpoint of another architecture: {'; '.join(problems[:5])}")
        # Laid out like `like`, not as it was saved: the run may have had other devices.
        target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=like.step.sharding), saved)
        restored = checkpointer.restore(path, target)
    return {name: restored[name] for name in ("params", "batch_stats")}, step


def _shape_problems(saved: dict[str, Any], like: TrainState) -> list[str]:
    def shapes(tree):
        return {
            jax.tree_util.keystr(p, simple=True, separator="/"): tuple(x.shape)
            for p, x in jax.tree_util.tree_leaves_with_path(tree)
        }

    theirs, ours = shapes(saved), shapes({"params": like.params, "batch_stats": like.batch_stats})
    out = [f"missing {n}" for n in sorted(set(ours) - set(theirs))]
    out += [f"unexpected {n}" for n in sorted(set(theirs) - set(ours))]
    return out + [f"{n} is {theirs[n]}, not {ours[n]}" for n in sorted(set(ours) & set(theirs)) if theirs[n] != ours[n]]
