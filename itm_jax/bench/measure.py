"""Measures seconds, rates and memory."""

import pathlib
import resource
import statistics
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp


def seconds_of(*functions: Callable[[], object], repeats: int) -> list[list[float]]:
    """Returns the seconds of `repeats` calls of each function; each call is waited for.

    The functions take turns, so that noise of the machine meets all of them.
    """
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, out in zip(functions, times, strict=True):
            began = time.perf_counter()
            jax.block_until_ready(function())
            out.append(time.perf_counter() - began)
    return times


def summary(times: Sequence[float], prefix: str = "") -> dict[str, float]:
    """Returns the median, the smallest and the largest time."""
    values = {"median": statistics.median(times), "min": min(times), "max": max(times)}
    return {f"{prefix}seconds_{name}": value for name, value in values.items()}


def timed(function: Callable[[], object], repeats: int) -> dict[str, float]:
    """Returns the `summary` of `repeats` calls of one function."""
    return summary(seconds_of(function, repeats=repeats)[0])


def matmul_rate(dtype: str = "float32", n: int | None = None) -> float:
    """Returns the FLOP/s of a product of two n x n matrices on the default device, the fastest of five."""
    n = n or (2048 if jax.default_backend() == "cpu" else 8192)
    a = jax.random.normal(jax.random.key(0), (n, n), jnp.dtype(dtype))
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(a))
    return 2 * n**3 / timed(lambda: product(a), 5)["seconds_min"]


def copy_rate(size: int | None = None, passes: int = 10) -> float:
    """Returns the bytes/s read and written on the default device, the fastest of five calls.

    A call makes `passes` passes over an array of `size` bytes.
    """
    size = size or (1 << 28 if jax.default_backend() == "cpu" else 1 << 30)
    a = jnp.zeros(size // 4, jnp.float32)
    # It works in place, so that the system need not give it new pages.
    add = jax.jit(lambda a: jax.lax.fori_loop(0, passes, lambda _, a: a + 1, a), donate_argnums=0)

    def once():
        nonlocal a
        a = add(a)
        return a

    jax.block_until_ready(once())
    return 2 * a.nbytes * passes / timed(once, 5)["seconds_min"]


def limits(compiled: jax.stages.Compiled, flops: float | None, seconds: float, dtype: str) -> dict[str, float]:
    """Returns the FLOPs and bytes of a program on each device, beside the best rates of the device, measured now.

    Args:
        compiled: the program.
        flops: its FLOPs as counted by hand; where None, those that XLA counts are used for the rates.
        seconds: the seconds that it takes.
        dtype: the dtype of its products.

    Returns:
        Counts, rates, and fractions of the device's best rates. XLA counts the body of a loop once. On a GPU it leaves
        out the products that it hands to a library. Its bytes are what every operation reads and writes, from caches or
        not.
    """
    multiply, copy = matmul_rate(dtype), copy_rate()
    xla_flops, size = cost(compiled)
    figures = {"gflop_counted_by_hand": flops and flops / 1e9, "gflop_xla_loops_once": xla_flops and xla_flops / 1e9}
    figures["gb_accessed_xla_loops_once"] = size and size / 1e9
    if counted := flops or xla_flops:
        figures |= {
            "gflops": counted / seconds / 1e9,
            "gflops_of_a_matrix_product": multiply / 1e9,
            "fraction_of_matrix_product_rate": counted / seconds / multiply,
        }
    figures["gb_per_second_of_a_copy"] = copy / 1e9
    figures["fraction_of_copy_rate"] = size and size / seconds / copy
    return {k: v for k, v in figures.items() if v is not None}


def cost(compiled: jax.stages.Compiled) -> tuple[float | None, float | None]:
    """Returns the FLOPs and accessed bytes of a program, as XLA counts them on one device; None where it does not."""
    counts = compiled.cost_analysis() or {}
    flops, size = (float(counts.get(name, 0)) for name in ("flops", "bytes accessed"))
    return flops if flops > 0 else None, size if size > 0 else None


def anonymous_bytes() -> int | None:
    """Returns the anonymous resident bytes of this process, without memory-mapped files; None where not on Linux."""
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        return None
    line = next((x for x in status.read_text().splitlines() if x.startswith("RssAnon")), None)
    return int(line.split()[1]) * 1024 if line else None


def memory() -> dict[str, float]:
    """Returns GB: the peak so far and the present anonymous memory of the process, and the peak of an accelerator."""
    out = {"peak_resident_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}
    if anonymous := anonymous_bytes():
        out["anonymous_gb"] = anonymous / 1e9
    peak = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return out | ({"peak_device_gb": peak / 1e9} if peak else {})


def where() -> str:
    """Returns the number and the kind of the devices."""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"
