"""Training, top to bottom: build -> restore -> step -> log -> evaluate -> save.

Killed at any moment and started again, a run ends with the parameters and the metrics.jsonl of an undisturbed one: a
batch and a step's randomness are functions of (seed, step), and the state of everything else is in the checkpoint or
can be read off the lines of metrics.jsonl up to it. To the bit on a CPU; on a GPU some sums have no fixed order unless
XLA_FLAGS=--xla_gpu_deterministic_ops=true.
"""

import json
import pathlib
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp

from itm_jax import checkpoints
from itm_jax import config as config_lib
from itm_jax.choices import resolve
from itm_jax.data import pipeline
from itm_jax.data.bank import bank_dtype, make_bank, on_device
from itm_jax.data.labels import fill_in_priors
from itm_jax.data.text import load_text
from itm_jax.data.vocabulary import VOCAB, to_text
from itm_jax.encode import make_encoders
from itm_jax.errors import DivergedError, InputError, NonFiniteScoresError, TerminatedError
from itm_jax.evaluate import evaluate_split
from itm_jax.files import write_whole
from itm_jax.lock import workdir_lock
from itm_jax.mesh import put_batch, replicated
from itm_jax.models.cpfean import WORD_PRIOR
from itm_jax.provenance import DATA, check_data, describe_split, read_data
from itm_jax.run import Run, augment_constants, build_run, check_vocabulary, check_workdir
from itm_jax.train_state import TrainState
from itm_jax.train_step import make_train_step
from itm_jax.watch import CollapseAlarm, StopSignal
from itm_jax.writer import Display, MetricsWriter


def train(config, workdir: pathlib.Path, *, check_test: bool = False) -> None:
    """Trains, or continues, the run of `workdir` to its last epoch; checkpoints are selected by dev rSum.

    Args:
        config: the run's config; fields that the text encoder or the variant decides are filled in.
        workdir: where everything is written.
        check_test: open the test split too before training, so that a mistake in it does not show hours later.

    Raises:
        InputError: data, config or workdir are not usable, or another process is using the workdir.
        DivergedError: more than `train.max_skipped` steps had a non-finite loss or gradient.
        TerminatedError: SIGTERM arrived; a checkpoint was saved.
    """
    used = (config.data.train_split, config.data.dev_split, config.data.test_split)
    if len(set(used)) < 3:
        raise InputError(
            f"config.data: train_split={used[0]}, dev_split={used[1]}, test_split={used[2]}: must be three different "
            "splits; dev selects, test reports"
        )
    with workdir_lock(workdir):
        names = [config.data.train_split, config.data.dev_split] + [config.data.test_split] * check_test
        splits = pipeline.read_splits(config, names)
        text = load_text(config, source=config.data.source, workdir=workdir, captions=splits[0].captions)
        resolve(config)
        fill_in_priors(config, splits[0])
        check_workdir(config, workdir)
        recorded = read_data(workdir)
        check_data(recorded, {s.name: s for s in splits[:2]}, workdir)
        train_data, dev_data = (pipeline.with_text(config, split, text) for split in splits[:2])
        run = build_run(config, text, train_data)
        state, meta = first_state(run, workdir)
        if not recorded:
            data = {s.name: describe_split(s) for s in splits[:2]}
            write_whole(workdir / DATA, json.dumps(data, indent=2) + "\n")
        if text.words:
            write_whole(workdir / VOCAB, to_text(text.words))
        write_whole(workdir / "config.json", config_lib.to_json(config))
        if int(state.step) < meta["total_steps"]:
            _loop(run, train_data, dev_data, state, meta, workdir)


def first_state(run: Run, workdir: pathlib.Path) -> tuple[TrainState, dict[str, Any]]:
    """Where training begins: the newest whole checkpoint, else the run of `init_from`, else the fresh state."""
    config = run.config
    meta = {"best_rsum": -1.0, "best_step": 0, "train_seconds": 0.0}
    state = run.state
    restored = checkpoints.restore_newest(workdir, state, _say)
    if restored:
        state = restored[0]
        meta = {k: restored[1][k] for k in meta}
    elif config.init_from:
        other = pathlib.Path(config.init_from).expanduser()
        check_vocabulary(run.text, other)
        state = from_best(run, state, other)
    return state, meta | {"total_steps": max(1, round(config.train.epochs * run.steps_per_epoch))}


