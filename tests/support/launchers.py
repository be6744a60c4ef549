"""What the tests of the launchers share: a call of one, and a look at the flags that it hands over."""

import os
import subprocess
import sys

import pytest

from support.paths import ROOT

LAUNCH = ROOT / "launch"
FLAGS = ("--config=configs/afa_f30k.py", "--config.data.dir=/R&D data", "--config.optim.decay_epochs=(3,)")
TPU_VM = {"NAME": "itm", "ZONE": "us-west4-a", "BUCKET": "mine", "RUN": "afa"}
GKE = {"IMAGE": "registry/itm_jax:cuda", "CLAIM": "shared"}
# A setting of the shell that the tests run in must not reach a launcher.
SETTINGS = (
    "NAME ZONE TYPE VERSION BUCKET RUN SPOT IMAGE CLAIM QUEUE PODS GPUS TPU TOPOLOGY SLICES CHIPS PYTHON PORT SHARDS"
)
CLEAN = {name: value for name, value in os.environ.items() if name not in SETTINGS.split()}


def launch(script, *arguments, code=0, **variables):
    """(stdout, stderr) of a launcher."""
    command = ["bash", str(LAUNCH / script), *arguments]
    done = subprocess.run(command, env=CLEAN | variables, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def assert_flags_are_read(command):
    """The command line of a launcher, from `itm_jax.main` on, is one that the program understands."""
    script = "import sys; from itm_jax import main; from itm_jax.cli import commands; print(commands.parse_flags(main.FLAGS, sys.argv))"
    done = subprocess.run(
        [sys.executable, "-c", script, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def words_of(container, index="1"):
    """The words that a container of a manifest hands to python."""
    script = container["args"][0].replace("exec python", "exec printf '%s\\n'")
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env={"JOB_COMPLETION_INDEX": index}
    )
    return done.stdout.splitlines()


REAL = ("gcloud", "docker", "kubectl", "srun", "sbatch", "tar", "python3", "uv")


@pytest.fixture
def stand_ins(tmp_path):
    """A PATH on which the commands of the clouds leave a trace when they are called, and fail."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in REAL:
        (directory / name).write_text(f"#!/bin/sh\necho {name} $* >> {tmp_path}/called\nexit 7\n")
        (directory / name).chmod(0o755)
    return tmp_path / "called", {"PATH": f"{directory}:{os.environ['PATH']}", "PYTHON": str(directory / "python3")}
