"""Compiled programs: their cache on disk, the memory that they need, and the memory that a device has."""

import os
import pathlib
from typing import Any

import jax

from itm_jax.files import PROGRAMS, cache_dir


def use_cache(config) -> None:
    """Keeps compiled programs between runs in `data.cache_dir`/xla, on accelerators.

    JAX_COMPILATION_CACHE_DIR takes precedence. CPUs have no cache: a program compiled on one may not run on another.
    """
    configured = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]  # no option is in JAX's stubs
    if jax.default_backend() != "cpu" and not configured:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir(config.data.cache_dir) / PROGRAMS))


def device_memory(device: Any) -> int | None:
    """Returns the bytes that programs may use on the device, None where the device does not say.

    A CPU device has its share of the machine's memory.
    """
    if limit := (device.memory_stats() or {}).get("bytes_limit"):
        return int(limit)
    if device.platform != "cpu":
        return None
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    group = pathlib.Path("/sys/fs/cgroup/memory.max")  # the limit of a container
    limit = group.read_text().strip() if group.exists() else ""
    return min(machine, int(limit) if limit.isdecimal() else machine) // jax.local_device_count()


def memory_of(compiled: Any) -> tuple[int, int] | None:
    """Returns the bytes of a program's arguments, and the further bytes that it needs while it runs.

    Both are for each device. None where the backend does not say.
    """
    m = compiled.memory_analysis()
    if m is None:
        return None
    new = m.output_size_in_bytes - m.alias_size_in_bytes
    return m.argument_size_in_bytes, m.temp_size_in_bytes + new + m.generated_code_size_in_bytes
