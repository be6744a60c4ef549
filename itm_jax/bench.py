"""Speed and memory, beside the limit of the machine measured in the same run.

python -m itm_jax.bench train --config=configs/afa_f8k.py --width=1280 --tokens=32
python -m itm_jax.bench input --config=configs/afa_f8k.py --config.data.dir=DIR --tfds=OUT
python -m itm_jax.bench rank --images=5000 --captions=25000
python -m itm_jax.bench score --images=1000 --captions=5000 --joint=1024
"""

import json
import pathlib
import resource
import statistics
import sys
import time

_PROCESS_BEGAN = time.perf_counter()

from absl import flags
from ml_collections import config_flags

from itm_jax import commands
from itm_jax.errors import InputError
from itm_jax.validation import validate

_CONFIG = config_flags.DEFINE_config_file("config", None, "train, input: config file")
_TFDS = flags.DEFINE_string(
    "tfds", None, "input: the same data as itm_jax.convert tfds built it, measured in the same run"
)
_BATCHES = flags.DEFINE_integer("batches", 50, "input: batches per timed repetition", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 10, "timed repetitions", lower_bound=1)
_REGIONS = flags.DEFINE_integer("regions", 36, "train, score: regions per image", lower_bound=1)
_WIDTH = flags.DEFINE_integer("width", 2048, "train: width of a region feature", lower_bound=1)
_TOKENS = flags.DEFINE_integer("tokens", 32, "train, score: padded caption length", lower_bound=8)
_IMAGES = flags.DEFINE_integer("images", 5000, "rank, score: images", lower_bound=1)
_CAPTIONS = flags.DEFINE_integer("captions", 25000, "rank, score: captions, a multiple of the images", lower_bound=1)
_JOINT = flags.DEFINE_integer("joint", 1024, "score: joint width", lower_bound=2)
_TILE = flags.DEFINE_integer("tile", 256, "score: images and captions per tile", lower_bound=1)
_OUT = flags.DEFINE_string("out", None, "also write the figures to this JSON file")
WORDS = ("train", "input", "rank", "score")


def main(word: str) -> None:
    """Flags -> one benchmark."""
    figures = {"train": bench_train, "input": bench_input, "rank": bench_rank, "score": score}[word]()
    for name, value in figures.items():
        print(f"{name:36} {value:.4g}" if isinstance(value, float) else f"{name:36} {value}")
    if _OUT.value:
        pathlib.Path(_OUT.value).write_text(json.dumps({"bench": word} | figures, indent=2) + "\n", encoding="utf-8")


def timed(function, repeats: int) -> dict[str, float]:
    """Median, fastest and slowest of `repeats` calls, in seconds; each call is waited for."""
    import jax

    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - began)
    return {"seconds_median": statistics.median(seconds), "seconds_min": min(seconds), "seconds_max": max(seconds)}


def matmul_rate(n: int = 2048) -> float:
    """FLOP/s of a float32 product of two n x n matrices on the default device, the fastest of five."""
    import jax
    import jax.numpy as jnp

    a = jax.random.normal(jax.random.key(0), (n, n), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(a))
    return 2 * n**3 / timed(lambda: product(a), 5)["seconds_min"]


def anonymous_bytes() -> int | None:
    """Anonymous resident memory of this process (Linux), without memory-mapped files."""
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        return None
    line = next((x for x in status.read_text().splitlines() if x.startswith("RssAnon")), None)
    return int(line.split()[1]) * 1024 if line else None


def bench_train() -> dict:
    """One training step of the config on random features and captions of the configured shapes."""
    config = commands.config_of(_CONFIG)
    config.data.token_buckets = (_TOKENS.value,)
    config.data.max_tokens = _TOKENS.value
    config.data.dir = config.data.dir or "unused"
    validate(config)
    import jax
    import numpy as np

    from itm_jax.choices import uses_edges
    from itm_jax.data.labels import fill_in_priors, label_bank, label_indices
    from itm_jax.data.pipeline import TextSplit
    from itm_jax.data.text import load_text, tokenize
    from itm_jax.mesh import put_batch
    from itm_jax.run import augment_constants, build_run
    from itm_jax.structs import Split
    from itm_jax.train_state import count_params
    from itm_jax.train_step import make_train_step

    b = config.data.batch_size
    rng = np.random.default_rng(0)
    words = np.array(["a", "the", "on", "with", "two", "is", "and", "of"])
    captions = [" ".join(rng.choice(words, n)) for n in rng.integers(6, _TOKENS.value - 1, b)]
    captions[0] = " ".join(["a"] * (_TOKENS.value - 2))
    features = rng.standard_normal((b, _REGIONS.value, _WIDTH.value), dtype=np.float32)
    source = "scenes" if not config.model.text.pretrained else config.data.source
    text = load_text(config, source=source, captions=captions)
    edges = [[(k, k + 1) for k in range(len(c.split()) - 1)] for c in captions]
    table = tokenize(captions, text.tokenizer, edges=edges if uses_edges(config.model) else None)
    states = None
    if not config.model.text.trainable:
        states = rng.standard_normal((len(table.ids), text.bert.hidden_size)).astype(config.model.text.cache_dtype)
    corner = rng.uniform(0, 0.5, (b, _REGIONS.value, 2)).astype(np.float32)
    names = ("ball", "dog", "man", "tree")
    split = Split(
        "train",
        features,
        captions,
        1,
        [str(i) for i in range(b)],
        boxes=np.concatenate([corner, corner + 0.4], axis=-1),
        labels=rng.integers(0, len(names), features.shape[:2]).astype(np.int32),
        label_names=names,
        edges=edges,
        source="random",
    )
    fill_in_priors(config, split)
    labels, bank = label_indices(config, split), label_bank(config, split, text)
    data = TextSplit(split, table, states, (_TOKENS.value,), _TOKENS.value, labels, bank)
    run = build_run(config, text, data)
    batch = put_batch(data.batch(np.arange(b)), run.mesh)
    key = jax.random.key(0)
    step = make_train_step(
        run.model, run.optimizer, augment_constants(config, text), config, constants=data.constants, warmup_steps=0
    )
    built = time.perf_counter()
    compiled = jax.jit(step, donate_argnums=0).lower(run.state, batch, key).compile()
    compiled_at = time.perf_counter()
    state, _ = jax.block_until_ready(compiled(run.state, batch, key))
    first = time.perf_counter()

    def one_step():
        nonlocal state
        state, metrics = compiled(state, batch, key)
        return metrics

    times = timed(one_step, _REPEATS.value)
    flops, rate = float(compiled.cost_analysis().get("flops", float("nan"))), matmul_rate()
    return {
        "model": config.model.name,
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "batch": b,
        "regions": f"{_REGIONS.value} x {_WIDTH.value}",
        "tokens": _TOKENS.value,
        "parameters": count_params(state.params),
        **times,
        "examples_per_second": b / times["seconds_median"],
        "gflop_per_step_xla": flops / 1e9,
        "gflops": flops / times["seconds_median"] / 1e9,
        "gflops_of_a_matrix_product": rate / 1e9,
        "fraction_of_the_limit": flops / times["seconds_median"] / rate,
        "seconds_to_built": built - _PROCESS_BEGAN,
        "seconds_to_compile": compiled_at - built,
        "seconds_to_first_step": first - _PROCESS_BEGAN,
        "step_buffers_gb": compiled.memory_analysis().temp_size_in_bytes / 1e9,
        "anonymous_gb": (anonymous_bytes() or float("nan")) / 1e9,
    }


