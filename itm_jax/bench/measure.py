"""Clocks, rates and memory."""

import pathlib
import resource
import statistics
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp


def seconds_of(*functions: Callable[[], object], repeats: int) -> list[list[float]]:
    """Seconds of `repeats` calls of each function, each waited for; functions take turns, so that they share all noise."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, out in zip(functions, times, strict=True):
            began = time.perf_counter()
            jax.block_until_ready(function())
            out.append(time.perf_counter() - began)
    return times


def summary(times: Sequence[float], prefix: str = "") -> dict[str, float]:
    """Median, fastest and slowest."""
    values = {"median": statistics.median(times), "min": min(times), "max": max(times)}
    return {f"{prefix}seconds_{name}": value for name, value in values.items()}


def timed(function: Callable[[], object], repeats: int) -> dict[str, float]:
    """`summary` of `repeats` calls of one function."""
    return summary(seconds_of(function, repeats=repeats)[0])


def matmul_rate(dtype: str = "float32", n: int | None = None) -> float:
    """FLOP/s of a product of two n x n matrices on the default device, the fastest of five."""
    n = n or (2048 if jax.default_backend() == "cpu" else 8192)
    a = jax.random.normal(jax.random.key(0), (n, n), jnp.dtype(dtype))
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(a))
    return 2 * n**3 / timed(lambda: product(a), 5)["seconds_min"]


def copy_rate(size: int | None = None, passes: int = 10) -> float:
    """Bytes/s read and written by passes over an array of `size` bytes on the default device, the fastest of five calls."""
    size = size or (1 << 28 if jax.default_backend() == "cpu" else 1 << 30)
    a = jnp.zeros(size // 4, jnp.float32)
    add = jax.jit(
        lambda a: jax.lax.fori_loop(0, passes, lambda _, a: a + 1, a), donate_argnums=0
    )  # in place: no new pages

    def once():
        nonlocal a
        a = add(a)
        return a

    jax.block_until_ready(once())
    return 2 * a.nbytes * passes / timed(once, 5)["seconds_min"]


def limits(compiled: jax.stages.Compiled, flops: float | None, seconds: float, dtype: str) -> dict[str, float]:
    """FLOPs and bytes of a program on each device beside what the device does at best, both measured now.

    Args:
        compiled: the program.
        flops: its FLOPs as counted by hand, where they are; else those that XLA counts stand in for them.
        seconds: that it takes.
        dtype: of its products.

    Returns:
        Counts, rates, and fractions of the device's own. XLA counts the body of a loop once, and on a GPU not the
        products that it hands to a library; its bytes are what every operation reads and writes, caches or not.
    """
    multiply, copy = matmul_rate(dtype), copy_rate()
    of_xla, size = cost(compiled)
    figures = {"gflop_counted_by_hand": flops and flops / 1e9, "gflop_xla_loops_once": of_xla and of_xla / 1e9}
    figures["gb_accessed_xla_loops_once"] = size and size / 1e9
    if counted := flops or of_xla:
        figures |= {
            "gflops": counted / seconds / 1e9,
            "gflops_of_a_matrix_product": multiply / 1e9,
            "fraction_of_matrix_product_rate": counted / seconds / multiply,
        }
    figures["gb_per_second_of_a_copy"] = copy / 1e9
    figures["fraction_of_copy_rate"] = size and size / seconds / copy
    return {k: v for k, v in figures.items() if v is not None}


def cost(compiled: jax.stages.Compiled) -> tuple[float | None, float | None]:
    """FLOPs and bytes accessed of a program, as XLA counts them on one device; None where it does not."""
    found = compiled.cost_analysis() or {}
    flops, size = (float(found.get(name, 0)) for name in ("flops", "bytes accessed"))
    return flops if flops > 0 else None, size if size > 0 else None


def anonymous_bytes() -> int | None:
    """Anonymous resident memory of this process (Linux), without memory-mapped files."""
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        return None
    line = next((x for x in status.read_text().splitlines() if x.startswith("RssAnon")), None)
    return int(line.split()[1]) * 1024 if line else None


def memory() -> dict[str, float]:
    """Memory of the process, and on an accelerator of its device, at most so far, in GB."""
    out = {"peak_resident_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}
    if anonymous := anonymous_bytes():
        out["anonymous_gb"] = anonymous / 1e9
    peak = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return out | ({"peak_device_gb": peak / 1e9} if peak else {})


def where() -> str:
    """The devices."""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"
