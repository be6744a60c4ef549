"""Training, top to bottom: build -> restore -> step -> log -> evaluate -> save.

Killed at any moment and started again, a run ends with the parameters and the metrics.jsonl of an undisturbed one: a
batch and a step's randomness are functions of (seed, step), and the state of everything else is in the checkpoint or
can be read off the lines of metrics.jsonl up to it. To the bit on a CPU; on a GPU some sums have no fixed order unless
XLA_FLAGS=--xla_gpu_deterministic_ops=true.
"""

import contextlib
import functools
import pathlib
import time

import jax

from itm_jax.config.derived import resolve
from itm_jax.config.validation import split_problem
from itm_jax.data import pipeline
from itm_jax.data.bank import bank_dtype, make_bank, on_device
from itm_jax.data.prepare import fill_in_priors, with_text
from itm_jax.data.splits import read_splits
from itm_jax.data.text.text_input import load_text
from itm_jax.devices import distributed
from itm_jax.devices.mesh import own_rows, put_part, replicated
from itm_jax.devices.programs import use_cache
from itm_jax.errors import DivergedError, InputError, NonFiniteScoresError, TerminatedError
from itm_jax.evaluation.encode import make_encoders
from itm_jax.evaluation.rank import rank_split
from itm_jax.evaluation.truth import check_truth
from itm_jax.metrics.retrieval import rank_metrics
from itm_jax.runs import checkpoints
from itm_jax.runs.display import say
from itm_jax.runs.lock import workdir_lock
from itm_jax.runs.records import NoRecords, Records
from itm_jax.runs.workdir import check_data, check_workdir, read_data, write_files
from itm_jax.structs import TrainState
from itm_jax.training.build import Run, augment_constants, build_run
from itm_jax.training.fit import check_step, largest_batch, remedies
from itm_jax.training.start import first_state
from itm_jax.training.step import make_train_step
from itm_jax.training.stop_signal import StopSignal


def train(config, workdir: pathlib.Path, *, check_test: bool = False) -> None:
    """Trains, or continues, the run of `workdir` to its last epoch; checkpoints are selected by dev rSum.

    Args:
        config: the run's config; fields that the text encoder or the variant decides are filled in.
        workdir: where everything is written.
        check_test: open the test split too before training, and its ground truth, so that a mistake there does not show
            hours later.

    Raises:
        InputError: data, config or workdir are not usable, or another process is using the workdir.
        DivergedError: more than `train.max_skipped` steps had a non-finite loss or gradient.
        TerminatedError: SIGTERM arrived; a checkpoint was saved.
    """
    if problem := split_problem(config):
        raise InputError(problem)
    use_cache(config)
    with workdir_lock(workdir) if distributed.first() else contextlib.nullcontext():
        names = [config.data.train_split, config.data.dev_split] + [config.data.test_split] * check_test
        splits = read_splits(config, names)
        if check_test:
            check_truth(config, splits)
        text = load_text(config, source=config.data.source, workdir=workdir, captions=splits[0].captions)
        resolve(config)
        fill_in_priors(config, splits[0])
        check_workdir(config, workdir)
        recorded = read_data(workdir)
        check_data(recorded, {s.name: s for s in splits[:2]}, workdir)
        train_data, dev_data = (with_text(config, split, text) for split in splits[:2])
        run = build_run(config, text, train_data)
        state, meta = first_state(run, workdir)
        write = functools.partial(write_files, run.config, run.text, workdir, None if recorded else splits[:2])
        if int(state.step) < meta["total_steps"]:
            _loop(run, train_data, dev_data, state, meta, workdir, write)
        elif distributed.first():
            write()


def _loop(run: Run, train_data, dev_data, state: TrainState, meta: dict, workdir: pathlib.Path, write) -> None:
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
        out_shardings=(jax.tree.map(lambda x: x.sharding, state), replicated(run.mesh)),
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
        part=own_rows(run.mesh, config.data.batch_size),
    )
    key = jax.jit(lambda: jax.random.key(config.seed + 1), out_shardings=replicated(run.mesh))()
    largest = largest_batch(train_data, config.data.batch_size, run.mesh, regions=bank is None)
    needs = check_step(step_fn, state, largest, key, bank, run.mesh, remedies(config, run.mesh))
    if distributed.first():
        write()  # not before: a run that does not fit leaves nothing, so that with smaller fields it takes this workdir
        if needs:
            say(needs)
    eval_every = max(1, round(config.train.eval_every_epochs * epoch))
    records = Records(workdir, first, meta) if distributed.first() else NoRecords()
    stop, window = StopSignal(), time.perf_counter()
    try:
        for step in range(first + 1, total + 1):
            state, metrics = step_fn(state, put_part(next(batches), run.mesh), key, bank)
            logged = step % config.train.log_every == 0 or step == total
            if logged:
                values = {k: float(v) for k, v in metrics.items()}
                now = time.perf_counter()
                done = min(config.train.log_every, step - first)
                rate, window = done * config.data.batch_size / (now - window), now
                records.train(step, values, step / epoch, rate)
                if values["skipped"] > config.train.max_skipped or values["skipped"] == total:
                    records.wait()
                    what = f"{values['skipped']:.0f} steps had a non-finite loss, gradient or outcome"
                    raise diverged(run, workdir, step, what, survivable=values["skipped"] < total)
            rsum = None
            if step % eval_every == 0 or step == total:
                variables = {"params": state.params, "batch_stats": state.batch_stats}
                try:
                    ranks, _, _ = rank_split(encoders, variables, dev_data, config, run.mesh)
                except NonFiniteScoresError as e:
                    raise diverged(run, workdir, step, f"on {dev_data.split.name}: {e}") from None
                dev = rank_metrics(*ranks["full"])
                rsum = dev["rsum"]
                records.dev(step, dev, best=rsum > meta["best_rsum"])
                if rsum > meta["best_rsum"]:
                    meta |= {"best_rsum": rsum, "best_step": step}
                window = time.perf_counter()
            stopped = False
            if logged or rsum is not None or distributed.alone():  # several ask one another, not at every step
                stopped = distributed.any_of_them(stop.requested)
            periodic = config.train.checkpoint_every and step % config.train.checkpoint_every == 0
            if rsum is not None or periodic or stopped:
                records.save(distributed.near(state))
            if stopped:
                records.wait()
                raise TerminatedError(
                    f"{workdir}: stopped by SIGTERM at step {step}, saved; the same command continues"
                )
    finally:
        records.close()
        stop.restore()


def diverged(run: Run, workdir: pathlib.Path, step: int, what: str, *, survivable: bool = False) -> DivergedError:
    """The error that ends a run which cannot go on: step, learning rate, last good checkpoint, and what to do."""
    go_on = "raise config.train.max_skipped to go on from there, or " if survivable else ""
    return DivergedError(
        f"{workdir}: step {step}: {what}; the learning rate is {float(run.schedule(step - 1)):.3g}; last good "
        f"checkpoint: {checkpoints.newest_path(workdir)}; {go_on}begin again in another --workdir with a lower "
        "config.optim.lr"
    )
