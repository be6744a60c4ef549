"""Data that change while a run reads them end it with a line."""

import os
import subprocess
import sys

import numpy as np
import pytest
from support.data_sets import config_for, write_all
from support.paths import ROOT

from itm_jax.data.precomp.reader import read_split
from itm_jax.data.watch import Watch, paths_of
from itm_jax.errors import InputError
from itm_jax.testing import resume
from itm_jax.training import loop
from itm_jax.training.loop import train

READS_A_FILE_THAT_IS_CUT = """
import os, signal, sys
import numpy as np
from itm_jax.cli import commands
from itm_jax.devices.fatal import say_instead

say_instead(signal.SIGBUS, commands.CUT_SHORT, 2)
array = np.load(sys.argv[1], mmap_mode="r")
os.truncate(sys.argv[1], 4096)
print(array[np.array([3, 900])].sum())
"""


@pytest.fixture
def data(tmp_path):
    """A small data set."""
    write_all(tmp_path / "data")
    return tmp_path / "data"


def replaced(path):
    path.write_bytes(path.read_bytes())
    os.utime(path, (1, 1))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda path: os.truncate(path, 100), "was changed"),
        (lambda path: path.unlink(), "was removed"),
        (replaced, "was changed"),
    ],
)
@pytest.mark.parametrize("name", ["train_ims.npy", "train_caps.txt"])
def test_a_change_is_noticed(data, change, what, name):
    watch = Watch([read_split(str(data), "train")])
    watch.check()
    change(data / name)
    with pytest.raises(InputError, match=rf"{name}: {what} while the run was reading it; put it back"):
        watch.check()


def test_paths_of_another_split_do_not_matter(data):
    split = read_split(str(data), "train")
    assert {path.name.partition("_")[0] for path in paths_of(split)} == {"train"}
    for name in ("train_5k_ims.npy", "train_5k_caps.txt"):
        (data / name).write_bytes(b"x")
    watch = Watch([split])
    for name in ("test_caps.txt", "train_5k_caps.txt"):
        (data / name).unlink()
    watch.check()


def test_a_run_ends_with_a_line(data, tmp_path, monkeypatch):
    """The file changes after the fourth step; the checkpoint of step 2 stays, and the run goes on when it is back."""
    config = config_for(data, train__epochs=2, train__log_every=2, train__checkpoint_every=2, optim__decay_epochs=(1,))
    whole, seen = (data / "train_caps.txt").read_bytes(), []
    check = Watch.check

    def changes(self):
        seen.append(1)
        if len(seen) == 2:
            (data / "train_caps.txt").write_bytes(whole + b"more\n")
        check(self)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Watch, "check", changes)
        with pytest.raises(InputError, match=r"train_caps\.txt: was changed while the run was reading it"):
            train(config, tmp_path / "run")
    (data / "train_caps.txt").write_bytes(whole)
    train(config, tmp_path / "run")
    train(config, tmp_path / "whole")
    assert resume.read_metrics(tmp_path / "run") == resume.read_metrics(tmp_path / "whole")


def test_a_mapped_file_that_is_cut_is_a_line_and_no_bus_error(tmp_path):
    np.save(tmp_path / "features.npy", np.ones((1000, 64, 8), np.float32))
    line = [sys.executable, "-c", READS_A_FILE_THAT_IS_CUT, str(tmp_path / "features.npy")]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: a file was cut short while it was being read")
