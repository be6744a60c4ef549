"""Measures the encoding of a random split for evaluation: images/s and captions/s."""

import functools
from typing import cast

import jax
import numpy as np

from itm_jax.bench.measure import limits, memory, timed, where
from itm_jax.bench.random_data import random_data
from itm_jax.devices.mesh import put_batch
from itm_jax.evaluation.encode import encode_split, make_encoders
from itm_jax.training.build import build_run


def bench_encode(
    config, *, images: int, captions_per_image: int, regions: int, width: int, tokens: int, repeats: int
) -> dict:
    """Returns the seconds of a batch of images and of captions on the device, and of a whole split.

    The seconds of the split include reading and gathering.
    """
    config, text, data = random_data(
        config, images=images, captions_per_image=captions_per_image, regions=regions, width=width, tokens=tokens
    )
    run = build_run(config, text, data)
    b = min(config.data.eval_batch_size, images * captions_per_image)
    b = -(-b // run.mesh.size) * run.mesh.size
    encoders = make_encoders(run.model, run.mesh)
    variables = {"params": run.state.params, "batch_stats": run.state.batch_stats}
    split = lambda: encode_split(encoders, variables, data, config=config, mesh=run.mesh)  # noqa: E731
    split()
    figures = {"model": config.model.name, "dtype": config.model.dtype, "devices": where(), "batch": b}
    whole = timed(split, repeats)
    figures |= {f"split_of_{images}_images_{k}": v for k, v in whole.items()}
    every = variables | data.constants
    for name, encode, read, items in (
        ("images", encoders.images, data.regions, data.split.num_images),
        ("captions", encoders.captions, data.tokens, len(data.split.captions)),
    ):
        batch = put_batch(read(np.resize(np.arange(items), b)), run.mesh)
        jax.block_until_ready(encode(every, batch))
        times = timed(functools.partial(encode, every, batch), repeats)
        program = cast(jax.stages.Wrapped, encode).lower(every, batch).compile()
        speed = {"per_second": b / times["seconds_median"], **times}
        speed |= limits(program, None, times["seconds_median"], config.model.dtype)
        figures |= {f"{name}_{k}": v for k, v in speed.items()}
    return figures | memory()
