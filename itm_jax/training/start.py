"""The state that training starts from."""

import dataclasses
import pathlib
from typing import Any

import jax

from itm_jax.data.statistics import shapes_of_statistics
from itm_jax.devices import distributed
from itm_jax.devices.mesh import replicated
from itm_jax.errors import InputError
from itm_jax.runs import checkpoints
from itm_jax.runs.progress import Progress
from itm_jax.runs.provenance import code_version
from itm_jax.runs.restore import restore_newest, restore_variables
from itm_jax.runs.workdir import check_text_of
from itm_jax.structs import TrainState
from itm_jax.terminal import say
from itm_jax.training.build import Run
from itm_jax.training.state import init_optimizer


def first_state(run: Run, workdir: pathlib.Path) -> tuple[TrainState, Progress]:
    """Returns where training starts: the newest intact checkpoint, else the run `init_from`, else the fresh state."""
    config, state, progress = run.config, run.state, Progress()
    restored = distributed.by_first(lambda like: _newest(workdir, like), state)
    if restored:
        state, progress = restored[0], Progress.of_record(restored[1])
    elif config.model.text.pretrained and run.text.params is None:
        raise InputError(f"{workdir}: no intact checkpoint is left; run the same command again to start anew")
    elif config.init_from:
        other = pathlib.Path(config.init_from).expanduser()
        check_text_of(run.text, other, frozen=not config.model.text.trainable)
        state = from_best(run, state, other)
    code = tuple(sorted({*progress.code, code_version()["source"]}))
    total = max(1, round(config.train.epochs * run.steps_per_epoch))
    return state, dataclasses.replace(progress, code=code, total_steps=total)


def _newest(workdir: pathlib.Path, like: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
    """Returns the newest intact checkpoint, and its progress in a form that processes can send to each other."""
    restored = restore_newest(workdir, like, say)
    return (restored[0], dataclasses.asdict(restored[1])) if restored else None


def from_best(run: Run, state: TrainState, other: pathlib.Path) -> TrainState:
    """Returns the fresh state with the best parameters and running statistics of the run `other`.

    The statistics of the train captions stay those of this run.
    """
    caption_statistics = shapes_of_statistics(run.config)
    kept = {name: value for name, value in state.batch_stats.items() if name in caption_statistics}
    like = {name: value for name, value in state.batch_stats.items() if name not in caption_statistics}
    saved = checkpoints.newest_record(other).arrays["variables"]
    for name, shape in caption_statistics.items():
        if any(name in leaf for leaf in saved):
            like[name] = jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=replicated(run.mesh))
    target = {"params": state.params, "batch_stats": like}
    restored = distributed.by_first(lambda like: restore_variables(other, like), target)
    assert restored is not None  # it is restored, or an error is raised
    params, statistics = restored[0]["params"], restored[0]["batch_stats"]
    statistics = {name: value for name, value in statistics.items() if name not in caption_statistics} | kept
    opt_state = init_optimizer(run.optimizer, params, sharded=run.config.optim.sharded, mesh=run.mesh)
    return dataclasses.replace(state, params=params, batch_stats=statistics, opt_state=opt_state)
