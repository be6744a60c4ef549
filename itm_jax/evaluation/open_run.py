"""Opens a finished or stopped run: its best parameters, on a split."""

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np

from itm_jax.config.fields import read_json
from itm_jax.config.model_fields import depends_on_batch
from itm_jax.data.pipeline import TextSplit
from itm_jax.data.prepare import prepare
from itm_jax.data.text.text_input import TextInput
from itm_jax.devices import distributed
from itm_jax.devices.mesh import make_mesh, replicated
from itm_jax.devices.programs import use_cache
from itm_jax.evaluation.encode import make_encoders
from itm_jax.evaluation.rank import Scorer
from itm_jax.models import build
from itm_jax.models.variables import abstract_variables
from itm_jax.runs.checkpoints import Record, newest_record
from itm_jax.runs.restore import restore_variables
from itm_jax.runs.workdir import check_extractor, check_width, read_data


@dataclasses.dataclass(frozen=True)
class OpenModel(Scorer):
    """A trained model on some images and captions.

    Attributes:
        text: the text side of the model.
        model: the Linen module.
    """

    text: TextInput
    model: Any


@dataclasses.dataclass(frozen=True)
class OpenRun(OpenModel):
    """A finished or stopped run with its best parameters, on the test split of its config.

    Attributes:
        step: the step of the best checkpoint, which `variables` come from.
        record: the record of the newest checkpoint.
        trained_on: fingerprints of the train and dev splits.
        trained: the config that the run was trained with.
    """

    step: int
    record: Record
    trained_on: dict[str, Any]
    trained: Any


def open_run(config, workdir: str | pathlib.Path) -> OpenRun:
    """Opens the run in `workdir` with its best checkpoint, on the test split of `config`. `config` stays as it is.

    Raises:
        InputError: the workdir holds no run, a run of another model, or a damaged run.

    Examples:
        After the quickstart of the README; `scores` and `ranks` compute what `results.json` summarises.

            config = itm_jax.quickstart()
            run = itm_jax.open_run(config, "runs/quickstart")
            run.step, run.scores().scores.shape
    """
    workdir = pathlib.Path(workdir).expanduser()
    use_cache(config)
    trained = read_json(workdir / "config.json")
    prepared = prepare(config, [config.data.test_split], workdir=workdir, trained=trained, has_checkpoint=True)
    trained_on = read_data(workdir)
    check_width(prepared.splits[0], trained_on, workdir)
    check_extractor(prepared.splits[0], trained_on, workdir)
    data = prepared.with_text(prepared.splits[0])
    model, mesh, like = build_for_evaluation(prepared.config, data)
    restored = distributed.by_first(lambda like: restore_variables(workdir, like), like)
    assert restored is not None  # it is restored, or an error is raised
    variables, step = restored
    return OpenRun(
        config=prepared.config,
        data=data,
        mesh=mesh,
        encoders=make_encoders(model, mesh),
        variables=variables,
        text=prepared.text,
        model=model,
        step=step,
        record=newest_record(workdir),
        trained_on=trained_on,
        trained=trained,
        shown=distributed.first(),
    )


def build_for_evaluation(config, data: TextSplit) -> tuple[Any, Any, dict[str, Any]]:
    """Returns (model, mesh, shapes of the model's variables) of a completed config; nothing is initialised."""
    mesh = make_mesh(config.data.batch_size if depends_on_batch(config.model) else jax.device_count())
    model = build(config.model)
    shapes = abstract_variables(model, data.batch(np.arange(2)), data.constants)
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)), shapes)
    return model, mesh, like
