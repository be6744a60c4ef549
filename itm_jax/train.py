"""Training, top to bottom: build -> restore -> step -> log -> evaluate -> save; then the test split."""

import dataclasses
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from itm_jax import checkpoints
from itm_jax import config as config_lib
from itm_jax.data import pipeline
from itm_jax.data.augment import AugmentConstants
from itm_jax.data.text import TextInput, load_text
from itm_jax.data.text_states import lone_mask_state
from itm_jax.errors import DivergedError, InputError, TerminatedError
from itm_jax.evaluate import depends_on_batch, evaluate_split, make_encoders, results, write_results
from itm_jax.mesh import make_mesh, put_batch, replicated
from itm_jax.models import build
from itm_jax.train_state import TrainState, count_params, init_state, learning_rate, make_optimizer
from itm_jax.train_step import make_train_step
from itm_jax.watch import CollapseAlarm, StopSignal
from itm_jax.writer import Display, MetricsWriter

MAX_SKIPPED = 20  # steps with a non-finite gradient that a run survives


@dataclasses.dataclass(frozen=True)
class Run:
    """A model with its text side, mesh and freshly initialised state."""

    config: Any
    text: TextInput
    mesh: Any
    model: Any
    optimizer: Any
    state: TrainState


def check_workdir(config, workdir: pathlib.Path) -> None:
    """Raises InputError where the workdir belongs to a run with another config."""
    path = workdir / "config.json"
    changed = config_lib.differences(config, config_lib.read_json(path)) if path.exists() else []
    if changed:
        raise InputError(
            f"{workdir}: belongs to a run with another config ({'; '.join(changed[:4])}); "
            "take another --workdir, or the same config to continue"
        )


def write_config(config, workdir: pathlib.Path) -> None:
    """Creates the workdir with its config.json."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / "config.json").write_text(config_lib.to_json(config), encoding="utf-8")
    except OSError as e:
        raise InputError(f"{workdir}: cannot be written ({e.strerror})") from None


def build_run(config, text: TextInput, data: pipeline.TextSplit) -> tuple[Run, int]:
    """The run's parts and the steps of an epoch; `data` gives the shapes."""
    config_lib.resolve(config)
    mesh = make_mesh(config.data.batch_size)
    steps = pipeline.steps_per_epoch(data.split, config.data.batch_size)
    model = build(config.model)
    optimizer = make_optimizer(config.optim, learning_rate(config.optim, steps))
    example = data.batch(np.arange(2))
    state = init_state(jax.random.key(config.seed), model, optimizer, example, bert_params=text.params, mesh=mesh)
    return Run(config, text, mesh, model, optimizer, state), steps


