"""Memory of a CPU's programs, kept by the process between steps instead of given back and asked for again.

A training step on a CPU allocates its gigabytes of temporary memory anew; glibc maps and unmaps them every time, and the
kernel fills every page with zeros, for up to a third of the step's time (docs/training.md).
"""

import ctypes
import glob
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of <malloc.h>
ACCELERATORS = ("/dev/nvidia[0-9]*", "/dev/accel[0-9]*", "/dev/vfio/[0-9]*", "/dev/kfd")


def keep_memory() -> bool:
    """Tells glibc to keep what is freed, in one arena; to be called before JAX computes anything, whose threads would take
    their own.

    Returns:
        Whether it was told: on a machine without accelerators, or with JAX_PLATFORMS=cpu, where the C library is glibc
        and the user has set no GLIBC_TUNABLES.
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
