"""The state that training starts from."""

import dataclasses
import pathlib
from typing import Any

import jax

from itm_jax.data.statistics import shapes_of_statistics
from itm_jax.devices import distributed
from itm_jax.devices.mesh import replicated
from itm_jax.runs import checkpoints
from itm_jax.runs.progress import Progress
from itm_jax.runs.provenance import code_version
from itm_jax.runs.workdir import check_vocabulary
from itm_jax.structs import TrainState
from itm_jax.terminal import say
from itm_jax.training.build import Run
from itm_jax.training.state import init_optimizer


def first_state(run: Run, workdir: pathlib.Path) -> tuple[TrainState, Progress]:
    """Where training begins: the newest intact checkpoint, else the run of `init_from`, else the fresh state."""
    config, state, progress = run.config, run.state, Progress()
    restored = distributed.by_first(lambda like: _newest(workdir, like), state)
    if restored:
        state, progress = restored[0], Progress.of_record(restored[1])
    elif config.init_from:
        other = pathlib.Path(config.init_from).expanduser()
        check_vocabulary(run.text, other)
        state = from_best(run, state, other)
    code = tuple(sorted({*progress.code, code_version()["source"]}))
    total = max(1, round(config.train.epochs * run.steps_per_epoch))
    return state, dataclasses.replace(progress, code=code, total_steps=total)


def _newest(workdir: pathlib.Path, like: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
    """The newest intact checkpoint and its progress as JSON, which processes can send one another."""
    restored = checkpoints.restore_newest(workdir, like, say)
    return (restored[0], dataclasses.asdict(restored[1])) if restored else None


def from_best(run: Run, state: TrainState, other: pathlib.Path) -> TrainState:
    """The fresh state with the best parameters and running statistics of the run `other`.

    Statistics of the train captions stay those of this run.
    """
    of_data = shapes_of_statistics(run.config)
    own = {name: value for name, value in state.batch_stats.items() if name in of_data}
    like = {name: value for name, value in state.batch_stats.items() if name not in of_data}
    saved = checkpoints.newest_record(other).arrays["variables"]
    for name, shape in of_data.items():
        if any(name in leaf for leaf in saved):
            like[name] = jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=replicated(run.mesh))
    target = {"params": state.params, "batch_stats": like}
    variables, _ = distributed.by_first(lambda like: checkpoints.restore_variables(other, like), target)
    statistics = {name: value for name, value in variables["batch_stats"].items() if name not in of_data} | own
    params = variables["params"]
    opt_state = init_optimizer(run.optimizer, params, sharded=run.config.optim.sharded, mesh=run.mesh)
    return state.replace(params=params, batch_stats=statistics, opt_state=opt_state)
