"""One run of several processes: how they find each other, what the first does for all, and what they agree on.

Every process reads its own part of each batch and computes its devices' part of each step. Only the first process reads
and writes the workdir. Where one process dies or hangs, the others end with a line (`devices.peers`).
"""

import glob
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from itm_jax.devices.mesh import put
from itm_jax.devices.peers import Peers, instead_of_abort
from itm_jax.errors import InputError

WAIT = "ITM_JAX_WAIT_SECONDS"  # how long the processes of a run wait for each other; JAX has the same default
WAIT_SECONDS = 300
HEARTBEAT_SECONDS = 100  # a process that is silent for so long counts as dead for JAX; `peers` acts sooner
TPU_DEVICES = ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*")
PLAIN = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
PEERS: Peers | None = None  # the signs of life of the processes of this run, once it has several


def start() -> None:
    """Joins the other processes of this run, where the environment says that there are any.

    Call this before anything else of JAX. The plain variables are JAX_COORDINATOR_ADDRESS (host:port of the first
    process), JAX_NUM_PROCESSES and JAX_PROCESS_ID. For SLURM, TPU VMs and TPU slices in GKE, JAX itself reads their
    variables and the metadata server. Where the first process waits in vain for others, it ends with a line
    after ITM_JAX_WAIT_SECONDS (exit code 4).

    Raises:
        InputError: some of the plain variables are missing or wrong, the first process did not answer, or GKE started
            several TPU workers and JAX cannot use their TPUs.
    """
    seconds = wait_seconds(os.environ)
    slurm = "SLURM_PROCID" in os.environ and int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1
    arguments = plain_variables(os.environ) or (slurm_devices(os.environ) if slurm else {})
    workers = 0 if arguments or slurm or not _tpu_allowed() else tpu_workers(os.environ)
    if workers > 1 and not find_spec("libtpu"):  # each of them would train a run of its own
        raise InputError(
            f"TPU_WORKER_HOSTNAMES: this pod is one of {workers} TPU workers, but libtpu is not installed; "
            "use the image of launch/docker/build.sh tpu"
        )
    if not arguments and not slurm and not on_tpu():
        return
    if arguments.get("process_id"):
        wait_for(arguments["coordinator_address"], seconds)
    instead_of_abort(f"not all processes of this run came within {seconds} s")
    try:
        jax.distributed.initialize(
            **arguments,
            initialization_timeout=seconds,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (RuntimeError, ValueError) as e:
        if not arguments and not slurm and "coordinator_address should be defined" in str(e):
            if workers > 1:
                raise InputError(
                    f"TPU_WORKER_HOSTNAMES: this pod is one of {workers} TPU workers, but JAX sees no TPU in it; "
                    "look at google.com/tpu in its manifest"
                ) from None
            return  # a TPU that is not part of a pod
        raise InputError(
            f"the processes of this run did not find each other: {' '.join(str(e).split())[:300]}"
        ) from None
    if jax.process_count() > 1:
        from jax._src import distributed as runtime  # the store of signs of life has no public name

        global PEERS
        PEERS = Peers(runtime.global_state.client)
    if jax.default_backend() == "cpu":
        # With a cache, 4 of 4 runs of two processes with optim.sharded died of messages of the wrong size. Without a
        # cache, 5 of 5 finished (jax 0.10). Probably a program from the cache and a new one send in different orders.
        jax.config.update("jax_enable_compilation_cache", False)


def leave(code: int) -> None:
    """Tells the other processes of this run, if there are any, that this one ends with this exit code."""
    if PEERS:
        PEERS.leave(code)


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


def wait_for(address: str, seconds: float) -> None:
    """Waits until the first process listens. JAX would abort without a helpful message.

    Raises:
        InputError: the address is invalid, or nothing listened there in time.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"JAX_COORDINATOR_ADDRESS={address}: must be HOST:PORT")
    end, why = time.monotonic() + seconds, ""
    while time.monotonic() < end:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except (OSError, UnicodeError) as e:
            why = getattr(e, "strerror", None) or str(e)
            time.sleep(min(1.0, seconds / 10))
    raise InputError(f"JAX_COORDINATOR_ADDRESS={address}: the first process did not answer in {seconds:.0f} s ({why})")


def on_tpu() -> bool:
    """Returns whether this machine has TPUs that JAX may use."""
    if not _tpu_allowed() or not find_spec("libtpu"):
        return False
    return tpu_workers(os.environ) > 0 or any(map(glob.glob, TPU_DEVICES))


def _tpu_allowed() -> bool:
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


def first() -> bool:
    """Returns whether this process reads and writes the workdir."""
    return jax.process_index() == 0


def alone() -> bool:
    """Returns whether this is the only process of the run."""
    return jax.process_count() == 1


def barrier(name: str) -> None:
    """Waits until all processes of the run have come to this place."""
    if not alone():
        from jax._src import distributed as runtime

        runtime.global_state.client.wait_at_barrier(name, 86_400_000)  # type: ignore[union-attr]


def near(tree: Any) -> Any:
    """Returns the tree on the host of the first process, with split arrays put together.

    All processes must call this. Where there is only one process, the tree is returned unchanged.
    """
    if alone():
        return tree

    def whole(x):
        if not x.is_fully_replicated:
            return multihost_utils.process_allgather(x, tiled=True)
        return np.asarray(x) if first() else x

    return jax.tree.map(whole, tree)


def by_first(read: Callable[[Any], tuple[Any, Any] | None], like: Any) -> tuple[Any, Any] | None:
    """Returns, in every process, what the first process reads.

    Args:
        read: takes a tree of the wanted layout (with several processes: zeros on the host) and returns (the tree, a
            JSON value) or None.
        like: arrays or shape structs, laid out over the mesh.
    """
    if alone():
        return read(like)
    mine = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
    result = read(mine) if first() else None
    note = _text_of_first(json.dumps([result[1]] if result else []))
    if not note:
        return None
    tree = jax.tree.map(np.asarray, result[0]) if result else mine

    def send(mine, wanted):  # one array at a time: a device never holds more than one split array whole
        return put(np.asarray(multihost_utils.broadcast_one_to_all(mine, is_source=first())), wanted.sharding)

    return jax.tree.map(send, tree, like), note[0]


def _text_of_first(text: str) -> Any:
    """Returns the JSON value whose text the first process passes."""
    data = np.frombuffer(text.encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.array(len(data)), is_source=first()))
    data = data if first() else np.zeros(size, np.uint8)
    return json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(data, is_source=first()))))
