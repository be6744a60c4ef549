"""All launchers: shellcheck, dry runs that call nothing, mistakes that end with one line."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from support.launchers import FLAGS, GKE, LAUNCH, TPU_VM, launch
from support.paths import ROOT

SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch"), *LAUNCH.glob("*/*.sh"), ROOT / ".ci" / "run"])


def test_shellcheck():
    found = shutil.which("shellcheck", path=f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}")
    if not found:
        pytest.skip("shellcheck is not installed: pip install -e '.[test]'")
    done = subprocess.run(
        [found, "--severity=warning", *map(str, SCRIPTS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert len(SCRIPTS) >= 7


@pytest.mark.parametrize(
    ("script", "arguments", "variables", "message"),
    [
        ("local.sh", ["--config=a"], {}, "say how many processes"),
        ("slurm.sbatch", ["--dry_run"], {}, "no flags"),
        ("extract.sbatch", ["--dry_run"], {}, "no flags"),
        ("gke/run.sh", ["--dry_run", "extract"], GKE, "no flags"),
        ("tpu_vm.sh", ["--dry_run", "all"], TPU_VM | {"ZONE": ""}, "ZONE is not set"),
        ("tpu_vm.sh", ["--dry_run", "start"], TPU_VM, "say one of create"),
        ("tpu_vm.sh", ["--dry_run", "all"], TPU_VM, "no flags"),
        ("gke/run.sh", ["--dry_run", "--config=a"], GKE | {"IMAGE": ""}, "IMAGE is not set"),
        ("gke/run.sh", ["--dry_run"], GKE, "no flags"),
        ("docker/build.sh", ["--dry_run", "gpu"], {}, "say cpu, cuda or tpu"),
    ],
)
def test_mistakes_are_said(script, arguments, variables, message):
    _, err = launch(script, *arguments, code=2, **variables)
    assert message in err
    assert err.startswith("error: ")


WHOLE = [
    ("local.sh", ["2", *FLAGS], {"JAX_PLATFORMS": "cpu"}),
    ("slurm.sbatch", [*FLAGS], {}),
    ("tpu_vm.sh", ["all", *FLAGS], TPU_VM),
    ("gke/run.sh", [*FLAGS], GKE),
    ("gke/run.sh", [*FLAGS], GKE | {"TPU": "v6e", "TOPOLOGY": "4x4"}),
    ("extract.sbatch", [*FLAGS], {}),
    ("docker/build.sh", ["cpu", "mine:1"], {}),
]


@pytest.mark.parametrize(("script", "arguments", "settings"), WHOLE)
def test_a_dry_run_calls_nothing_wherever_it_is_said(stand_ins, script, arguments, settings):
    called, variables = stand_ins
    for place in range(len(arguments) + 1):
        for word in ("--dry_run", "--dry-run"):
            given = [*arguments[:place], word, *arguments[place:]]
            out, _ = launch(script, *given, **(settings | variables))
            assert out.strip()
            assert word not in out
    assert not called.exists()


@pytest.mark.parametrize(("script", "arguments", "settings"), WHOLE)
@pytest.mark.parametrize("word", ["--dryrun", "--dry_run=true", "-dry_run", "--no", "more"])
def test_words_that_are_not_understood_call_nothing(stand_ins, script, arguments, settings, word):
    called, variables = stand_ins
    _, err = launch(script, *arguments, word, code=2, **(settings | variables))
    assert err == err.splitlines()[0] + "\n"
    assert re.match(rf"error: launch/{script}: {word}: not understood; ", err)
    assert not called.exists()


def test_the_stand_ins_are_called_without_a_dry_run(stand_ins):
    called, variables = stand_ins
    launch("docker/build.sh", "cpu", code=7, **variables)
    assert called.read_text().startswith("docker build ")


def test_gpu_bench_understands_no_flags():
    _, err = launch("gpu_bench.sh", "--help", code=2)
    assert err == "error: launch/gpu_bench.sh: --help: not understood; say launch/gpu_bench.sh [OUT [PART...]]\n"
    _, err = launch("gpu_bench.sh", "OUT", "rank", "ranks", code=2)
    assert err == "error: launch/gpu_bench.sh: ranks: no such part\n"
