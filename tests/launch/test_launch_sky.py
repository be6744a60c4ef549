"""launch/sky.yaml: SkyPilot reads it, and its two scripts do what it says, with stand-ins for the commands of a machine."""

import importlib.metadata
import json
import os
import shlex
import subprocess
import sys

import pytest
import yaml
from support.launchers import LAUNCH, assert_flags_are_read

from itm_jax.errors import DivergedError, InputError, LostProcessError, TerminatedError

PYTHON = os.environ.get("SKY_PYTHON", sys.executable)  # SkyPilot needs an environment of its own, with older libraries
FILE = LAUNCH / "sky.yaml"
VALUES = {
    "DATA": "gs://mine/f30k",
    "RUNS": "s3://mine/runs",
    "RUN": "afa",
    "FLAGS": "--config=configs/afa_f30k.py --config.optim.decay_epochs=(3,) --config.data.dir=/data",
}
RECOVERY = {
    "max_restarts_on_errors": 0,
    "recover_on_exit_codes": [LostProcessError.exit_code, TerminatedError("").exit_code],
}
READ = """
import json, sys
import sky
from sky.utils import yaml_utils

for values in json.loads(sys.argv[2]):
    with open(sys.argv[1]) as file:
        config = yaml_utils.safe_load(file)
    try:
        task = sky.Task.from_yaml_config(config, env_overrides=list(values.items()))
        task.validate_name(), task.validate_run(), task.expand_and_validate_file_mounts(), task.expand_and_validate_workdir()
    except ValueError as e:
        print(json.dumps({"error": str(e)}))
        continue
    [resources] = task.resources
    print(json.dumps({
        "name": task.name, "nodes": task.num_nodes, "envs": dict(task.envs), "spot": resources.use_spot,
        "accelerators": resources.accelerators, "recovery": resources.job_recovery,
        "mounts": {path: [storage.source, storage.mode.value] for path, storage in task.storage_mounts.items()},
    }))
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """What SkyPilot makes of the file: with all settings, and with each of them missing. It writes into the home directory."""
    if sys.executable == PYTHON:
        try:
            importlib.metadata.distribution("skypilot")
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(
                "skypilot is not installed: python3 -m venv DIR; DIR/bin/pip install skypilot; export SKY_PYTHON=DIR/bin/python"
            )
    given = [VALUES, *({n: v for n, v in VALUES.items() if n != missing} for missing in VALUES)]
    home = {"HOME": str(tmp_path_factory.mktemp("home")), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    done = subprocess.run(
        [PYTHON, "-c", READ, str(FILE), json.dumps(given)],
        env=os.environ | home, cwd=LAUNCH.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_skypilot_reads_it(tasks):
    task = tasks[0]
    assert task["name"] == "itm-jax"
    assert task["envs"] == VALUES
    assert (task["spot"], task["nodes"]) == (True, 1)
    assert task["accelerators"] == {"H100": 8}
    assert task["mounts"] == {"/data": ["gs://mine/f30k", "COPY"], "/runs": ["s3://mine/runs", "MOUNT_CACHED"]}
    assert task["recovery"] == RECOVERY | {"strategy": task["recovery"]["strategy"]}


def test_only_a_stop_from_outside_is_recovered():
    """Without SkyPilot: the codes of bad input and of a run that diverged are not among those that it starts again."""
    assert yaml.safe_load(FILE.read_text())["resources"]["job_recovery"] == RECOVERY
    assert not {InputError.exit_code, DivergedError.exit_code} & set(RECOVERY["recover_on_exit_codes"])


def test_skypilot_says_which_setting_is_missing(tasks):
    assert len(tasks) == 1 + len(VALUES)
    for missing, task in zip(VALUES, tasks[1:], strict=True):
        assert f"{missing!r} is None" in task["error"]


@pytest.fixture
def machine(tmp_path):
    """Runs a script of the file on a machine of a kind (cuda, tpu or cpu): (what it calls, a line for each)."""

    def run(part, kind, **variables):
        home = tmp_path / kind
        for name in ("bin", "venv/bin"):
            (home / name).mkdir(parents=True, exist_ok=True)
        show = f'#!/bin/bash\n{{ env | grep "^JAX_" | sort; printf "%q " "${{0##*/}}" "$@"; echo; }} >> {home}/called\n'
        for name in ("bin/uv", "venv/bin/python"):
            (home / name).write_text(show)
        (home / "bin/nvidia-smi").write_text(f"#!/bin/sh\n[ {kind} = cuda ]\n")
        for path in (home / "bin/uv", home / "bin/nvidia-smi", home / "venv/bin/python"):
            path.chmod(0o755)
        script = (
            yaml.safe_load(FILE.read_text())[part]
            .replace("/dev/", f"{home}/dev/")
            .replace(f"{home}/dev/null", "/dev/null")
        )
        if kind == "tpu":
            (home / "dev").mkdir(exist_ok=True)
            (home / "dev" / "accel0").touch()
        environment = {"HOME": str(home), "PATH": f"{home}/bin:/usr/bin:/bin", **VALUES, **variables}
        done = subprocess.run(
            ["bash", "-c", script], env=environment, cwd=home, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        called = (home / "called").read_text().splitlines()
        (home / "called").unlink()
        return called

    return run


@pytest.mark.parametrize(
    ("kind", "package"), [("cuda", ".[buckets,cuda]"), ("tpu", ".[buckets,tpu]"), ("cpu", ".[buckets]")]
)
def test_the_right_kind_of_jax_is_installed(machine, kind, package):
    called = [shlex.split(line) for line in machine("setup", kind)]
    assert [words[1] for words in called] == ["venv", "pip"]
    assert called[1][-2:] == ["-e", package]
    alone = machine("run", kind, SKYPILOT_NUM_NODES="1", SKYPILOT_NODE_RANK="0", SKYPILOT_NODE_IPS="10.0.0.1")
    [line] = alone  # no variables of JAX
    words = shlex.split(line)
    assert words == ["python", "-m", "itm_jax.main", "--workdir=/runs/afa", *VALUES["FLAGS"].split()]
    assert_flags_are_read(words[2:])


def test_several_nodes_find_each_other(machine):
    nodes = {"SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1", "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2"}
    for kind in ("cuda", "cpu"):
        machine("setup", kind)
        assert machine("run", kind, **nodes)[:-1] == [
            "JAX_COORDINATOR_ADDRESS=10.0.0.1:12355", "JAX_NUM_PROCESSES=2", "JAX_PROCESS_ID=1",
        ]  # fmt: skip
    machine("setup", "tpu")
    assert len(machine("run", "tpu", **nodes)) == 1  # the hosts of a slice: JAX asks the metadata server
