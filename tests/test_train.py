"""One-step training on a shrunk real config, resume, init_from, evaluation, devices, alarms."""

import json
import os
import signal

import jax
import numpy as np
import pytest
from support.paths import ROOT
from support.runs import data_of, final_state, lines, load, run_of, same, shrunk

from itm_jax.config.fields import check_evaluable, set_field, to_json
from itm_jax.data import pipeline
from itm_jax.devices.mesh import make_mesh, put_batch, replicated
from itm_jax.errors import DivergedError, InputError, NonFiniteScoresError, TerminatedError
from itm_jax.evaluation.evaluate import evaluate
from itm_jax.evaluation.rank import Scorer
from itm_jax.runs import checkpoints
from itm_jax.runs import restore as restoring
from itm_jax.runs.collapse_alarm import COLLAPSE_STEPS, CollapseAlarm
from itm_jax.runs.progress import Progress
from itm_jax.runs.results import results_name
from itm_jax.runs.workdir import check_workdir
from itm_jax.training import loop as training
from itm_jax.training.build import augment_constants
from itm_jax.training.step import make_train_step

pytestmark = pytest.mark.usefixtures("one_device")


def test_trains_evaluates_and_writes_everything(tmp_path):
    config = shrunk()
    training.train(config, tmp_path)
    out, path = evaluate(config, tmp_path)
    assert path == tmp_path / "results.json"
    assert json.loads((tmp_path / "results.json").read_text()) == out
    written = {p.name.split(".")[0] for p in tmp_path.iterdir()}
    assert {"config", "metrics", "checkpoints", "results", "events"} <= written
    train_lines = [x for x in lines(tmp_path) if x["split"] == "train"]
    assert [x["step"] for x in train_lines] == list(range(1, 21))
    assert all(np.isfinite(x["loss"]) for x in train_lines)
    assert [x["step"] for x in lines(tmp_path) if x["split"] == "dev"] == [10, 20]
    assert out["selected_on"] == "dev"
    assert out["counts"] == {"images": 4, "captions": 20, "params": out["counts"]["params"]}
    assert set(out["seconds"]) == {"train", "encode", "score", "rank"}
    assert len(out["protocols"]["full"]) == 11
    assert out["batch"] == {"size": config.data.batch_size, "negatives": config.data.batch_size - 1}
    dev = {x["step"]: x["rsum"] for x in lines(tmp_path) if x["split"] == "dev"}
    assert out["step"] == max(dev, key=lambda s: (dev[s], s))


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        training.train(shrunk(seed=seed, train__epochs=1), tmp_path / name)
    a, b, c = ([x["loss"] for x in lines(tmp_path / n) if "loss" in x] for n in "abc")
    assert a == b
    assert a != c


def test_sigterm_saves_and_the_same_command_ends_bit_identical(tmp_path, monkeypatch):
    config = shrunk()
    training.train(config, tmp_path / "whole")
    original, calls = training.put_part, []

    def stop_at_the_seventh(batch, mesh):
        calls.append(1)
        if len(calls) == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(batch, mesh)

    monkeypatch.setattr(training, "put_part", stop_at_the_seventh)
    with pytest.raises(TerminatedError, match="step 7, saved"):
        training.train(config, tmp_path / "cut")
    monkeypatch.setattr(training, "put_part", original)
    training.train(config, tmp_path / "cut")
    assert same(final_state(config, tmp_path / "whole"), final_state(config, tmp_path / "cut"))
    assert lines(tmp_path / "whole") == lines(tmp_path / "cut")


def test_lines_after_the_restored_step_are_written_again(tmp_path):
    config = shrunk(train__epochs=1)
    training.train(config, tmp_path)
    before = (tmp_path / "metrics.jsonl").read_text()
    longer = before + '{"step": 11, "split": "train", "loss": 1}\n{"step": 12, "spl'
    (tmp_path / "metrics.jsonl").write_text(longer)
    from itm_jax.runs.loggers import Nothing
    from itm_jax.runs.metrics_log import MetricsWriter

    MetricsWriter(tmp_path, 10, Nothing()).close()
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_init_from_takes_the_best_parameters_and_refuses_others(tmp_path):
    training.train(shrunk(train__epochs=1), tmp_path / "first")
    second = shrunk(train__epochs=1, init_from=str(tmp_path / "first"), optim__lr=1e-30, optim__weight_decay=0.0)
    training.train(second, tmp_path / "second")
    a, b = (final_state(second, tmp_path / n).params for n in ("first", "second"))
    assert jax.tree.all(jax.tree.map(lambda x, y: np.allclose(x, y, atol=1e-6), a, b))
    with pytest.raises(InputError, match=r"another architecture.*is float32\["):
        training.train(shrunk(model__width=32, init_from=str(tmp_path / "first")), tmp_path / "third")
    with pytest.raises(InputError, match="no checkpoints"):
        training.train(shrunk(init_from=str(tmp_path / "nowhere")), tmp_path / "fourth")


