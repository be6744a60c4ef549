"""One training step on random pairs: time, FLOPs, memory, and beside PyTorch."""

import time
from collections.abc import Callable

import jax
import numpy as np

from itm_jax.bench import BEGAN
from itm_jax.bench.flops import step_flops
from itm_jax.bench.measure import limits, memory, seconds_of, summary, where
from itm_jax.bench.random_data import random_data
from itm_jax.config.derived import resolve
from itm_jax.data.bank import bank_dtype, make_bank
from itm_jax.devices.mesh import put_batch, replicated
from itm_jax.devices.programs import memory_of
from itm_jax.errors import InputError
from itm_jax.models.variables import count_params
from itm_jax.training.build import augment_constants, build_run
from itm_jax.training.step import make_train_step

FLICKR30K_PAIRS = 145_000


class Step:
    """A compiled training step of a config on one random batch, features read from the bank where it has one."""

    def __init__(self, config, *, regions: int, width: int, tokens: int, check: Callable | None = None):
        """Builds the run and compiles the step; `check` may refuse the config when its data are known."""
        b = config.data.batch_size
        self.config = config
        self.text, self.data = random_data(config, images=b, regions=regions, width=width, tokens=tokens)
        resolve(config)
        if check:
            check(config)
        self.run = build_run(config, self.text, self.data)
        self.state, mesh = self.run.state, self.run.mesh
        self.bank = None
        if config.data.bank == "device":
            dtype = bank_dtype(self.data.split.features.dtype, config.model.dtype)
            self.bank = make_bank(self.data, mesh, dtype)
        self.batch = put_batch(self.data.batch(np.arange(b), regions=self.bank is None), mesh)
        self.key = jax.random.key(0)
        step = make_train_step(
            self.run.model,
            self.run.optimizer,
            augment_constants(config, self.text),
            config,
            constants=self.data.constants,
            warmup_steps=0,
        )
        layout = (jax.tree.map(lambda x: x.sharding, self.state), replicated(mesh))
        step = jax.jit(step, donate_argnums=0, out_shardings=layout)
        self.built = time.perf_counter()
        self.compiled = step.lower(self.state, self.batch, self.key, self.bank).compile()
        self.ready = time.perf_counter()

    def __call__(self):
        """One step; its metrics."""
        self.state, metrics = self.compiled(self.state, self.batch, self.key, self.bank)
        return metrics


def bench_train(config, *, regions: int, width: int, tokens: int, repeats: int, against: str | None) -> dict:
    """Seconds of a step of the config, of PyTorch's in turn with it where asked for, and the limits of the device."""
    torch_step = _torch_step() if against == "torch" else None
    check = torch_step.check if torch_step else None
    ours = Step(config, regions=regions, width=width, tokens=tokens, check=check)
    jax.block_until_ready(ours())
    first = time.perf_counter()
    theirs = None
    if torch_step:
        theirs = torch_step.TorchStep(ours)
        theirs()
    times = seconds_of(ours, *([theirs] if theirs else []), repeats=repeats)
    found = summary(times[0])
    seconds, b = found["seconds_median"], config.data.batch_size
    by_hand = step_flops(config, regions=regions, width=width, tokens=tokens)
    needs = memory_of(ours.compiled)
    figures = {
        "model": config.model.name,
        "dtype": config.model.dtype,
        "devices": where(),
        "batch": b,
        "regions": f"{regions} x {width}",
        "tokens": tokens,
        "parameters": count_params(ours.state.params),
        **found,
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
