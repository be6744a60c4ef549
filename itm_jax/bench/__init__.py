"""Speed and memory of every part, beside the limit of the machine measured in the same run; `python -m itm_jax.bench`."""

import time

BEGAN = time.perf_counter()  # before the heavy imports