def test_a_workdir_of_another_config_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(to_json(shrunk()))
    check_workdir(shrunk(train__log_every=7), tmp_path)
    with pytest.raises(InputError, match=r"loss\.margin: 0\.2 -> 0\.3"):
        check_workdir(shrunk(loss__margin=0.3), tmp_path)


def test_evaluation_on_other_data_has_a_name_of_its_own():
    trained = shrunk()
    assert results_name(shrunk(), trained) == "results.json"
    assert results_name(shrunk(data__test_split="dev"), trained) == "results-scenes-dev.json"
    assert results_name(shrunk(data__dir="elsewhere"), trained) == "results-scenes-test.json"
    check_evaluable(shrunk(data__test_split="dev", data__dir="elsewhere"), trained)
    for other in (
        shrunk(model__selection="mean"),
        shrunk(seed=1),
        shrunk(optim__lr=0.5),
        shrunk(data__dev_split="test"),
    ):
        with pytest.raises(InputError, match=r"trained with another config .*leave --config out"):
            check_evaluable(other, trained)


def test_batch_larger_than_the_data(tmp_path):
    with pytest.raises(InputError, match="batch_size=96: more than the 80 pairs"):
        training.train(shrunk(data__batch_size=96), tmp_path)


def test_batches_are_a_pure_function_of_seed_and_step():
    data = data_of(shrunk(), "train")
    stream = pipeline.train_batches(data, batch_size=8, seed=0, start=0, prefetch=2)
    batches = [next(stream) for _ in range(21)]
    later = next(pipeline.train_batches(data, batch_size=8, seed=0, start=13, prefetch=2))
    assert same(later, batches[13])
    assert not np.array_equal(batches[0].tokens.ids, batches[10].tokens.ids)  # the second epoch is shuffled anew
    assert sorted(np.concatenate([b.image for b in batches[:10]])) == sorted(list(range(16)) * 5)


