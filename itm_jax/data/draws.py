"""Random numbers from a hash on the host: each is a function of its key."""

import zlib

import numpy as np

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def uniform(seed: int, stream: str, *shape: int) -> np.ndarray:
    """Returns float64 draws in [0, 1) of this shape; each is a pure function of (seed, stream, position)."""
    start = np.array([(seed & 0xFFFFFFFF) << 32 | zlib.crc32(stream.encode())], np.uint64)
    x = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) * _GAMMA + _mix(start + _GAMMA)
    return ((_mix(x) >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def noise(seed: int, stream: str, *shape: int) -> np.ndarray:
    """Returns bell-shaped noise of mean 0 and variance 1.

    Each value is the sum of four uniform draws, which is exactly the same on every machine.
    """
    return (np.sum(uniform(seed, stream, 4, *shape), axis=0) - 2.0) * np.sqrt(3.0)
