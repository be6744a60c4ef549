"""Measures the speed and memory of every part, beside the limits of the machine; run `python -m itm_jax.bench`."""

import time

BEGAN = time.perf_counter()  # before the heavy imports
