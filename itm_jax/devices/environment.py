"""What the environment says of the processes of a run: plain variables, those of SLURM, and those of GKE for TPUs."""

import glob
import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from itm_jax.errors import InputError

WAIT = "ITM_JAX_WAIT_SECONDS"  # names how long the processes of a run wait for each other at the start
WAIT_SECONDS = 300  # as JAX does
TPU_DEVICES = ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*")
PLAIN = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def plain_variables(environment: Mapping[str, str]) -> dict[str, Any]:
    """Returns the arguments of `jax.distributed.initialize` from the plain variables; empty where none is set."""
    given = [name for name in PLAIN if environment.get(name)]
    if not given:
        return {}
    missing = [name for name in PLAIN if name not in given]
    if missing:
        raise InputError(f"{', '.join(missing)}: not set, but {given[0]} is; several processes need all three")
    address, count, index = (environment[name] for name in PLAIN)
    if not (count.isdecimal() and index.isdecimal() and int(index) < int(count)):
        raise InputError(f"JAX_PROCESS_ID={index}, JAX_NUM_PROCESSES={count}: must be numbers, the first one smaller")
    arguments = {"coordinator_address": address, "num_processes": int(count), "process_id": int(index)}
    return arguments | {"cluster_detection_method": "deactivate"}


def wait_seconds(environment: Mapping[str, str]) -> int:
    """Returns the value of ITM_JAX_WAIT_SECONDS, in seconds."""
    text = environment.get(WAIT) or str(WAIT_SECONDS)
    if not text.isdecimal():
        raise InputError(f"{WAIT}={text}: must be a whole number of seconds")
    return int(text)


def on_tpu() -> bool:
    """Returns whether this machine has TPUs that JAX may use."""
    if not tpu_allowed() or not has_libtpu():
        return False
    return tpu_workers(os.environ) > 0 or any(map(glob.glob, TPU_DEVICES))


def has_libtpu() -> bool:
    """Returns whether libtpu is installed, with which JAX uses TPUs."""
    return find_spec("libtpu") is not None


def tpu_allowed() -> bool:
    """Returns whether the user lets JAX use TPUs."""
    return os.environ.get("JAX_PLATFORMS", "tpu").split(",")[0] in ("", "tpu")


def tpu_workers(environment: Mapping[str, str]) -> int:
    """Returns how many processes a run on TPUs has by the variables that GKE sets; 0 outside of GKE.

    There is one for each host of a slice (TPU_WORKER_HOSTNAMES), in each slice (MEGASCALE_NUM_SLICES).
    """
    hosts, slices = environment.get("TPU_WORKER_HOSTNAMES"), environment.get("MEGASCALE_NUM_SLICES") or "1"
    return len(hosts.split(",")) * int(slices) if hosts and slices.isdecimal() else 0


def slurm_devices(environment: Mapping[str, str]) -> dict[str, Any]:
    """Returns `local_device_ids` where SLURM started one task on a node of several GPUs, else an empty dict.

    JAX would give such a task only the first GPU.
    """
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE") or environment.get("SLURM_TASKS_PER_NODE") or ""
    gpus = environment.get("SLURM_GPUS_ON_NODE", "")
    if tasks.split("(")[0] == "1" and gpus.isdecimal() and int(gpus) > 1:
        return {"local_device_ids": list(range(int(gpus)))}
    return {}
