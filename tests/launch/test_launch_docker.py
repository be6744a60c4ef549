"""launch/docker: the command, what the image copies, and what hadolint says of the Dockerfile."""

import os
import shutil
import subprocess
import sys

import pytest
from support.launchers import LAUNCH, launch
from support.paths import ROOT


def test_the_image_has_what_it_copies():
    out, _ = launch("docker/build.sh", "--dry_run", "cuda", "mine:1")
    assert out.startswith("docker build --build-arg EXTRA=cuda -t mine:1 ")
    assert "COPY setup.py setup.cfg pyproject.toml" in (LAUNCH / "docker" / "Dockerfile").read_text()
    for line in (LAUNCH / "docker" / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            assert all((ROOT / name).exists() for name in line.split()[1:-1])


def test_hadolint():
    """Docker's own grammar, and the usual mistakes."""
    found = shutil.which("hadolint", path=f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}")
    if not found:
        pytest.skip("hadolint is not installed: pip install -e '.[launchers]'")
    done = subprocess.run([found, LAUNCH / "docker" / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("extra", "package"),
    [("", ".[images,buckets]"), ("cuda", ".[images,buckets,cuda]"), ("tpu", ".[images,buckets,tpu]")],
)
def test_the_image_can_extract_features(tmp_path, extra, package):
    """launch/gke/run.sh extract runs in it."""
    (tmp_path / "pip").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "pip").chmod(0o755)
    [line] = [x for x in (LAUNCH / "docker" / "Dockerfile").read_text().splitlines() if x.startswith("RUN pip ")]
    variables = {"PATH": f"{tmp_path}:/usr/bin:/bin", "EXTRA": extra}
    done = subprocess.run(
        ["sh", "-c", line.removeprefix("RUN ")], env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == package