def input_speed(config, repeats: int, batches: int) -> dict[str, float]:
    """Batches of the training split as the training loop gets them, up to the transfer to the device; no model."""
    import jax

    from itm_jax.data import pipeline
    from itm_jax.data.text import load_text

    split = pipeline.read_split(config, config.data.train_split)
    data = pipeline.with_text(config, split, load_text(config, source=config.data.source, captions=split.captions))
    b = config.data.batch_size
    stream = pipeline.train_batches(data, batch_size=b, seed=0, start=0, prefetch=config.data.prefetch)
    size = sum(x.nbytes for x in jax.tree.leaves(next(stream)))
    times = timed(lambda: [next(stream) for _ in range(batches)], repeats)
    rate = batches / times["seconds_median"]
    return times | {"examples_per_second": rate * b, "gb_per_second": rate * size / 1e9}


def bench_input() -> dict:
    """The input pipeline of the config; with --tfds beside the same data as ArrayRecord, in the same run."""
    config = commands.config_of(_CONFIG)
    validate(config)
    own = config.data.source
    figures = {own: input_speed(config, _REPEATS.value, _BATCHES.value)}
    if _TFDS.value:
        config.data.source, config.data.dir = "tfds", _TFDS.value
        figures["tfds, --tfds"] = input_speed(config, _REPEATS.value, _BATCHES.value)
    flat = {f"{name}: {k}": v for name, values in figures.items() for k, v in values.items()}
    if _TFDS.value:
        ratio = figures["tfds, --tfds"]["examples_per_second"] / figures[own]["examples_per_second"]
        flat[f"ratio_tfds_to_{own}"] = ratio
    return {"batch": config.data.batch_size, "batches_per_repetition": _BATCHES.value} | flat


def bench_rank() -> dict:
    """Ranks of all queries of a random score matrix, beside plain NumPy counting in the same run."""
    import numpy as np

    from itm_jax.metrics.retrieval import query_ranks

    i, t = _IMAGES.value, _CAPTIONS.value
    if t % i:
        raise InputError(f"--captions={t}: not a multiple of --images={i}")
    scores = np.random.default_rng(0).standard_normal((i, t), dtype=np.float32)
    owner = np.arange(t) // (t // i)

    def numpy_counting():
        own = scores[owner, np.arange(t)]
        best = own.reshape(i, -1).max(axis=1)
        return (scores >= best[:, None]).sum(axis=1), (scores >= own[None, :]).sum(axis=0)

    query_ranks(scores, owner)
    ours, plain = (timed(f, _REPEATS.value) for f in (lambda: query_ranks(scores, owner), numpy_counting))
    return {
        "scores": f"{i} x {t}",
        **ours,
        "numpy_seconds_median": plain["seconds_median"],
        "ratio_numpy_to_ours": plain["seconds_median"] / ours["seconds_median"],
        "gb_per_second": scores.nbytes / ours["seconds_median"] / 1e9,
    }


def score() -> dict:
    """Scores of all pairs by a fresh CPFEAN, beside the bare product of regions and words."""
    from itm_jax.bench_score import bench_score

    figures = bench_score(
        images=_IMAGES.value,
        captions=_CAPTIONS.value,
        regions=_REGIONS.value,
        tokens=_TOKENS.value,
        width=_JOINT.value,
        tile=_TILE.value,
        repeats=_REPEATS.value,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return figures | {"peak_resident_gb": peak / 1e9, "anonymous_gb": (anonymous_bytes() or float("nan")) / 1e9}


if __name__ == "__main__":
    sys.exit(commands.run(main, words=WORDS))