@pytest.mark.parametrize("name", ["afa", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cpfean", "scan"))])
def test_one_and_four_devices_take_the_same_step(name):
    run, data = run_of(shrunk(model__name=name, model__graph__heads=2))
    constants = augment_constants(run.config, run.text)
    step = jax.jit(make_train_step(run.model, run.optimizer, constants, run.config, constants={}, warmup_steps=0))
    losses = []
    for devices in (jax.devices()[:1], jax.devices()):
        mesh = make_mesh(8, devices)
        state = jax.device_put(run.state, replicated(mesh))
        key = jax.device_put(jax.random.key(3), replicated(mesh))
        trail = []
        for i in range(3):
            state, metrics = step(state, put_batch(data.batch(np.arange(8) + 8 * i), mesh), key)
            trail.append([float(metrics["loss"]), float(metrics["grad_norm"])])
        losses.append(trail)
    assert len(jax.devices()) == 4
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_a_checkpoint_of_four_devices_is_evaluated_on_one(tmp_path):
    run, _ = run_of(shrunk())
    state = jax.device_put(run.state, replicated(make_mesh(8, jax.devices())))
    with checkpoints.Manager(tmp_path) as manager:
        checkpoints.save(manager, state, Progress())
    like = {"params": run.state.params, "batch_stats": run.state.batch_stats}
    variables, step = restoring.restore_variables(tmp_path, like)
    assert step == 0
    assert same(variables["params"], run.state.params)
    assert all(len(x.sharding.device_set) == 1 for x in jax.tree.leaves(variables))


def test_text_encoder_learns_at_its_factor(tmp_path):
    config = shrunk(train__epochs=1, optim__text_lr_factor=0.0)
    training.train(config, tmp_path)
    fresh, _ = run_of(config)
    after = final_state(config, tmp_path).params
    assert same(after["text_encoder"], fresh.state.params["text_encoder"])
    assert not same(after["text_branch"], fresh.state.params["text_branch"])


def test_non_finite_steps_are_skipped_then_end_the_run(tmp_path, monkeypatch):
    original = training.put_part

    def poisoned(batch, mesh):
        features = np.asarray(batch.regions.features) * np.float32(np.nan)
        return original(batch.replace(regions=batch.regions.replace(features=features)), mesh)

    monkeypatch.setattr(training, "put_part", poisoned)
    config = shrunk(train__epochs=4, train__eval_every_epochs=4.0, train__max_skipped=12, train__checkpoint_every=5)
    with pytest.raises(DivergedError) as caught:
        training.train(config, tmp_path)
    said = str(caught.value)
    assert "step 13: 13 steps had NaN or Inf in the loss, the gradient or the new parameters" in said
    assert "the learning rate is 0.0001;" in said  # a tenth since the end of epoch 1, step 10
    assert f"last good checkpoint: {tmp_path / 'checkpoints' / '10'};" in said
    assert [x["skipped"] for x in lines(tmp_path)] == list(range(1, 14))
    assert all(x["loss"] is None for x in lines(tmp_path))


def test_the_loop_refuses_a_transfer_that_nobody_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "put_part", lambda batch, mesh: batch)  # it stays on the host
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        training.train(shrunk(), tmp_path)


def test_the_logged_learning_rate_is_the_one_that_was_used(tmp_path, monkeypatch):
    """A skipped step does not count in the schedule, which falls after step 10."""
    original, calls = training.put_part, []

    def poisoned(batch, mesh):
        calls.append(None)
        scale = np.float32(np.nan if len(calls) == 2 else 1)
        return original(batch.replace(regions=batch.regions.replace(features=batch.regions.features * scale)), mesh)

    monkeypatch.setattr(training, "put_part", poisoned)
    training.train(shrunk(train__epochs=1.3, train__eval_every_epochs=4.0), tmp_path)
    rates = [line["lr"] for line in lines(tmp_path) if line["split"] == "train"]
    np.testing.assert_allclose(rates, [1e-3] * 11 + [1e-4] * 2)


def test_a_run_that_blows_up_ends_with_exit_code_3(tmp_path):
    with pytest.raises(
        DivergedError, match="had NaN or Inf in the loss, the gradient or the new parameters; the learning rate is 1e"
    ):
        training.train(shrunk(optim__lr=1e36, train__max_skipped=5), tmp_path)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_scores_that_are_not_finite_end_a_run_with_the_step(tmp_path, monkeypatch):
    def not_finite(_):
        raise NonFiniteScoresError("scores: NaN or Inf among them; ranks would mean nothing")

    monkeypatch.setattr(Scorer, "ranks", not_finite)
    with pytest.raises(DivergedError, match=r"step 10: on dev: scores: NaN .*; the learning rate is 0\.001; last good"):
        training.train(shrunk(), tmp_path)


def test_sigterm_in_the_last_evaluation_is_not_lost(tmp_path, monkeypatch):
    original = Scorer.ranks

    def stop(scorer):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(scorer)

    monkeypatch.setattr(Scorer, "ranks", stop)
    with pytest.raises(TerminatedError, match="stopped by SIGTERM at step 10, saved"):
        training.train(shrunk(train__epochs=1), tmp_path)
    assert checkpoints.steps_of(tmp_path) == [10]


def test_a_second_ctrl_c_ends_at_once(tmp_path, monkeypatch):
    original = Scorer.ranks

    def stop_twice(scorer):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return original(scorer)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(Scorer, "ranks", stop_twice)
    try:
        with pytest.raises(KeyboardInterrupt):
            training.train(shrunk(train__epochs=1), tmp_path)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert checkpoints.steps_of(tmp_path) == []


def test_a_run_is_not_selected_on_the_split_it_reports(tmp_path):
    with pytest.raises(InputError, match="must be three different splits; dev selects, test reports"):
        training.train(shrunk(data__dev_split="test"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_collapse_alarm_goes_off_once_and_says_what_to_try():
    alarm = CollapseAlarm()
    flat = {"loss": 76.5, "plateau": 76.8}
    said = [alarm.check(step, flat) for step in range(10, COLLAPSE_STEPS + 200, 10)]
    messages = [m for m in said if m]
    assert len(messages) == 1
    assert "76.50" in messages[0]
    assert "config.optim.lr" in messages[0]
    assert alarm.check(1000, {"loss": 60.0, "plateau": 76.8}) is None
    assert not any(alarm.check(1010 + s, flat) for s in range(0, COLLAPSE_STEPS, 10))


def test_frozen_and_fine_tuned_on_real_data(tmp_path, f8k, minilm):
    for trainable in (False, True):
        config = load(ROOT / "configs" / "afa_f8k.py").get_config()
        values = {
            "data.dir": str(f8k), "data.cache_dir": str(tmp_path / "cache"), "data.train_split": "dev",
            "data.batch_size": 8, "model.text.trainable": trainable, "model.width": 32,
            "model.text.pretrained": minilm,
        }  # fmt: skip
        for name, value in values.items():
            set_field(config, name, value)
        run, data = run_of(config, "dev")
        constants = augment_constants(run.config, run.text)
        step = make_train_step(run.model, run.optimizer, constants, run.config, constants={}, warmup_steps=0)
        batch = put_batch(data.batch(np.arange(0, 40, 5)), run.mesh)
        step, state, seen = jax.jit(step), run.state, []
        for _ in range(4):
            state, metrics = step(state, batch, jax.random.key(0))
            seen.append(float(metrics["loss"]))
        assert np.isfinite(seen).all()
        assert seen[-1] < seen[0]
        assert (data.states is None) == trainable
