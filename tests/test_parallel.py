"""One device, eight, and two processes with four each do the same arithmetic: float64, so that only rounding differs."""

import numpy as np
import pytest
from support.parallel_case import compare
from support.paths import ROOT
from support.processes import finish, start


def steps_of(model, out, **how):
    """What `parallel_case` computes with so many processes and devices."""
    command = (ROOT / "tests" / "support" / "parallel_case.py", model, "float64", out)
    finish(start(command, options="--xla_backend_optimization_level=0", **how))
    with np.load(out) as arrays:
        return dict(arrays)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["afa", "cpfean"])
def test_gradients_losses_and_parameters_are_those_of_one_device(model, tmp_path):
    one = steps_of(model, tmp_path / "1.npz", processes=1, devices=1)
    for processes, devices in ((1, 8), (2, 4)):
        other = steps_of(model, tmp_path / "n.npz", processes=processes, devices=devices)
        print(f"{model}, {processes} x {devices}: {compare(one, other)}")
