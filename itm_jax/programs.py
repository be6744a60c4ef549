"""Compiled programs: the step's ahead of training, with the memory it will need, and a cache of all on disk."""

import os
import pathlib

import jax
import numpy as np
from jax.sharding import Mesh

from itm_jax.data.pipeline import TextSplit
from itm_jax.data.text_states import cache_dir
from itm_jax.errors import InputError
from itm_jax.mesh import split_batch
from itm_jax.structs import Batch

FOLDER = "xla"


def use_cache(config) -> None:
    """Keeps compiled programs between runs in `data.cache_dir`/xla, on accelerators.

    JAX_COMPILATION_CACHE_DIR takes precedence. Not on CPUs: a program compiled on one may not run on another.
    """
    if jax.default_backend() != "cpu" and not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir(config.data.cache_dir) / FOLDER))


def largest_batch(data: TextSplit, batch_size: int, mesh: Mesh, *, regions: bool) -> Batch:
    """Shapes of the batch with the longest caption of the split, laid out over the mesh."""
    longest = int(data.table.lengths.argmax())
    example = data.batch(np.array([longest, longest]), regions=regions)
    sharding = split_batch(mesh)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((batch_size, *x.shape[1:]), x.dtype, sharding=sharding), example)


def device_memory(device: jax.Device) -> int | None:
    """Bytes that programs may use on the device, None where it does not say; a CPU device has its share of the machine's."""
    if limit := (device.memory_stats() or {}).get("bytes_limit"):
        return int(limit)
    if device.platform != "cpu":
        return None
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    group = pathlib.Path("/sys/fs/cgroup/memory.max")  # of a container
    limit = group.read_text().strip() if group.exists() else ""
    return min(machine, int(limit) if limit.isdecimal() else machine) // jax.local_device_count()


def memory_of(compiled: jax.stages.Compiled) -> tuple[int, int] | None:
    """Bytes on each device: of what goes into the program and stays, and of what it takes besides while it runs."""
    m = compiled.memory_analysis()
    if m is None:
        return None
    new = m.output_size_in_bytes - m.alias_size_in_bytes
    return m.argument_size_in_bytes, m.temp_size_in_bytes + new + m.generated_code_size_in_bytes


def remedies(config, mesh: Mesh) -> str:
    """What to change where a step does not fit: the fields that would help this config."""
    found = ["config.data.batch_size lower"]
    if config.model.text.trainable:
        found += ["config.train.text_parts higher"]
        if config.model.text.encoder == "bert" and not config.train.remat:
            found += ["config.train.remat=True"]
    if config.model.dtype != "bfloat16" and mesh.devices.flat[0].platform != "cpu":
        found += ["config.model.dtype=bfloat16"]
    if mesh.size > 1 and not config.optim.sharded:
        found += ["config.optim.sharded=True"]
    return f"set {', or '.join(found)}; all but optim.sharded need another --workdir where the run has begun"


def check_step(step, state, batch: Batch, key, bank, mesh: Mesh, remedy: str) -> str | None:
    """Compiles the jitted step for the shapes of `batch`; a later call with such a batch finds it compiled.

    `remedy` says in an error what to change.

    Returns:
        A line that says what memory the step needs; None where the backend does not tell.

    Raises:
        InputError: that is more than a device has.
    """
    b, length = batch.tokens.ids.shape
    what = f"a step of {b} pairs, {length} tokens each"
    try:
        needs = memory_of(step.lower(state, batch, key, bank).compile())
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
