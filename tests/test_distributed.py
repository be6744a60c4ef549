"""Several processes on this machine: the numbers of one, one workdir, and an end for all when one is gone."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from support import processes
from support.paths import ROOT
from support.processes import finish
from support.runs import lines

from itm_jax.devices import distributed, environment
from itm_jax.devices.pace import Pace
from itm_jax.errors import InputError, LostProcessError

CHILDREN = []


@pytest.fixture(autouse=True)
def no_one_is_left():
    """Ends what a failed test left running."""
    yield
    for process in CHILDREN:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
    CHILDREN.clear()


def start(config, workdir, *flags, **how):
    """The processes of one run."""
    return start_all("-m", "itm_jax.main", f"--config={config}", f"--workdir={workdir}", *flags, **how)


def start_all(*command, **how):
    """Several processes of one command."""
    started = processes.start(command, **how)
    CHILDREN.extend(started)
    return started


def losses(workdir):
    return [x["loss"] for x in lines(workdir) if "loss" in x]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["afa", "cpfean"])
def test_two_processes_have_the_numbers_of_one(run_file, tmp_path, model):
    flags = (f"--config.model.name={model}", "--config.train.epochs=0.5", "--config.data.bank=device")
    finish(start(run_file, tmp_path / "one", *flags))
    said = finish(start(run_file, tmp_path / "two", *flags, processes=2, devices=2))
    assert "dev rSum" in said[0]
    assert "dev rSum" not in said[1]  # the first speaks for both
    one, two = tmp_path / "one", tmp_path / "two"
    np.testing.assert_allclose(losses(one)[:10], losses(two)[:10], rtol=1e-4)
    assert len(lines(one)) == len(lines(two))
    a, b = (json.loads((w / "results.json").read_text()) for w in (one, two))
    assert a["counts"] == b["counts"]
    assert b["protocols"]["full"]["rsum"] == pytest.approx(a["protocols"]["full"]["rsum"], abs=20)


@pytest.mark.slow
def test_a_stopped_run_of_two_processes_goes_on(run_file, tmp_path):
    """In two again, and in one to the end; the optimiser's state lies in parts on the devices of both."""
    started = start(run_file, tmp_path / "run", "--config.optim.sharded=True", processes=2, devices=2)
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 5:
        time.sleep(0.2)
        assert started[0].poll() is None, started[0].stderr.read()
    started[1].send_signal(signal.SIGTERM)  # either of them
    said = finish(started, 143)
    assert all("stopped by SIGTERM" in text for text in said)
    before = len(lines(tmp_path / "run"))
    started = start(run_file, tmp_path / "run", "--config.optim.sharded=True", processes=2, devices=2)
    while len(metrics.read_text().splitlines()) < before + 3:
        time.sleep(0.2)
        assert started[0].poll() is None, started[0].stderr.read()
    started[0].send_signal(signal.SIGTERM)
    finish(started, 143)
    finish(start(run_file, tmp_path / "run"))
    steps = [x["step"] for x in lines(tmp_path / "run") if "loss" in x]
    assert steps == list(range(1, len(steps) + 1))
    assert json.loads((tmp_path / "run" / "results.json").read_text())["finished"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("killed", [0, 1])
def test_when_one_dies_or_hangs_the_other_ends_with_a_line(run_file, tmp_path, killed, number):
    started = start(run_file, tmp_path / "run", "--config.train.epochs=1000", processes=2, devices=2)
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 5:
        time.sleep(0.2)
        assert started[0].poll() is None, started[0].stderr.read()
    started[killed].send_signal(number)
    began = time.monotonic()
    said = started[1 - killed].communicate(timeout=130)[1]
    assert started[1 - killed].returncode == LostProcessError.exit_code
    assert time.monotonic() - began < 60
    if killed == 0 and number == signal.SIGKILL:
        expected = r"error: a library in C\+\+ ended this process, as it says above; usually another process died\. This process"
    else:
        expected = (
            rf"error: process {killed} on \S+ showed no sign of life for 3\d s: it died, hangs, or cannot be reached"
        )
    assert re.search(expected, said.splitlines()[-1]), said[-2000:]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"JAX_COORDINATOR_ADDRESS": "localhost:1"}, "JAX_NUM_PROCESSES, JAX_PROCESS_ID: not set"),
        (
            {"JAX_COORDINATOR_ADDRESS": "localhost:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "2"},
            "must be numbers",
        ),
    ],
)
def test_bad_environment(monkeypatch, variables, message):
    for name in environment.PLAIN:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message):
        distributed.start()


