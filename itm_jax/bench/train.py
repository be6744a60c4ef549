"""Measures one training step on random pairs: time, FLOPs and memory, also beside PyTorch."""

import time
from collections.abc import Callable
from typing import cast

import jax
import numpy as np

from itm_jax.bench import BEGAN
from itm_jax.bench.flops import step_flops
from itm_jax.bench.measure import limits, memory, seconds_of, summary, where
from itm_jax.bench.random_data import random_data
from itm_jax.devices.mesh import put_batch
from itm_jax.devices.programs import memory_of
from itm_jax.errors import InputError
from itm_jax.models.variables import count_params
from itm_jax.terminal import say
from itm_jax.training.build import build_run, build_step

FLICKR30K_PAIRS = 145_000


class StepOnRandomBatch:
    """A compiled training step of a config on one random batch.

    Features come from the feature cache on the devices where the config has it (`data.bank`).
    """

    def __init__(self, config, *, regions: int, width: int, tokens: int, check: Callable | None = None):
        """Builds the run and compiles the step; `check` gets the completed config, and may refuse it."""
        b = config.data.batch_size
        self.config, self.text, self.data = random_data(config, images=b, regions=regions, width=width, tokens=tokens)
        if check:
            check(self.config)
        self.run = build_run(self.config, self.text, self.data)
        self.state, mesh = self.run.state, self.run.mesh
        self.step = build_step(self.run, self.data, self.state, warmup=False)
        self.batch = put_batch(self.data.batch(np.arange(b), regions=self.step.bank is None), mesh)
        self.built = time.perf_counter()
        function = cast(jax.stages.Wrapped, self.step.function)
        say(f"built after {self.built - BEGAN:.0f} s; compiling the step")
        lowered = function.lower(self.state, self.batch, self.step.key, self.step.bank)
        self.compiled = lowered.compile()
        self.ready = time.perf_counter()
        say(f"compiled in {self.ready - self.built:.0f} s")

    def __call__(self):
        """Makes one step, and returns its metrics."""
        self.state, metrics = self.compiled(self.state, self.batch, self.step.key, self.step.bank)
        return metrics


def bench_train(config, *, regions: int, width: int, tokens: int, repeats: int, against: str | None) -> dict:
    """Returns the seconds of a step of the config, and the limits of the device.

    With `against="torch"` a step of PyTorch is measured in turn with it.
    """
    torch_step = _torch_step() if against == "torch" else None
    check = torch_step.check if torch_step else None
    ours = StepOnRandomBatch(config, regions=regions, width=width, tokens=tokens, check=check)
    jax.block_until_ready(ours())
    first = time.perf_counter()
    theirs = None
    config = ours.config
    if torch_step:
        theirs = torch_step.TorchStep(ours)
        theirs()
    times = seconds_of(ours, *([theirs] if theirs else []), repeats=repeats)
    step_times = summary(times[0])
    seconds, b = step_times["seconds_median"], config.data.batch_size
    by_hand = step_flops(ours.config, regions=regions, width=width, tokens=tokens)
    needs = memory_of(ours.compiled)
    figures = {
        "model": config.model.name,
        "dtype": config.model.dtype,
        "devices": where(),
        "batch": b,
        "regions": f"{regions} x {width}",
        "tokens": tokens,
        "parameters": count_params(ours.state.params),
        **step_times,
        "examples_per_second": b / seconds,
        "seconds_per_epoch_of_flickr30k_at_this_rate": FLICKR30K_PAIRS / b * seconds,
        **limits(ours.compiled, by_hand and by_hand / jax.device_count(), seconds, config.model.dtype),
        "seconds_to_built": ours.built - BEGAN,
        "seconds_to_compile": ours.ready - ours.built,
        "seconds_to_first_step": first - BEGAN,
        **memory(),
    }
    if needs:
        figures |= {"program_gb_held": needs[0] / 1e9, "program_gb_while_it_runs": needs[1] / 1e9}
    if theirs:
        figures |= summary(times[1], "torch_") | {"torch": theirs.version, "torch_parameters": theirs.parameters}
        figures["ratio_torch_to_ours"] = figures["torch_seconds_median"] / seconds
    return figures


def _torch_step():
    try:
        from itm_jax.bench.pytorch import step as torch_step
    except ImportError:
        raise InputError("--against=torch: PyTorch is not installed; pip install -e '.[parity]'") from None
    return torch_step
