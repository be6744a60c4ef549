"""Measures size and speed of several models in turn, in one run: step, encoding, and queries against a gallery."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from itm_jax.bench.flops import step_flops
from itm_jax.bench.inputs import shapes_of
from itm_jax.bench.measure import cost, matmul_rate, seconds_of, summary, where
from itm_jax.bench.train import StepOnRandomBatch
from itm_jax.config.fields import from_values
from itm_jax.devices.mesh import put, put_batch, replicated
from itm_jax.devices.programs import memory_of
from itm_jax.evaluation.encode import make_encoders
from itm_jax.files import read_json
from itm_jax.models.variables import count_params

TOP = 10  # images that a query returns


class Searcher:
    """A model's image encoder, and its search: it finds the best images for captions in a gallery on the device."""

    def __init__(self, step: StepOnRandomBatch, *, gallery: int, queries: int):
        """Makes a gallery of `gallery` images and a batch of `queries` captions; the first caption is also asked alone.

        The gallery repeats the images of the step's batch.
        """
        run, data, b = step.run, step.data, step.config.data.batch_size
        encode_images, _, score, _ = make_encoders(run.model, run.mesh)
        variables = {"params": step.run.state.params, "batch_stats": step.run.state.batch_stats} | data.constants
        # The step donates its state, so search has a copy of the parameters.
        self.variables = jax.tree.map(lambda x: put(np.asarray(x), replicated(run.mesh)), variables)
        self.images = put_batch(data.regions(np.arange(b)), run.mesh)
        self.encode = lambda: encode_images(self.variables, self.images)
        encoded = jax.tree.map(lambda x: np.resize(np.asarray(x), (gallery, *x.shape[1:])), self.encode())
        self.gallery = put(encoded, replicated(run.mesh))

        def encode(variables, tokens):
            return run.model.apply(variables, tokens, train=False, method="encode_captions")

        def compare(variables, gallery, captions):
            return jax.lax.top_k(score(variables, gallery, captions).T, min(TOP, size))

        def search(variables, gallery, tokens):
            return compare(variables, gallery, encode(variables, tokens))

        size = jax.tree.leaves(self.gallery)[0].shape[0]
        one, many = (put(data.tokens(np.resize(np.arange(b), n)), replicated(run.mesh)) for n in (1, queries))
        self.encode_one = self._compiled(encode, one)
        self.score_one = self._compiled(compare, self.gallery, self.encode_one())
        self.many = self._compiled(search, self.gallery, many)

    def _compiled(self, function: Callable, *inputs: Any) -> Callable:
        program = jax.jit(function).lower(self.variables, *inputs).compile()
        return lambda: program(self.variables, *inputs)


def bench_models(
    configs: Mapping[str, Any],
    *,
    regions: int,
    width: int,
    tokens: int,
    pairs: int,
    gallery: int,
    queries: int,
    repeats: int,
) -> dict[str, Any]:
    """Returns the figures of each config by its name; each kind of measurement is made on all models in turn.

    Args:
        configs: the configs by name; they run on random data of the shapes below.
        regions: regions of an image.
        width: width of a region's features.
        tokens: tokens of a padded caption.
        pairs: pairs of an epoch.
        gallery: images that a query is compared with.
        queries: captions at a time, where many are asked.
        repeats: timed repetitions.

    Returns:
        `models` by name: parameters, FLOPs, seconds, rates and memory; `machine`.
    """
    shapes = {"regions": regions, "width": width, "tokens": tokens}
    figures: dict[str, dict[str, Any]] = {}
    searchers, steps = {}, {}
    for name, config in configs.items():
        step = StepOnRandomBatch(config, check=None, **shapes)
        parameters = count_params(step.run.state.params)
        searchers[name], steps[name] = Searcher(step, gallery=gallery, queries=queries), step
        by_hand, (by_xla, _) = step_flops(step.config, **shapes), cost(step.compiled)
        needs = memory_of(step.compiled)
        figures[name] = {
            "model": config.model.name,
            "parameters": parameters,
            "gflop_of_a_step_by_hand": by_hand and by_hand / 1e9,
            "gflop_of_a_step_xla_loops_once": by_xla and by_xla / 1e9,
            "gb_of_a_step": needs and sum(needs) / 1e9,
            "steps_of_an_epoch": pairs // config.data.batch_size,
        }
    for kind, functions in (
        ("step", list(steps.values())),
        ("encode", [s.encode for s in searchers.values()]),
        ("caption", [s.encode_one for s in searchers.values()]),
        ("score", [s.score_one for s in searchers.values()]),
        ("queries", [s.many for s in searchers.values()]),
    ):
        seconds_of(*functions, repeats=1)  # the first call of a program is not counted
        for name, times in zip(figures, seconds_of(*functions, repeats=repeats), strict=True):
            figures[name] |= summary(times, f"{kind}_")
    for name, config in configs.items():
        model, b = figures[name], config.data.batch_size
        model["seconds_of_an_epoch"] = model["step_seconds_median"] * model["steps_of_an_epoch"]
        model["images_encoded_per_second"] = b / model["encode_seconds_median"]
        model["queries_per_second"] = queries / model["queries_seconds_median"]
    machine = {"devices": where(), "gflops_of_a_matrix_product": matmul_rate() / 1e9, **shapes, "pairs": pairs}
    return {"machine": machine | {"gallery": gallery, "queries": queries, "repeats": repeats}, "models": figures}


def bench_plan(plan: pathlib.Path, *, repeats: int, gallery: int = 1000, queries: int = 32) -> dict[str, Any]:
    """Returns `bench_models` of the configs of a JSON file.

    The shapes are those of the data of the first config: regions, width, the usual padded length of its batches, pairs
    of an epoch.
    """
    configs = {name: from_values(values, str(plan)) for name, values in read_json(plan, "it is --plan").items()}
    first = next(iter(configs.values()))
    return bench_models(configs, **shapes_of(first), gallery=gallery, queries=queries, repeats=repeats)