def from_best(run: Run, state: TrainState, other: pathlib.Path) -> TrainState:
    """The fresh state with the best parameters and running statistics of the run `other`; word priors stay its own."""
    prior = state.batch_stats.get(WORD_PRIOR)
    statistics = {k: v for k, v in state.batch_stats.items() if k != WORD_PRIOR}
    if any(WORD_PRIOR in name for name in checkpoints.newest_meta(other)["arrays"]["variables"]):
        size = (run.config.model.text.vocab_size,)
        statistics[WORD_PRIOR] = jax.ShapeDtypeStruct(size, jnp.float32, sharding=replicated(run.mesh))
    like = {"params": state.params, "batch_stats": statistics}
    variables, _ = checkpoints.restore_variables(other, like)
    statistics = {k: v for k, v in variables["batch_stats"].items() if k != WORD_PRIOR}
    if prior is not None:
        statistics[WORD_PRIOR] = prior
    params = variables["params"]
    return state.replace(params=params, batch_stats=statistics, opt_state=run.optimizer.init(params))


def _loop(run: Run, train_data, dev_data, state: TrainState, meta: dict, workdir: pathlib.Path) -> None:
    config, epoch = run.config, run.steps_per_epoch
    first, total = int(state.step), meta["total_steps"]
    step_fn = jax.jit(
        make_train_step(
            run.model,
            run.optimizer,
            augment_constants(config, run.text),
            config,
            constants=train_data.constants,
            warmup_steps=round(config.loss.warmup_epochs * epoch),
        ),
        donate_argnums=0,
    )
    bank = None
    if on_device(config, train_data, run.mesh):
        bank = make_bank(train_data, run.mesh, bank_dtype(train_data.split.features.dtype, config.model.dtype))
    encoders = make_encoders(run.model, run.mesh)
    batches = pipeline.train_batches(
        train_data,
        batch_size=config.data.batch_size,
        seed=config.seed,
        start=first,
        prefetch=config.data.prefetch,
        regions=bank is None,
    )
    key = jax.device_put(jax.random.key(config.seed + 1), replicated(run.mesh))
    eval_every = max(1, round(config.train.eval_every_epochs * epoch))
    writer, display, stop = MetricsWriter(workdir, first), Display(total, first), StopSignal()
    alarm = CollapseAlarm.after(writer.kept)
    manager = checkpoints.Manager(workdir)
    if writer.last_step > first:
        display.say(
            f"continuing from step {first}; what was done after it, up to step {writer.last_step}, is done again"
        )
    began = window = time.perf_counter()
    seconds_before = meta["train_seconds"]
    try:
        for step in range(first + 1, total + 1):
            state, metrics = step_fn(state, put_batch(next(batches), run.mesh), key, bank)
            if step % config.train.log_every == 0 or step == total:
                values = {k: float(v) for k, v in metrics.items()}
                now = time.perf_counter()
                done = min(config.train.log_every, step - first)
                rate, window = done * config.data.batch_size / (now - window), now
                writer.write(step, "train", values | {"epoch": step / epoch})
                display.update(step, values["loss"], rate)
                if values["skipped"] > config.train.max_skipped or values["skipped"] == total:
                    manager.wait_until_finished()
                    raise diverged(
                        run, workdir, step, f"{values['skipped']:.0f} steps had a non-finite loss, gradient or outcome"
                    )
                if message := alarm.check(step, values):
                    writer.write(step, "alarm", {"message": message})
                    display.say(message)
            rsum = None
            if step % eval_every == 0 or step == total:
                variables = {"params": state.params, "batch_stats": state.batch_stats}
                try:
                    dev, _ = evaluate_split(encoders, variables, dev_data, config, run.mesh)
                except NonFiniteScoresError as e:
                    raise diverged(run, workdir, step, f"on {dev_data.split.name}: {e}") from None
                rsum = dev["full"]["rsum"]
                writer.write(step, "dev", dev["full"])
                display.evaluated(step, rsum, best=rsum > meta["best_rsum"])
                if rsum > meta["best_rsum"]:
                    meta |= {"best_rsum": rsum, "best_step": step}
                window = time.perf_counter()
            periodic = config.train.checkpoint_every and step % config.train.checkpoint_every == 0
            if rsum is not None or periodic or stop.requested:
                meta["train_seconds"] = seconds_before + time.perf_counter() - began
                writer.sync()
                checkpoints.save(manager, state, dict(meta))
            if stop.requested:
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


def diverged(run: Run, workdir: pathlib.Path, step: int, what: str) -> DivergedError:
    """The error that ends a run which cannot go on: step, learning rate, last good checkpoint, and what to do."""
    return DivergedError(
        f"{workdir}: step {step}: {what}; the learning rate is {float(run.schedule(step - 1)):.3g}; last good "
        f"checkpoint: {checkpoints.newest_path(workdir)}; raise config.train.max_skipped to go on from there, or begin "
        "again in another --workdir with a lower config.optim.lr"
    )


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