def train(config, workdir: pathlib.Path, *, check_test: bool = False) -> None:
    """Trains, or continues, the run of `workdir` to its last epoch; checkpoints are selected by dev rSum.

    Args:
        config: the run's config; fields that the text encoder decides are filled in.
        workdir: where everything is written.
        check_test: open the test split too before training, so that a mistake in it does not show hours later.

    Raises:
        InputError: data, config or workdir are not usable.
        DivergedError: more than MAX_SKIPPED steps had a non-finite gradient.
        TerminatedError: SIGTERM arrived; a checkpoint was saved.
    """
    names = [config.data.train_split, config.data.dev_split] + [config.data.test_split] * check_test
    splits = pipeline.read_splits(config, names)
    text = load_text(config, source=config.data.source)
    config_lib.resolve(config)
    check_workdir(config, workdir)
    train_data, dev_data = (pipeline.with_text(config, split, text) for split in splits[:2])
    run, epoch = build_run(config, text, train_data)
    write_config(config, workdir)

    manager = checkpoints.open_manager(workdir)
    state, meta = run.state, {"best_rsum": -1.0, "best_step": 0, "train_seconds": 0.0}
    if manager.latest_step() is not None:
        state, meta = checkpoints.restore(manager, manager.latest_step(), state)
    elif config.init_from:
        variables, _ = checkpoints.restore_variables(pathlib.Path(config.init_from), state)
        state = state.replace(**variables, opt_state=run.optimizer.init(variables["params"]))

    total = round(config.train.epochs * epoch)
    first = int(state.step)
    if first >= total:
        manager.close()
        return
    step_fn = jax.jit(
        make_train_step(
            run.model,
            run.optimizer,
            augment_constants(config, text),
            config,
            warmup_steps=round(config.loss.warmup_epochs * epoch),
        ),
        donate_argnums=0,
    )
    encoders = make_encoders(run.model)
    batches = pipeline.train_batches(
        train_data,
        batch_size=config.data.batch_size,
        seed=config.seed,
        start=first,
        prefetch=config.data.prefetch,
    )
    key = jax.device_put(jax.random.key(config.seed + 1), replicated(run.mesh))
    eval_every = max(1, round(config.train.eval_every_epochs * epoch))
    writer, display, stop = MetricsWriter(workdir, first), Display(total, first), StopSignal()
    alarm = CollapseAlarm()
    began = window = time.perf_counter()
    seconds_before = meta["train_seconds"]
    try:
        for step in range(first + 1, total + 1):
            state, metrics = step_fn(state, put_batch(next(batches), run.mesh), key)
            if step % config.train.log_every == 0 or step == total:
                values = {k: float(v) for k, v in metrics.items()}
                now = time.perf_counter()
                done = min(config.train.log_every, step - first)
                rate, window = done * config.data.batch_size / (now - window), now
                writer.write(step, "train", values | {"epoch": step / epoch})
                display.update(step, values["loss"], rate)
                if values["skipped"] > MAX_SKIPPED:
                    raise DivergedError(
                        f"{workdir}: step {step}: {values['skipped']:.0f} steps had a non-finite loss or gradient; "
                        f"lower config.optim.lr (now {config.optim.lr}); last checkpoint: {manager.latest_step()}"
                    )
                if message := alarm.check(step, values):
                    writer.write(step, "alarm", {"message": message})
                    display.say(message)
            rsum = None
            if step % eval_every == 0 or step == total:
                variables = {"params": state.params, "batch_stats": state.batch_stats}
                dev, _ = evaluate_split(run.model, encoders, variables, dev_data, config, run.mesh)
                rsum = dev["full"]["rsum"]
                writer.write(step, "dev", dev["full"])
                display.evaluated(step, rsum, best=rsum > meta["best_rsum"])
                if rsum > meta["best_rsum"]:
                    meta |= {"best_rsum": rsum, "best_step": step}
                window = time.perf_counter()
            periodic = config.train.checkpoint_every and step % config.train.checkpoint_every == 0
            if rsum is not None or periodic or stop.requested:
                meta["train_seconds"] = seconds_before + time.perf_counter() - began
                checkpoints.save(manager, state, dict(meta), rsum)
            if stop.requested and step < total:
                manager.wait_until_finished()
                raise TerminatedError(
                    f"{workdir}: stopped by SIGTERM at step {step}, saved; the same command continues"
                )
    finally:
        display.close()
        writer.close()
        stop.restore()
        manager.wait_until_finished()
        manager.close()


def evaluate(config, workdir: pathlib.Path) -> tuple[dict, pathlib.Path]:
    """Evaluates the best checkpoint of a run on the config's test split.

    Returns:
        (content, path) of the results file: results.json, or results-<dataset>-<split>.json where the data fields
        are not those of the run.

    Raises:
        InputError: the workdir holds no run, or one of another model.
    """
    text = load_text(config, source=config.data.source)
    config_lib.resolve(config)
    out = workdir / results_name(config, config_lib.read_json(workdir / "config.json"))
    data = pipeline.with_text(config, pipeline.read_split(config, config.data.test_split), text)
    config = config.copy_and_resolve_references()
    if not depends_on_batch(config.model):
        config.data.batch_size = jax.device_count()  # of no effect here: no training step is built
    run, _ = build_run(config, text, data)
    variables, step = checkpoints.restore_variables(workdir, run.state)
    metrics, seconds = evaluate_split(run.model, make_encoders(run.model), variables, data, config, run.mesh)
    with checkpoints.open_manager(workdir, read_only=True) as manager:
        latest = manager.latest_step()
        meta = checkpoints.restore(manager, latest, run.state)[1]
    content = results(
        config,
        data,
        step=step,
        metrics=metrics,
        seconds={"train": meta["train_seconds"]} | seconds,
        params=count_params(variables["params"]),
    )
    write_results(out, content)
    return content, out


def results_name(config, trained) -> str:
    """The name of the results file of a run trained with `trained` and evaluated with `config`."""
    changed = config_lib.differences(config, trained)
    other = [c for c in changed if c.startswith("model.")]
    if other:
        raise InputError(
            f"the run's model is another one ({'; '.join(other[:4])}); evaluation may change data fields only"
        )
    if [c for c in changed if c.startswith("data.")] or config.data.dir != trained.data.dir:
        return f"results-{config.data.name}-{config.data.test_split}.json"
    return "results.json"


def augment_constants(config, text: TextInput) -> AugmentConstants:
    """What word augmentation needs of the text side."""
    mask_state = None if config.model.text.trainable else lone_mask_state(text)
    return AugmentConstants(text.mask_id, jnp.asarray(text.replacements), mask_state)
