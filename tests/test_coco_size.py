"""A train file of COCO's size, 33 GB, is trained from without being read into memory."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from support.paths import ROOT
from support.runs import lines

IMAGES, PER_IMAGE, REGIONS, WIDTH = 113_287, 5, 36, 2048
LIMIT = 4e9
CONFIG = """
from itm_jax.config import default_config


def get_config():
    c = default_config()
    c.model.width = 256
    c.model.text.encoder = "gru"
    c.data.bank = "host"
    c.data.dir = {folder!r}
    c.train.update({{"epochs": 20 * 128 / {captions}, "log_every": 1}})
    return c
"""


def write_features(path, images):
    """A file sparse on the disk: a part of each image's first region is random, the last one holds a 1, the rest 0."""
    with path.open("wb") as f:
        header = {"descr": "<f4", "fortran_order": False, "shape": (images, REGIONS, WIDTH)}
        np.lib.format.write_array_header_1_0(f, header)
        f.truncate(f.tell() + images * REGIONS * WIDTH * 4)
    features = np.load(path, mmap_mode="r+")
    rng = np.random.default_rng(0)
    for first in range(0, images, 10_000):
        features[first : first + 10_000, -1, 0] = 1.0  # else the zeros would be padding
        features[first : first + 10_000, 0, :512] = rng.standard_normal((min(10_000, images - first), 512), np.float32)


def anonymous(process):
    """Bytes of anonymous memory of a process; 0 when it is gone."""
    try:
        with open(f"/proc/{process.pid}/status") as f:
            return next((int(x.split()[1]) * 1024 for x in f if x.startswith("RssAnon")), 0)
    except OSError:
        return 0


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc")
def test_training_from_a_file_of_33_gb_takes_little_memory(tmp_path):
    words = np.array(["a", "the", "man", "dog", "red", "two", "on", "with", "plays", "ball", "grass", "water"])
    rng = np.random.default_rng(0)
    for split, images in (("train", IMAGES), ("dev", 20), ("test", 20)):
        write_features(tmp_path / f"{split}_ims.npy", images)
        captions = [" ".join(chosen) for chosen in words[rng.integers(0, len(words), (images * PER_IMAGE, 10))]]
        (tmp_path / f"{split}_caps.txt").write_text("\n".join(captions) + "\n")
    assert (tmp_path / "train_ims.npy").stat().st_size > 33e9
    config, workdir = tmp_path / "config.py", tmp_path / "run"
    config.write_text(CONFIG.format(folder=str(tmp_path), captions=IMAGES * PER_IMAGE))
    command = [sys.executable, "-m", "itm_jax.main", f"--config={config}", f"--workdir={workdir}", "--mode=train"]
    environment = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    log, most, began = tmp_path / "log", 0, time.monotonic()
    with log.open("w") as errors:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=errors)
        while process.poll() is None:
            most = max(most, anonymous(process))
            time.sleep(0.1)
            if time.monotonic() - began > 1200:
                process.kill()
    assert process.returncode == 0, log.read_text()
    assert [x["step"] for x in lines(workdir) if "loss" in x] == list(range(1, 21))
    print(f"anonymous memory at most {most / 1e9:.2f} GB")
    assert 0 < most < LIMIT
