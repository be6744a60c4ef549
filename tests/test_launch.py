"""Launchers: shellcheck, dry runs, mistakes, and two processes that the local one starts."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
import yaml
from support.paths import ROOT
from support.runs import lines

from itm_jax.devices import distributed

LAUNCH = ROOT / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch"), *LAUNCH.glob("*/*.sh"), ROOT / ".ci" / "run"])
TPU = {"NAME": "itm", "ZONE": "us-west4-a", "BUCKET": "mine", "RUN": "afa"}
GKE = {"IMAGE": "registry/itm_jax:cuda", "CLAIM": "shared", "PODS": "3"}
FLAGS = ("--config=configs/afa_f30k.py", "--config.data.dir=/R&D data", "--config.optim.decay_epochs=(3,)")


def launch(script, *arguments, code=0, **variables):
    """(stdout, stderr) of a launcher."""
    command = ["bash", str(LAUNCH / script), *arguments]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_shellcheck():
    found = shutil.which("shellcheck", path=f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}")
    if not found:
        pytest.skip("shellcheck is not installed: pip install -e '.[test]'")
    done = subprocess.run(
        [found, "--severity=warning", *map(str, SCRIPTS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert len(SCRIPTS) >= 7


def test_local_shares_the_gpus_it_may_use():
    out, _ = launch("local.sh", "--dry_run", "2", *FLAGS, CUDA_VISIBLE_DEVICES="2,3,5,7", JAX_PLATFORMS="")
    first, second = out.strip().splitlines()
    assert "CUDA_VISIBLE_DEVICES=2,3 " in first
    assert "CUDA_VISIBLE_DEVICES=5,7 " in second
    _, err = launch("local.sh", "--dry_run", "3", *FLAGS, code=2, CUDA_VISIBLE_DEVICES="2,3,5,7", JAX_PLATFORMS="")
    assert "4 GPUs cannot be shared equally by 3 processes" in err


def test_local_says_what_each_process_is():
    out, _ = launch("local.sh", "--dry_run", "2", *FLAGS, PORT="999", PYTHON="py", JAX_PLATFORMS="cpu")
    first, second = out.strip().splitlines()
    assert "JAX_COORDINATOR_ADDRESS=localhost:999 JAX_NUM_PROCESSES=2 JAX_PROCESS_ID=0 " in first
    assert "JAX_PROCESS_ID=1 " in second
    assert second.endswith(
        r"py -m itm_jax.main --config=configs/afa_f30k.py --config.data.dir=/R\&D\ data --config.optim.decay_epochs=\(3\,\)"
    )


def assert_flags_are_read(command):
    """The command line of a launcher, from `itm_jax.main` on, is one that the program understands."""
    script = "import sys; from itm_jax import main; from itm_jax.cli import commands; print(commands.parse_flags(main.FLAGS, sys.argv))"
    done = subprocess.run(
        [sys.executable, "-c", script, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_slurm_runs_one_task_on_each_node():
    out, _ = launch("slurm.sbatch", "--dry_run", *FLAGS)
    assert out.startswith("srun --kill-on-bad-exit=1 python3 -m itm_jax.main --config=configs/afa_f30k.py")
    assert_flags_are_read(shlex.split(out)[4:])


def test_tpu_vm_from_nothing_to_results():
    out, _ = launch("tpu_vm.sh", "--dry_run", "all", *FLAGS, **TPU, SPOT="1")
    steps = out.strip().splitlines()
    assert steps[0].startswith("gcloud compute tpus tpu-vm create itm --zone=us-west4-a ")
    assert steps[0].strip().endswith("--spot")
    [run] = [line for line in steps if "itm_jax.main" in line]
    assert "--worker=all" in run
    assert "bucket/runs/afa" in run
    command = shlex.split(run)[-1].removeprefix("--command=")
    assert_flags_are_read(shlex.split(command.split(" && ")[-1])[2:])
    assert "gs://mine/runs/afa" in steps[-2]
    assert "delete" in launch("tpu_vm.sh", "--dry_run", "delete", **TPU)[0]


def test_the_manifest_of_gke_is_whole():
    out, _ = launch("gke/run.sh", "--dry_run", *FLAGS, **GKE)
    assert "${" not in out
    service, job = yaml.safe_load_all(out)
    assert service["metadata"]["name"] == job["metadata"]["name"] == job["spec"]["template"]["spec"]["subdomain"]
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 3
    [container] = job["spec"]["template"]["spec"]["containers"]
    variables = {v["name"]: v["value"] for v in container["env"]}
    assert variables["JAX_COORDINATOR_ADDRESS"] == "itm-jax-0.itm-jax:12355"
    assert (variables["JAX_NUM_PROCESSES"], variables[distributed.WAIT]) == ("3", "3600")
    flags = subprocess.run(
        ["bash", "-c", container["args"][0].replace("exec python", "exec printf '%s\\n'")],
        capture_output=True, text=True, check=True, env={"JOB_COMPLETION_INDEX": "1"},
    ).stdout.splitlines()  # fmt: skip
    assert flags == ["-m", "itm_jax.main", *FLAGS]
    assert_flags_are_read(flags[1:])
    assert container["image"] == GKE["IMAGE"]


def test_the_manifest_of_an_extraction_gives_each_pod_its_part():
    flags = ("--images=/shared/a b", "--captions=/shared/c.csv", "--out=/shared/out")
    for pods, shard in (("3", ["--shard=1/3"]), ("1", [])):
        out, _ = launch("gke/run.sh", "--dry_run", "extract", *flags, **(GKE | {"PODS": pods}))
        assert "${" not in out.replace("$JOB", "").replace("$shard", "")
        job = yaml.safe_load(out)
        assert job["metadata"]["name"] == "itm-jax-extract"
        assert job["spec"]["completions"] == int(pods)
        [container] = job["spec"]["template"]["spec"]["containers"]
        given = subprocess.run(
            ["bash", "-c", container["args"][0].replace("exec python", "exec printf '%s\\n'")],
            capture_output=True, text=True, check=True, env={"JOB_COMPLETION_INDEX": "1"},
        ).stdout.splitlines()  # fmt: skip
        assert given == ["-m", "itm_jax.extract", *flags, *shard]


def test_an_array_of_slurm_gives_each_task_its_part():
    flags = ("--images=/a b", "--captions=c.csv", "--out=out")
    out, _ = launch("extract.sbatch", *flags, "--dry_run", SLURM_ARRAY_TASK_ID="5")
    assert shlex.split(out) == ["python3", "-m", "itm_jax.extract", *flags, "--shard=5/8"]
    out, _ = launch("extract.sbatch", *flags, "--dry_run", SLURM_ARRAY_TASK_ID="9", SHARDS="32")
    assert shlex.split(out)[-1] == "--shard=9/32"
    _, err = launch("extract.sbatch", *flags, "--dry_run", code=2, SLURM_ARRAY_TASK_ID="2", SLURM_ARRAY_TASK_MAX="31")
    assert "set SHARDS to the number of parts" in err
    out, _ = launch("extract.sbatch", "--together", *flags, "--dry_run", SLURM_ARRAY_TASK_ID="0")
    assert shlex.split(out) == ["python3", "-m", "itm_jax.extract", *flags]
    _, err = launch("extract.sbatch", *flags, "--shard=0/2", code=2)
    assert "the array says which part" in err


def test_the_image_has_what_it_copies():
    out, _ = launch("docker/build.sh", "--dry_run", "cuda", "mine:1")
    assert out.startswith("docker build --build-arg EXTRA=cuda -t mine:1 ")
    assert "COPY setup.py setup.cfg pyproject.toml" in (LAUNCH / "docker" / "Dockerfile").read_text()
    for line in (LAUNCH / "docker" / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            assert all((ROOT / name).exists() for name in line.split()[1:-1])


@pytest.mark.parametrize(
    ("script", "arguments", "variables", "message"),
    [
        ("local.sh", ["--config=a"], {}, "say how many processes"),
        ("slurm.sbatch", ["--dry_run"], {}, "no flags"),
        ("extract.sbatch", ["--dry_run"], {}, "no flags"),
        ("gke/run.sh", ["--dry_run", "extract"], GKE, "no flags"),
        ("tpu_vm.sh", ["--dry_run", "all"], TPU | {"ZONE": ""}, "ZONE is not set"),
        ("tpu_vm.sh", ["--dry_run", "start"], TPU, "say one of create"),
        ("tpu_vm.sh", ["--dry_run", "all"], TPU, "no flags"),
        ("gke/run.sh", ["--dry_run", "--config=a"], GKE | {"IMAGE": ""}, "IMAGE is not set"),
        ("gke/run.sh", ["--dry_run"], GKE, "no flags"),
        ("docker/build.sh", ["--dry_run", "gpu"], {}, "say cpu, cuda or tpu"),
    ],
)
def test_mistakes_are_said(script, arguments, variables, message):
    _, err = launch(script, *arguments, code=2, **variables)
    assert message in err
    assert err.startswith("error: ")


WHOLE = {
    "local.sh": (["2", *FLAGS], {"JAX_PLATFORMS": "cpu"}),
    "slurm.sbatch": ([*FLAGS], {}),
    "tpu_vm.sh": (["all", *FLAGS], TPU),
    "gke/run.sh": ([*FLAGS], GKE),
    "extract.sbatch": ([*FLAGS], {}),
    "docker/build.sh": (["cpu", "mine:1"], {}),
}
REAL = ("gcloud", "docker", "kubectl", "srun", "sbatch", "tar", "python3")


@pytest.fixture
def stand_ins(tmp_path):
    """A PATH on which the commands of the clouds leave a trace when they are called, and fail."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in REAL:
        (directory / name).write_text(f"#!/bin/sh\necho {name} $* >> {tmp_path}/called\nexit 7\n")
        (directory / name).chmod(0o755)
    return tmp_path / "called", {"PATH": f"{directory}:{os.environ['PATH']}", "PYTHON": str(directory / "python3")}


