"""Measures the input pipeline alone: batches as the training loop gets them, up to the transfer to the device."""

import copy

import jax
import numpy as np

from itm_jax.bench.measure import memory, timed
from itm_jax.data import pipeline
from itm_jax.data.prepare import prepare
from itm_jax.data.text.tokens import padded_length, tokenize


def input_speed(config, repeats: int, batches: int) -> dict[str, float]:
    """Returns the speed of the batches of the configured training split, without a model."""
    prepared = prepare(config, [config.data.train_split])
    data = prepared.with_text(prepared.splits[0])
    b = config.data.batch_size
    read = config.data.bank != "device"
    stream = pipeline.train_batches(data, batch_size=b, seed=0, start=0, prefetch=config.data.prefetch, regions=read)
    size = sum(x.nbytes for x in jax.tree.leaves(next(stream)))
    times = timed(lambda: [next(stream) for _ in range(batches)], repeats)
    rate = batches / times["seconds_median"]
    return times | {"examples_per_second": rate * b, "gb_per_second": rate * size / 1e9}


def shapes_of(config) -> dict[str, int]:
    """Returns regions, their width, the usual padded length of a batch, and pairs of the configured training split."""
    prepared = prepare(config, [config.data.train_split])
    [split] = prepared.splits
    lengths = tokenize(split.captions, prepared.text.tokenizer).lengths
    longest = np.random.default_rng(0).choice(lengths, (100, config.data.batch_size)).max(axis=1)
    usual = max(8, padded_length(int(np.median(longest)), pipeline.usable_buckets(config), config.data.max_tokens))
    regions, width = split.features.shape[1:]
    return {"regions": regions, "width": width, "tokens": usual, "pairs": len(split.captions)}


def step_speed(config, repeats: int) -> dict[str, float | int]:
    """Returns the speed of the training step on a random batch with the usual shapes of the configured data."""
    from itm_jax.bench.train import StepOnRandomBatch

    shapes = shapes_of(config)
    shapes.pop("pairs")
    step = StepOnRandomBatch(config, check=None, **shapes)
    jax.block_until_ready(step())
    times = timed(step, repeats)
    return {
        "tokens": shapes["tokens"],
        **times,
        "examples_per_second": config.data.batch_size / times["seconds_median"],
    }


def bench_input(config, *, tfds: str | None, repeats: int, batches: int, step: bool = False) -> dict:
    """Returns the speed of the input pipeline of the config.

    In the same run it measures the same data as ArrayRecord (where `tfds` is set), and the training step (with `step`).
    """
    source = config.data.source
    needed = step_speed(config, repeats) if step else None
    figures = {source: input_speed(config, repeats, batches)}
    if tfds:
        converted = copy.deepcopy(config)
        converted.data.source, converted.data.dir = "tfds", tfds
        figures["tfds, --tfds"] = input_speed(converted, repeats, batches)
    flat = {f"{name}: {k}": v for name, values in figures.items() for k, v in values.items()}
    if tfds:
        ratio = figures["tfds, --tfds"]["examples_per_second"] / figures[source]["examples_per_second"]
        flat[f"ratio_tfds_to_{source}"] = ratio
    if needed:
        flat |= {f"step: {k}": v for k, v in needed.items()}
        flat["ratio_input_to_step"] = figures[source]["examples_per_second"] / needed["examples_per_second"]
    return {"batch": config.data.batch_size, "batches_per_repetition": batches} | flat | memory()
