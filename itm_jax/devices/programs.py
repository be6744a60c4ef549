"""Compiled programs: the step's ahead of training, with the memory it will need, and a cache of all on disk."""

import os
import pathlib

import jax

from itm_jax.files import cache_dir

FOLDER = "xla"


def use_cache(config) -> None:
    """Keeps compiled programs between runs in `data.cache_dir`/xla, on accelerators.

    JAX_COMPILATION_CACHE_DIR takes precedence. Not on CPUs: a program compiled on one may not run on another.
    """
    if jax.default_backend() != "cpu" and not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir(config.data.cache_dir) / FOLDER))


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
