"""Keeps the memory of programs on a CPU in the process between steps, instead of returning it to the system.

Every training step on a CPU allocates gigabytes of temporary memory. By default, glibc maps and unmaps them every time,
and the kernel fills every page with zeros. This takes up to a third of the step's time (docs/training.md).
"""

import ctypes
import glob
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # from <malloc.h>
ACCELERATORS = ("/dev/nvidia[0-9]*", "/dev/accel[0-9]*", "/dev/vfio/[0-9]*", "/dev/kfd")


def keep_memory() -> bool:
    """Tells glibc to keep freed memory, in one arena.

    Call it before JAX computes anything, because JAX's threads would take arenas of their own.

    Returns:
        Whether glibc was told. This happens on a machine without accelerators, or with JAX_PLATFORMS=cpu, where the C
        library is glibc and the user has not set GLIBC_TUNABLES.
    """
    platforms = os.environ.get("JAX_PLATFORMS", "")
    on_cpu = platforms == "cpu" or not (platforms or any(map(glob.glob, ACCELERATORS)))
    if not on_cpu or "GLIBC_TUNABLES" in os.environ or sys.platform != "linux":
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    never, none, one = -1, 0, 1
    told = [library.mallopt(M_TRIM_THRESHOLD, never), library.mallopt(M_MMAP_MAX, none)]
    return all([*told, library.mallopt(M_ARENA_MAX, one)])
