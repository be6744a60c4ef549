"""On a CPU what a program frees is kept: a step touches no new pages."""

import os
import subprocess
import sys

import pytest
from support.paths import ROOT

from itm_jax.devices import host_memory

PROGRAM = """
import resource, sys
from itm_jax.devices.host_memory import keep_memory
assert keep_memory() == (sys.argv[1] == "keep"), sys.argv
import jax, jax.numpy as jnp
step = jax.jit(lambda x: jnp.tanh(x @ x.T) @ x)  # 64 MB between the two products
x = jnp.ones((4000, 16))
for _ in range(20):
    jax.block_until_ready(step(x))
counts = [resource.getrusage(resource.RUSAGE_SELF).ru_minflt]
for _ in range(21):
    jax.block_until_ready(step(x))
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
# The median: now and then another thread of the program holds the end of the heap, and one step pays for it.
print(sorted(b - a for a, b in zip(counts, counts[1:]))[10])
"""


def faults(word, **variables):
    """Pages that the kernel gives to a typical step."""
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"} | {"XLA_FLAGS": ""}
    environment |= {"JAX_PLATFORMS": "cpu", **variables}
    command = [sys.executable, "-c", PROGRAM, word]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_a_program_gets_its_pages_once():
    kept, left = faults("keep"), faults("leave", GLIBC_TUNABLES="glibc.malloc.perturb=0")
    assert left > 1000
    assert kept < left / 10


def test_machines_with_accelerators_are_left_alone(monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr(host_memory, "ACCELERATORS", (__file__,))
    assert not host_memory.keep_memory()
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(host_memory, "ACCELERATORS", ())
    assert not host_memory.keep_memory()
