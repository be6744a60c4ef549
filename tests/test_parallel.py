"""One device, eight, and two processes with four each do the same arithmetic: float64, so that only rounding differs."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from parallel_case import compare


def steps_of(model, out, *, processes, devices):
    """What `parallel_case` computes with these processes and devices."""
    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = s.getsockname()[1]
    started = []
    for index in range(processes):
        environment = os.environ | {
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0",
            "JAX_PLATFORMS": "cpu",
        }
        if processes > 1:
            environment |= {
                "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
                "JAX_NUM_PROCESSES": str(processes),
                "JAX_PROCESS_ID": str(index),
            }
        command = [sys.executable, str(ROOT / "tests" / "parallel_case.py"), model, "float64", str(out)]
        started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True))
    try:
        said = [process.communicate(timeout=400)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [p.returncode for p in started] == [0] * processes, said
    with np.load(out) as arrays:
        return dict(arrays)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["afa", "cpfean"])
def test_gradients_losses_and_parameters_are_those_of_one_device(model, tmp_path):
    one = steps_of(model, tmp_path / "1.npz", processes=1, devices=1)
    for processes, devices in ((1, 8), (2, 4)):
        other = steps_of(model, tmp_path / "n.npz", processes=processes, devices=devices)
        print(f"{model}, {processes} x {devices}: {compare(one, other)}")