TAKEN_PORT = """
import socket, sys
from absl import flags
from itm_jax.cli import commands
from itm_jax.devices import distributed
taken = socket.socket(socket.AF_INET6)
taken.bind(("::", int(sys.argv[1])))
taken.listen()
sys.exit(commands.run(lambda: distributed.start(), flags.FlagValues(), ["program"]))
"""


def test_a_port_that_another_program_uses_is_a_line_and_code_4():
    """A run that has just ended may still hold it; another try may succeed."""
    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = s.getsockname()[1]
    variables = dict(zip(environment.PLAIN, (f"localhost:{port}", "2", "0"), strict=True))
    said = subprocess.run(
        [sys.executable, "-c", TAKEN_PORT, str(port)],
        env=os.environ | variables | {"JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert said.returncode == 4, said.stderr
    line = f"error: JAX_COORDINATOR_ADDRESS=localhost:{port}: another program uses this port of this machine; end it"
    assert said.stderr.splitlines()[-1].startswith(line)


def test_on_a_tpu_jax_finds_the_pod_itself(monkeypatch):
    """The metadata server tells it, not variables; a TPU on its own is no mistake."""
    for name in (*environment.PLAIN, "SLURM_PROCID", "JAX_PLATFORMS"):
        monkeypatch.delenv(name, raising=False)
    called = []
    monkeypatch.setattr(environment, "find_spec", lambda name: name == "libtpu")
    monkeypatch.setattr(environment, "TPU_DEVICES", (__file__,))
    monkeypatch.setattr(distributed.jax.distributed, "initialize", lambda **k: called.append(k))
    distributed.start()
    assert [set(k) for k in called] == [
        {"initialization_timeout", "heartbeat_timeout_seconds", "shutdown_timeout_seconds"}
    ]

    def alone(**_):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(distributed.jax.distributed, "initialize", alone)
    distributed.start()
    monkeypatch.setattr(environment, "TPU_DEVICES", ())
    monkeypatch.setattr(distributed.jax.distributed, "initialize", lambda **k: pytest.fail("no TPU here"))
    distributed.start()


GKE_POD = """
import jax
jax.config.update("jax_platforms", "cpu")  # these processes have no TPU; all else is as GKE has it
from itm_jax.devices import distributed
distributed.start()
print(jax.process_index(), jax.process_count(), distributed.first(), sep=",")
"""


def test_tpu_slices_of_gke_are_one_run(tmp_path):
    """JAX reads what GKE sets: two slices of two hosts are four processes, and the first host of the first slice is the first."""
    (tmp_path / "libtpu.py").write_text("def get_library_path():\n    return ''\n")
    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = str(s.getsockname()[1])
    started = []
    for index in range(4):
        variables = {
            "TPU_WORKER_HOSTNAMES": "localhost,localhost", "TPU_WORKER_ID": str(index % 2),
            "MEGASCALE_NUM_SLICES": "2", "MEGASCALE_SLICE_ID": str(index // 2),
            "MEGASCALE_COORDINATOR_ADDRESS": "localhost:8080", "JAX_COORDINATOR_PORT": port,
            "JAX_FORCE_TPU_INIT": "1", "PYTHONPATH": f"{tmp_path}:{ROOT}", "PYTHONWARNINGS": "ignore",
        }  # fmt: skip
        environment = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"} | variables
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([sys.executable, "-c", GKE_POD], env=environment, **pipes))
    CHILDREN.extend(started)
    said = [process.communicate(timeout=120) for process in started]
    assert [out.strip() for out, _ in said] == [f"{i},4,{i == 0}" for i in range(4)], said


def test_a_pod_of_gke_that_sees_no_tpu_says_so(monkeypatch):
    """It must not train alone: the other pods would do the same."""
    for name in (*environment.PLAIN, "SLURM_PROCID", "JAX_PLATFORMS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "a-0,a-1")
    monkeypatch.setenv("MEGASCALE_NUM_SLICES", "2")
    monkeypatch.setattr(environment, "TPU_DEVICES", ())
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="one of 4 TPU workers, but libtpu is not installed"):
        distributed.start()

    def alone(**_):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(distributed.jax.distributed, "initialize", alone)
    monkeypatch.setattr(environment, "find_spec", lambda name: name == "libtpu")
    with pytest.raises(InputError, match="one of 4 TPU workers, but JAX sees no TPU in it"):
        distributed.start()
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "localhost")
    monkeypatch.delenv("MEGASCALE_NUM_SLICES")
    distributed.start()  # a slice of one host
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "a-0,a-1")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    distributed.start()  # on purpose


