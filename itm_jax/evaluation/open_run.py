"""Opens a finished or stopped run."""

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np

from itm_jax.config.derived import depends_on_batch, resolve
from itm_jax.config.fields import read_json
from itm_jax.data import pipeline
from itm_jax.data.pipeline import TextSplit
from itm_jax.data.prepare import take_priors, with_text
from itm_jax.data.splits import read_split
from itm_jax.data.text.text_input import TextInput, load_text
from itm_jax.devices import distributed
from itm_jax.devices.mesh import make_mesh, replicated
from itm_jax.devices.programs import use_cache
from itm_jax.models import build
from itm_jax.models.variables import abstract_variables
from itm_jax.runs.checkpoints import restore_variables
from itm_jax.runs.results import results_name


@dataclasses.dataclass(frozen=True)
class OpenRun:
    """A finished or stopped run with its best parameters, and its test split."""

    config: Any
    text: TextInput
    data: TextSplit
    model: Any
    mesh: Any
    variables: Any
    step: int


def open_run(config, workdir: pathlib.Path) -> OpenRun:
    """The run in `workdir` with its best checkpoint, on the test split of `config`.

    Raises:
        InputError: the workdir holds no run, one of another model, or a damaged one.
    """
    use_cache(config)
    text = load_text(config, source=config.data.source, workdir=workdir)
    resolve(config)
    trained = read_json(workdir / "config.json")
    take_priors(config, trained)
    results_name(config, trained)  # refuses another model
    data = with_text(config, read_split(config, config.data.test_split), text)
    model, mesh, like = build_for_evaluation(config, data)
    variables, step = distributed.by_first(lambda like: restore_variables(workdir, like), like)
    return OpenRun(config, text, data, model, mesh, variables, step)


def build_for_evaluation(config, data: pipeline.TextSplit) -> tuple[Any, Any, dict[str, Any]]:
    """(model, mesh, shapes of its variables); nothing is initialised."""
    mesh = make_mesh(config.data.batch_size if depends_on_batch(config.model) else jax.device_count())
    model = build(config.model)
    shapes = abstract_variables(model, data.batch(np.arange(2)), data.constants)
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)), shapes)
    return model, mesh, like
