"""Compiled programs: their cache on disk, the memory that they need, and the memory that a device has."""

import os
import pathlib
from typing import Any

import jax

from itm_jax.devices.machine import machine
from itm_jax.files import PROGRAMS, cache_dir

SECONDS = 0.1  # of compiling, from which on a small program is kept


def use_cache(config, *, small: bool = False) -> None:
    """Keeps compiled programs between processes in `data.cache_dir`/xla, on accelerators.

    It holds for the whole process. JAX_COMPILATION_CACHE_DIR takes precedence. On a CPU only small programs are kept: a
    program compiled on one kind of CPU may not run on another, so each kind has a folder.

    Args:
        config: any config.
        small: whether the programs are small, and compiling them is most of the waiting, as for a model that is loaded.
    """
    configured = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]  # no option is in JAX's stubs
    cpu = jax.default_backend() == "cpu"
    if small:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", SECONDS)
    if configured or (cpu and not small):
        return
    folder = cache_dir(config.data.cache_dir) / PROGRAMS
    jax.config.update("jax_compilation_cache_dir", str(folder / machine() if cpu else folder))


def device_memory(device: Any) -> int | None:
    """Returns the bytes that programs may use on the device, None where the device does not say.

    A CPU device has its share of the machine's memory.
    """
    if limit := (device.memory_stats() or {}).get("bytes_limit"):
        return int(limit)
    if device.platform != "cpu":
        return None
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    group = pathlib.Path("/sys/fs/cgroup/memory.max")  # the limit of a container
    limit = group.read_text().strip() if group.exists() else ""
    return min(memory, int(limit) if limit.isdecimal() else memory) // jax.local_device_count()


def memory_of(compiled: Any) -> tuple[int, int] | None:
    """Returns the bytes of a program's arguments, and the further bytes that it needs while it runs.

    Both are for each device. None where the backend does not say.
    """
    m = compiled.memory_analysis()
    if m is None:
        return None
    new = m.output_size_in_bytes - m.alias_size_in_bytes
    return m.argument_size_in_bytes, m.temp_size_in_bytes + new + m.generated_code_size_in_bytes