@pytest.mark.parametrize(("script", "place"), [(s, k) for s, (a, _) in WHOLE.items() for k in range(len(a) + 1)])
def test_a_dry_run_calls_nothing_wherever_it_is_said(stand_ins, script, place):
    called, variables = stand_ins
    arguments, settings = WHOLE[script]
    for word in ("--dry_run", "--dry-run"):
        given = [*arguments[:place], word, *arguments[place:]]
        out, _ = launch(script, *given, **(settings | variables))
        assert out.strip()
        assert word not in out
    assert not called.exists()


@pytest.mark.parametrize("script", WHOLE)
@pytest.mark.parametrize("word", ["--dryrun", "--dry_run=true", "-dry_run", "--no", "more"])
def test_words_that_are_not_understood_call_nothing(stand_ins, script, word):
    called, variables = stand_ins
    arguments, settings = WHOLE[script]
    _, err = launch(script, *arguments, word, code=2, **(settings | variables))
    assert err == err.splitlines()[0] + "\n"
    assert re.match(rf"error: launch/{script}: {word}: not understood; ", err)
    assert not called.exists()


def test_the_stand_ins_are_called_without_a_dry_run(stand_ins):
    called, variables = stand_ins
    launch("docker/build.sh", "cpu", code=7, **variables)
    assert called.read_text().startswith("docker build ")


