"""launch/tpu_vm.sh: dry runs."""

import shlex

import pytest
from support.launchers import FLAGS, TPU_VM, assert_flags_are_read, launch


def test_tpu_vm_from_nothing_to_results():
    out, _ = launch("tpu_vm.sh", "--dry_run", "all", *FLAGS, **TPU_VM, SPOT="1")
    steps = out.strip().splitlines()
    assert steps[0].startswith("gcloud compute tpus tpu-vm create itm --zone=us-west4-a ")
    assert steps[0].strip().endswith("--spot")
    [run] = [line for line in steps if "itm_jax.main" in line]
    assert "--worker=all" in run
    assert "bucket/runs/afa" in run
    command = shlex.split(run)[-1].removeprefix("--command=")
    assert_flags_are_read(shlex.split(command.split(" && ")[-1])[2:])
    assert "gs://mine/runs/afa" in steps[-2]
    assert "delete" in launch("tpu_vm.sh", "--dry_run", "delete", **TPU_VM)[0]


@pytest.mark.parametrize(
    ("kind", "version"),
    [
        ("", "v2-alpha-tpuv5-lite"),
        ("v5p-32", "v2-alpha-tpuv5"),
        ("v6e-8", "v2-alpha-tpuv6e"),
        ("v4-8", "tpu-ubuntu2204-base"),
    ],
)
def test_the_software_fits_the_type(kind, version):
    out, _ = launch("tpu_vm.sh", "--dry_run", "create", **TPU_VM, TYPE=kind)
    assert f"--accelerator-type={kind or 'v5litepod-8'} --version={version} " in out
    out, _ = launch("tpu_vm.sh", "--dry_run", "create", **TPU_VM, TYPE=kind, VERSION="mine")
    assert "--version=mine " in out


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("tpu7x-8", "use launch/gke/run.sh with TPU=tpu7x"),
        ("v7x-16", "has no TPU7x"),
        ("h100", "TYPE=h100: not known here"),
    ],
)
def test_types_that_the_cloud_tpu_api_does_not_have(kind, message):
    _, err = launch("tpu_vm.sh", "all", *FLAGS, code=2, **TPU_VM, TYPE=kind)
    assert message in err
    assert err.count("\n") == 1
