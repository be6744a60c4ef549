"""Whether a training step fits on the devices, and what to change where it does not."""

import jax
import numpy as np
from jax.sharding import Mesh

from itm_jax.data.pipeline import TextSplit
from itm_jax.devices.mesh import split_batch
from itm_jax.devices.programs import device_memory, memory_of
from itm_jax.errors import InputError
from itm_jax.structs import Batch, TrainState
from itm_jax.training.build import Step


def largest_batch(data: TextSplit, batch_size: int, mesh: Mesh, *, regions: bool) -> Batch:
    """Shapes of the batch with the longest caption of the split, laid out over the mesh."""
    longest = int(data.table.lengths.argmax())
    example = data.batch(np.array([longest, longest]), regions=regions)
    sharding = split_batch(mesh)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((batch_size, *x.shape[1:]), x.dtype, sharding=sharding), example)


def remedies(config, mesh: Mesh) -> str:
    """Says what to change where a step does not fit: the fields that would help this config."""
    changes = ["config.data.batch_size lower"]
    if config.model.text.trainable:
        changes += ["config.train.text_parts higher"]
        if config.model.text.encoder == "bert" and not config.train.remat:
            changes += ["config.train.remat=True"]
    if config.model.dtype != "bfloat16" and mesh.devices.flat[0].platform != "cpu":
        changes += ["config.model.dtype=bfloat16"]
    if mesh.size > 1 and not config.optim.sharded:
        changes += ["config.optim.sharded=True"]
    return f"set {', or '.join(changes)}; all but optim.sharded need another --workdir if the run has begun"


def check_step(step: Step, state: TrainState, batch: Batch, mesh: Mesh, remedy: str) -> str | None:
    """Compiles the jitted step for the shapes of `batch`; a later call with such a batch finds it compiled.

    `remedy` is the part of an error that says what to change.

    Returns:
        A line that says how much memory the step needs; None where the backend does not report it.

    Raises:
        InputError: the step needs more memory than a device has.
    """
    b, length = batch.tokens.ids.shape
    what = f"a step of {b} pairs, {length} tokens each"
    try:
        needs = memory_of(step.function.lower(state, batch, step.key, step.bank).compile())
    except jax.errors.JaxRuntimeError as e:
        if "RESOURCE_EXHAUSTED" not in str(e):
            raise
        why = " ".join(str(e).split())[:200]
        raise InputError(f"config: {what} does not fit on a device; {remedy} ({why})") from None
    limit = device_memory(mesh.local_devices[0])
    if needs is None or limit is None:
        return None
    if sum(needs) > limit:
        raise InputError(
            f"config: {what} needs {sum(needs) / 1e9:.1f} GB on each device, which has {limit / 1e9:.1f} GB; {remedy}"
        )
    held, more = (n / 1e9 for n in needs)
    return f"{what}: {held:.2f} GB held on each device and {more:.2f} GB more while it runs, of {limit / 1e9:.0f} GB"
