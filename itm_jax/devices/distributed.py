"""One run of several processes: how they find each other, what the first does for all, and what they agree on.

Every process reads its own part of each batch and computes its devices' part of each step. Only the first process reads
and writes the workdir. When one process dies or hangs, the others end with a line (`devices.peers`).
"""

import errno
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from itm_jax.devices import environment
from itm_jax.devices.fatal import as_before
from itm_jax.devices.mesh import put
from itm_jax.devices.peers import ADVICE, Peers, instead_of_abort
from itm_jax.errors import InputError, LostProcessError

HEARTBEAT_SECONDS = 100  # JAX takes a process for dead that is silent for so long; `peers` acts sooner
DAY_SECONDS = 24 * 3600  # the others wait so long while one process works alone, such as the first at a slow upload
PEERS: Peers | None = None  # the signs of life of the processes of this run, once it has several


def start() -> None:
    """Joins the other processes of this run, where the environment says that there are any.

    Call this before anything else of JAX. The plain variables are JAX_COORDINATOR_ADDRESS (host:port of the first
    process), JAX_NUM_PROCESSES and JAX_PROCESS_ID. For SLURM, TPU VMs and TPU slices in GKE, JAX itself reads their
    variables and the metadata server. The processes wait for each other for ITM_JAX_WAIT_SECONDS. If one of them does
    not come, the others end with a line and exit code 4.

    Raises:
        InputError: some of the plain variables are missing or wrong, or GKE started several TPU workers and JAX cannot
            use their TPUs.
        LostProcessError: the first process did not answer, or not all of them came.
    """
    seconds = environment.wait_seconds(os.environ)
    slurm = "SLURM_PROCID" in os.environ and int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1
    arguments = environment.plain_variables(os.environ) or (environment.slurm_devices(os.environ) if slurm else {})
    workers = 0 if arguments or slurm or not environment.tpu_allowed() else environment.tpu_workers(os.environ)
    if workers > 1 and not environment.has_libtpu():  # without this error, each worker would train a run of its own
        raise InputError(
            f"TPU_WORKER_HOSTNAMES: this pod is one of {workers} TPU workers, but libtpu is not installed; "
            "use the image of launch/docker/build.sh tpu"
        )
    if not arguments and not slurm and not environment.on_tpu():
        return
    if arguments.get("process_id"):
        wait_for(arguments["coordinator_address"], seconds)
    elif "coordinator_address" in arguments:
        check_port(arguments["coordinator_address"])
    instead_of_abort(f"not all processes of this run came within {seconds} s, or JAX failed, as it says above")
    try:
        jax.distributed.initialize(
            **arguments,
            initialization_timeout=seconds,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=DAY_SECONDS,
        )
    except (RuntimeError, ValueError) as e:
        if not arguments and not slurm and "coordinator_address should be defined" in str(e):
            if workers > 1:
                raise InputError(
                    f"TPU_WORKER_HOSTNAMES: this pod is one of {workers} TPU workers, but JAX sees no TPU in it; "
                    "look at google.com/tpu in its manifest"
                ) from None
            as_before(signal.SIGABRT)
            return  # a TPU that is not part of a pod
        message = f"the processes of this run did not find each other: {' '.join(str(e).split())[:300]}"
        if isinstance(e, ValueError):  # the environment says something impossible
            raise InputError(message) from None
        if "start RPC server" in str(e):
            message += "; another program may use the port of JAX_COORDINATOR_ADDRESS on this machine"
        raise LostProcessError(f"{message}. {ADVICE}") from None
    if alone():
        as_before(signal.SIGABRT)
    else:
        global PEERS
        PEERS = Peers(_client())
    if jax.default_backend() == "cpu":
        # With a cache, 4 of 4 runs of two processes with optim.sharded died of messages of the wrong size. Without a
        # cache, 5 of 5 finished (jax 0.10). Probably a program from the cache and a new one send in different orders.
        jax.config.update("jax_enable_compilation_cache", False)


def leave(code: int) -> None:
    """Tells the other processes of this run, if there are any, that this one ends with this exit code."""
    if PEERS:
        PEERS.leave(code)


def check_port(address: str) -> None:
    """Looks whether the first process can listen. JAX (0.10) sometimes crashes where it cannot.

    Raises:
        InputError: the address is invalid.
        LostProcessError: another program uses the port, or a run that has just ended still holds it.
    """
    port = split_address(address)[1]
    for family, anywhere in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):
        try:
            with socket.socket(family) as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind((anywhere, port))
                return
        except OSError as e:
            if e.errno == errno.EADDRINUSE:
                raise LostProcessError(
                    f"JAX_COORDINATOR_ADDRESS={address}: another program uses this port of this machine; end it, or "
                    f"take another port for all processes. {ADVICE}"
                ) from None  # any other error: a machine without this family


def split_address(address: str) -> tuple[str, int]:
    """Returns host and port of JAX_COORDINATOR_ADDRESS. Raises InputError where it is not HOST:PORT."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InputError(f"JAX_COORDINATOR_ADDRESS={address}: must be HOST:PORT")
    return host.strip("[]"), int(port)


def wait_for(address: str, seconds: float) -> None:
    """Waits until the first process listens. If JAX waited, it would abort without a helpful message.

    Raises:
        InputError: the address is invalid.
        LostProcessError: nothing listened there in time.
    """
    host, port = split_address(address)
    end, why = time.monotonic() + seconds, ""
    while time.monotonic() < end:
        try:
            socket.create_connection((host, port), timeout=5).close()
            return
        except UnicodeError as e:
            raise InputError(f"JAX_COORDINATOR_ADDRESS={address}: no valid address ({e})") from None
        except OSError as e:
            why = e.strerror or str(e)
            time.sleep(min(1.0, seconds / 10))
    raise LostProcessError(
        f"JAX_COORDINATOR_ADDRESS={address}: the first process did not answer in {seconds:.0f} s ({why}). {ADVICE}"
    )


def first() -> bool:
    """Returns whether this process reads and writes the workdir."""
    return jax.process_index() == 0


def alone() -> bool:
    """Returns whether this is the only process of the run."""
    return jax.process_count() == 1


def barrier(name: str) -> None:
    """Waits until all processes of the run have called this with the same name; does nothing for a single process.

    Put it between long work of one process and the next computation that all share. The first such computation on CPUs
    fails if a process comes 30 s later than the others (jax 0.10). This function waits up to a day.
    """
    if alone():
        return
    client: Any = _client()
    arrived: Future[None] = Future()

    def wait() -> None:
        try:
            client.wait_at_barrier(f"itm_jax/{name}", DAY_SECONDS * 1000)
        except Exception as e:
            arrived.set_exception(e)
        else:
            arrived.set_result(None)

    threading.Thread(target=wait, name="barrier", daemon=True).start()  # so that Ctrl-C can end the main thread
    arrived.result()


def _client() -> Any:
    """Returns the client of JAX's coordination service, which has no public name."""
    from jax._src import distributed as runtime

    return runtime.global_state.client


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
    barrier("read")
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
