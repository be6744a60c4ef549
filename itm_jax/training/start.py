"""The state that training starts from."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from itm_jax.devices import distributed
from itm_jax.devices.mesh import replicated
from itm_jax.models.cpfean import WORD_PRIOR
from itm_jax.runs import checkpoints
from itm_jax.runs.display import say
from itm_jax.runs.provenance import code_version
from itm_jax.runs.workdir import check_vocabulary
from itm_jax.structs import TrainState
from itm_jax.training.build import Run
from itm_jax.training.state import init_optimizer


def first_state(run: Run, workdir: pathlib.Path) -> tuple[TrainState, dict[str, Any]]:
    """Where training begins: the newest whole checkpoint, else the run of `init_from`, else the fresh state."""
    config = run.config
    meta = {"best_rsum": -1.0, "best_step": 0, "train_seconds": 0.0, "code": []}
    state = run.state
    found = distributed.by_first(lambda like: checkpoints.restore_newest(workdir, like, say), state)
    if found:
        state = found[0]
        meta |= {"code": ["unknown"]} | {k: found[1][k] for k in meta if k in found[1]}  # of versions that did not say
    elif config.init_from:
        other = pathlib.Path(config.init_from).expanduser()
        check_vocabulary(run.text, other)
        state = from_best(run, state, other)
    meta["code"] = sorted({*meta["code"], code_version()["source"]})
    return state, meta | {"total_steps": max(1, round(config.train.epochs * run.steps_per_epoch))}


def from_best(run: Run, state: TrainState, other: pathlib.Path) -> TrainState:
    """The fresh state with the best parameters and running statistics of the run `other`; word priors stay its own."""
    prior = state.batch_stats.get(WORD_PRIOR)
    statistics = {k: v for k, v in state.batch_stats.items() if k != WORD_PRIOR}
    if any(WORD_PRIOR in name for name in checkpoints.newest_meta(other)["arrays"]["variables"]):
        size = (run.config.model.text.vocab_size,)
        statistics[WORD_PRIOR] = jax.ShapeDtypeStruct(size, jnp.float32, sharding=replicated(run.mesh))
    like = {"params": state.params, "batch_stats": statistics}
    variables, _ = distributed.by_first(lambda like: checkpoints.restore_variables(other, like), like)
    statistics = {k: v for k, v in variables["batch_stats"].items() if k != WORD_PRIOR}
    if prior is not None:
        statistics[WORD_PRIOR] = prior
    params = variables["params"]
    opt_state = init_optimizer(run.optimizer, params, sharded=run.config.optim.sharded, mesh=run.mesh)
    return state.replace(params=params, batch_stats=statistics, opt_state=opt_state)
