"""launch/local.sh: dry runs, and two processes that it starts."""

import json
import shutil
import socket
import sys

import numpy as np
import pytest
from support.launchers import FLAGS, LAUNCH, launch
from support.runs import lines


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
