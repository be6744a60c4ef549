"""The processes of one run on this machine, as tests start them."""

import os
import socket
import subprocess
import sys

from support.paths import ROOT


def start(command, *, processes=1, devices=4, options=""):
    """Starts `python COMMAND...` once for each process; each has `devices` virtual CPU devices, its stderr is a pipe."""
    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = s.getsockname()[1]
    started = []
    for index in range(processes):
        flags = f"--xla_force_host_platform_device_count={devices} {options}"
        environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
        if processes > 1:
            environment |= {
                "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
                "JAX_NUM_PROCESSES": str(processes),
                "JAX_PROCESS_ID": str(index),
            }
        whole = [sys.executable, *map(str, command)]
        started.append(subprocess.Popen(whole, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True))
    return started


def finish(started, code=0):
    """What the processes said; all must end with the code, and none is left behind."""
    try:
        said = [process.communicate(timeout=400)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [p.returncode for p in started] == [code] * len(started), said
    return said
