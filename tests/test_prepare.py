"""A config is completed once, into a frozen copy: what is handed in stays as it is, and may be used again."""

import copy
import json

import pytest
from support.runs import lines, shrunk

from itm_jax.bench.random_data import random_data
from itm_jax.bench.train import StepOnRandomBatch
from itm_jax.checks.run import check
from itm_jax.config.fields import flatten, to_json
from itm_jax.config.model_fields import MODELS
from itm_jax.data.prepare import prepare
from itm_jax.errors import InputError
from itm_jax.evaluation.ensemble import evaluate_ensemble
from itm_jax.evaluation.evaluate import evaluate
from itm_jax.evaluation.open_run import open_run
from itm_jax.models import build
from itm_jax.testing import check_model
from itm_jax.training.loop import train

pytestmark = pytest.mark.usefixtures("one_device")


def test_two_runs_of_one_config_object_are_two_runs(tmp_path):
    """The second once trained the first one's variant again, and said otherwise."""
    config = shrunk(train__epochs=0.3)
    train(config, tmp_path / "a")
    config.model.variant = "official"
    train(config, tmp_path / "b")
    train(shrunk(train__epochs=0.3, model__variant="official"), tmp_path / "fresh")
    config.model.variant, config.model.name = "paper", "vsepp"
    train(config, tmp_path / "c")
    assert lines(tmp_path / "b") == lines(tmp_path / "fresh")
    assert lines(tmp_path / "a") != lines(tmp_path / "b")
    kept = {name: json.loads((tmp_path / name / "config.json").read_text()) for name in "abc"}
    assert [kept[name]["loss"]["soft_negatives"] for name in "abc"] == ["mixup", "hinge", "none"]
    assert [kept[name]["model"]["selection"] for name in "abc"] == ["max", "max", "mean"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"model__variant": "offical"}, "model.variant"),
        ({"model__name": "vseinf", "model__selection": "max"}, "model.selection"),
        ({"loss__margin": -1.0}, "loss.margin"),
        ({"optim__lr": float("nan")}, "optim.lr"),
        ({"model__name": "nope"}, "model.name"),
    ],
)
def test_an_invalid_field_is_named_by_every_entry_point(changes, field, tmp_path):
    """Not by the commands alone: a misspelt variant once trained a model that was neither."""
    config = shrunk(**changes)
    for call in (lambda: train(config, tmp_path), lambda: prepare(config, ["train"]), lambda: check_model(config)):
        with pytest.raises(InputError, match=rf"^config\.{field}="):
            call()


def test_no_entry_point_changes_the_config_that_it_is_given(tmp_path):
    fields = {"train__epochs": 0.3, "model__name": "vsepp"}
    config = shrunk(**fields)
    train(shrunk(seed=1, **fields), tmp_path / "b")  # another one for the ensemble
    before, runs = copy.deepcopy(flatten(config)), (tmp_path / "a", tmp_path / "b")
    shapes = {"regions": 4, "width": 12, "tokens": 24}
    for call in (
        lambda: train(config, runs[0], check_test=True),
        lambda: evaluate(config, runs[0]),
        lambda: open_run(config, runs[0]),
        lambda: evaluate_ensemble(config, runs, tmp_path / "both"),
        lambda: check(config, runs[0]),
        lambda: prepare(config, ["train"]),
        lambda: check_model(config),
        lambda: random_data(config, images=8, **shapes),
        lambda: StepOnRandomBatch(config, **shapes),
    ):
        call()
        assert flatten(config) == before


def test_build_completes_a_model_section_without_changing_it():
    section = shrunk().model
    section.text.vocab_size = 30
    before = copy.deepcopy(flatten(section))
    assert build(section).selection == "max"
    assert flatten(section) == before


@pytest.mark.parametrize("name", MODELS)
def test_a_completed_config_is_frozen_and_complete(name):
    config = prepare(shrunk(model__name=name, model__graph__heads=2), ["train"]).config
    left = [f for f, value in flatten(config).items() if value is None and f.startswith(("model.", "loss.", "optim."))]
    assert set(left) <= {"model.text.pretrained", "model.text.vocab", "model.text.dropout", "loss.function"} | (
        set() if name == "cpfean" else {"model.regions.boxes", "model.regions.labels"}
    )
    with pytest.raises(AttributeError, match="immutable"):
        config.model.width = 3
    assert json.loads(to_json(config))["model"]["name"] == name


def test_a_trace_beyond_the_run_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match=r"^config\.train\.profile=\(500, 600\): the run has 5 steps"):
        train(shrunk(train__epochs=0.5, train__profile=(500, 600)), tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_a_trace_of_some_steps_is_written(tmp_path):
    train(shrunk(train__epochs=0.5, train__profile=(2, 3)), tmp_path)
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    assert all(line["lr"] == pytest.approx(1e-3) for line in lines(tmp_path) if line["split"] == "train")