def test_local_says_where_it_looked_for_the_library(stand_ins):
    _, variables = stand_ins
    _, err = launch("local.sh", "2", *FLAGS, code=2, **(variables | {"JAX_PLATFORMS": "cpu"}))
    assert "python3 has no itm_jax with its libraries; make .venv as README.md says, or set PYTHON" in err


def test_local_takes_the_python_of_the_active_environment(tmp_path):
    """The .venv of the checkout is taken only where no environment is active."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    shutil.copytree(LAUNCH, tmp_path / "launch")
    for active, expected in (("", f"{tmp_path}/.venv/bin/python"), ("/some/env", "python3")):
        settings = {"VIRTUAL_ENV": active, "CONDA_PREFIX": "", "PYTHON": "", "JAX_PLATFORMS": "cpu"}
        out, _ = launch(tmp_path / "launch" / "local.sh", "1", *FLAGS, "--dry_run", **settings)
        assert f" {expected} -m itm_jax.main " in out


def test_gpu_bench_understands_no_flags():
    _, err = launch("gpu_bench.sh", "--help", code=2)
    assert err == "error: launch/gpu_bench.sh: --help: not understood; say launch/gpu_bench.sh [OUT [PART...]]\n"
    _, err = launch("gpu_bench.sh", "OUT", "rank", "ranks", code=2)
    assert err == "error: launch/gpu_bench.sh: ranks: no such part\n"


@pytest.mark.slow
def test_two_processes_that_it_starts_give_the_numbers_of_one(run_file, tmp_path):
    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = str(s.getsockname()[1])
    for count in ("1", "2"):
        flags = (f"--config={run_file}", f"--workdir={tmp_path / count}")
        launch("local.sh", count, *flags, PYTHON=sys.executable, PORT=port, XLA_FLAGS="", JAX_PLATFORMS="cpu")
    one, two = ([x["loss"] for x in lines(tmp_path / count) if "loss" in x] for count in ("1", "2"))
    assert len(one) == len(two)
    np.testing.assert_allclose(one[:10], two[:10], rtol=1e-4)
    results = [json.loads((tmp_path / count / "results.json").read_text()) for count in ("1", "2")]
    assert results[1]["devices"].startswith("2 x ")
    launch(
        "local.sh",
        "2",
        f"--config={run_file}",
        f"--workdir={tmp_path / '2'}",
        PYTHON=sys.executable,
        PORT=port,
        JAX_PLATFORMS="cpu",
    )
    assert json.loads((tmp_path / "2" / "results.json").read_text())["protocols"] == results[1]["protocols"]