def test_one_slurm_task_takes_all_gpus_of_its_node():
    variables = {"SLURM_STEP_TASKS_PER_NODE": "1(x4)", "SLURM_GPUS_ON_NODE": "8"}
    assert environment.slurm_devices(variables) == {"local_device_ids": list(range(8))}
    assert environment.slurm_devices(variables | {"SLURM_STEP_TASKS_PER_NODE": "8(x4)"}) == {}
    assert environment.slurm_devices(variables | {"SLURM_GPUS_ON_NODE": "1"}) == {}


BARRIER = """
import pathlib, sys, time
import jax
from itm_jax.devices import distributed
distributed.start()
for seconds in (3.0, 1.0):  # the same name again
    done = pathlib.Path(sys.argv[1], str(seconds))
    if distributed.first():
        time.sleep(seconds)
        done.touch()
    distributed.barrier("test")
    print("waited" if done.exists() else "it did not wait", file=sys.stderr)
"""


def test_processes_wait_for_each_other_at_a_barrier(tmp_path):
    said = finish(start_all("-c", BARRIER, tmp_path, processes=2, devices=1))
    assert [text.split("\n").count("waited") for text in said] == [2, 2], said


OUTLIVED = """
import sys, time
from itm_jax.devices import distributed, peers
peers.BEAT_SECONDS, peers.SILENT_SECONDS = 0.5, 4.0
distributed.start()
distributed.barrier("both have started")
print("started", file=sys.stderr, flush=True)
time.sleep(14)
distributed.barrier("both go on")
"""


def test_processes_that_were_stopped_and_continued_go_on():
    """As with Ctrl-Z and `fg`: each was silent for longer than the limit, and neither is lost."""
    started = start_all("-c", OUTLIVED, processes=2, devices=1)
    for process in started:
        while "started" not in (line := process.stderr.readline()):
            assert line
    time.sleep(1.0)
    for number, seconds in ((signal.SIGSTOP, 6.0), (signal.SIGCONT, 0.0)):
        for process in started:
            process.send_signal(number)
        time.sleep(seconds)
    finish(started)


ONE_FAILS = """
import sys, time
from absl import flags
from itm_jax.cli import commands
from itm_jax.devices import distributed, peers
from itm_jax.errors import InputError
peers.BEAT_SECONDS = 1.0
def main():
    distributed.start()
    distributed.barrier("both have started")
    if distributed.first():  # it has the store of the signs of life, which closes with it
        {raises}
    time.sleep(60)
sys.exit(commands.run(main, flags.FlagValues(), ["program"]))
"""


@pytest.mark.parametrize(
    ("raises", "codes", "first_line", "second_line"),
    [
        (
            "raise InputError('a.txt: no such file')",
            [2, 2],
            "error: a.txt: no such file",
            r"error: process 0 on \S+ ended with exit code 2; its own line says why\. This process ends too",
        ),
        (
            "1 / 0",
            [1, 4],
            "ZeroDivisionError: division by zero",
            r"error: process 0 on \S+ ended with exit code 1; .*Start the same command again on all machines to .*",
        ),
    ],
)
def test_an_error_of_one_process_ends_the_other_with_its_code(raises, codes, first_line, second_line):
    """Bad input would end the next start too; a launcher must not try again."""
    started = start_all("-c", ONE_FAILS.format(raises=raises), processes=2, devices=1)
    said = [process.communicate(timeout=60)[1].splitlines() for process in started]
    assert [process.returncode for process in started] == codes, said
    assert said[0][-1] == first_line
    assert re.fullmatch(second_line, said[1][-1])


def test_alone_nothing_is_asked_of_others():
    distributed.start()
    assert distributed.first()
    assert distributed.alone()
    assert Pace().agree_to_stop(True)
    assert not Pace().agree_to_stop(False)
    distributed.barrier("alone")
    assert distributed.by_first(lambda like: (like, 3), {"a": 1}) == ({"a": 1}, 3)


def test_a_process_waits_for_the_first_and_says_when_it_does_not_come():
    with socket.socket() as first:
        first.bind(("localhost", 0))
        address = f"localhost:{first.getsockname()[1]}"
        with pytest.raises(LostProcessError, match=rf"{address}: the first process did not answer in 0 s \("):
            distributed.wait_for(address, 0.3)
        first.listen()
        distributed.wait_for(address, 5)
    with pytest.raises(InputError, match="must be HOST:PORT"):
        distributed.wait_for("host", 1)
    with pytest.raises(InputError, match="host:70000: must be HOST:PORT"):
        distributed.wait_for("host:70000", 1)
    with pytest.raises(InputError, match="ITM_JAX_WAIT_SECONDS=soon"):
        environment.wait_seconds({environment.WAIT: "soon"})
