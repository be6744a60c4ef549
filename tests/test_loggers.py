"""Where a run's curves go besides metrics.jsonl."""

import json
import time

import numpy as np
import pytest
from support.runs import lines, shrunk

from itm_jax.errors import InputError
from itm_jax.evaluation.encode import Encoded
from itm_jax.evaluation.rank import modality_gap
from itm_jax.runs import loggers
from itm_jax.runs.metrics_log import MetricsWriter
from itm_jax.training import loop as training

pytestmark = pytest.mark.usefixtures("one_device")


class Kept:
    """Keeps what it is given."""

    def __init__(self, *_):
        self.values, self.closed = [], False

    def scalar(self, name, value, step):
        self.values.append((name, value, step))

    def flush(self):
        pass

    def close(self):
        self.closed = True


def test_a_logger_gets_every_number_of_a_run(tmp_path, monkeypatch):
    kept = Kept()
    monkeypatch.setitem(loggers.KINDS, "tensorboard", lambda *_: kept)
    training.train(shrunk(train__epochs=1, train__log_every=1), tmp_path)
    assert kept.closed
    expected = [
        (f"{line['split']}/{name}", value, line["step"])
        for line in lines(tmp_path)
        for name, value in line.items()
        if name not in ("step", "split")
    ]
    of_time = [value for name, value, _ in kept.values if name == "train/seconds_per_step"]
    assert [x for x in kept.values if x[0] != "train/seconds_per_step"] == expected
    assert len(of_time) == sum(line["split"] == "train" for line in lines(tmp_path))
    assert min(of_time) > 0
    names = {name for name, _, _ in kept.values}
    assert {"train/lr", "train/grad_norm", "train/loss", "dev/rsum", "dev/modality_gap"} <= names


def test_no_logger_writes_no_events(tmp_path):
    config = shrunk(train__epochs=0.5)
    training.train(config, tmp_path / "usual")
    config.train.logger = "none"
    training.train(config, tmp_path / "none")
    assert list((tmp_path / "usual").glob("events*"))
    assert not list((tmp_path / "none").glob("events*"))
    assert lines(tmp_path / "none") == lines(tmp_path / "usual")


def test_seconds_per_step_leave_evaluations_out(monkeypatch):
    """Lines at steps 10 and 41, and an evaluation of 100 s after step 20: 10 and 21 steps of 2 s."""
    now = [0.0]
    monkeypatch.setattr(training.time, "perf_counter", lambda: now[0])
    speed = training.Speed(0)
    now[0] = 20.0
    assert speed.at(10) == 2.0
    now[0] = 40.0
    now[0] += 100.0
    speed.restart(20)
    now[0] += 42.0
    assert speed.at(41) == 2.0


def test_a_gap_between_the_modalities_by_hand():
    captions = [(np.array([0, 2]), np.array([[0.0, 1.0], [0.0, 3.0]])), (np.array([1]), np.array([[0.0, 2.0]]))]
    for images, expected in (([[1.0, 1.0], [1.0, 3.0]], 2 / 5**0.5), ([[0.0, -1.0], [0.0, -2.0]], -1.0)):
        assert modality_gap(Encoded(np.array(images), captions)) == pytest.approx(expected)
    fragments = [(np.array([0]), {"rows": np.ones((1, 3, 2))})]
    for images, texts in (
        ({"rows": np.ones((2, 3, 4))}, captions),
        (np.ones((2, 2)), fragments),
        (np.ones((2, 3)), captions),
    ):
        assert modality_gap(Encoded(images, texts)) is None


def test_wandb_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"wandb is not installed; pip install -e '\.\[wandb\]'"):
        training.train(shrunk(train__logger="wandb"), tmp_path / "run")
    assert not (tmp_path / "run").exists()  # said before anything is read or written


def test_wandb_offline_keeps_all_values_and_a_continued_run_keeps_its_id(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="pip install -e '.[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    seen = []
    init = wandb.init
    monkeypatch.setattr(wandb, "init", lambda **how: seen.append(how) or init(**how))
    for first in (1, 3):
        writer = MetricsWriter(tmp_path, first - 1, loggers.make_logger(shrunk(train__logger="wandb"), tmp_path, first))
        for step in range(first, first + 2):
            writer.write(step, "train", {"loss": step + 0.25})
        writer.close()
        time.sleep(1.1)  # wandb names the folder of a run by the second
    assert [json.loads(x)["loss"] for x in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [
        1.25,
        2.25,
        3.25,
        4.25,
    ]
    assert seen[0]["id"] == seen[1]["id"]
    assert seen[0]["config"]["model.name"] == "afa"
    content = b"".join(p.read_bytes() for p in (tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert b"train/loss" in content
    assert all(value in content for value in (b"1.25", b"2.25", b"3.25", b"4.25"))
