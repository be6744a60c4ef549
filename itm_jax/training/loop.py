"""Training, top to bottom: build -> restore -> step -> log -> evaluate -> save.

A run that is killed at any moment and started again ends with the parameters and the metrics.jsonl of an undisturbed
run. A batch and a step's randomness are functions of (seed, step). All other state is in the checkpoint, or can be read
from the lines of metrics.jsonl before it. On a CPU the results are the same to the bit. On a GPU some sums have no
fixed order unless XLA_FLAGS=--xla_gpu_deterministic_ops=true.
"""

import contextlib
import functools
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax

from itm_jax.buckets.publisher import NoPublisher, Publisher
from itm_jax.config.validation import split_problem
from itm_jax.data import pipeline
from itm_jax.data.pipeline import TextSplit
from itm_jax.data.prepare import prepare
from itm_jax.data.watch import Watch
from itm_jax.devices import distributed
from itm_jax.devices.mesh import own_rows, put_part
from itm_jax.devices.pace import Pace
from itm_jax.devices.programs import use_cache
from itm_jax.errors import DivergedError, InputError, NonFiniteScoresError
from itm_jax.evaluation.encode import make_encoders
from itm_jax.evaluation.mechanism import mechanism
from itm_jax.evaluation.rank import Scorer
from itm_jax.evaluation.truth import check_truth
from itm_jax.metrics.retrieval import rank_metrics
from itm_jax.runs import checkpoints
from itm_jax.runs.bucket import open_workdir
from itm_jax.runs.loggers import check_logger
from itm_jax.runs.progress import Progress
from itm_jax.runs.records import NoRecords, Records
from itm_jax.runs.workdir import (
    check_data,
    check_extractor,
    check_width,
    check_workdir,
    read_data,
    write_run_files,
)
from itm_jax.structs import TrainState
from itm_jax.terminal import say
from itm_jax.training.build import Run, Step, build_run, build_step
from itm_jax.training.fit import check_step, largest_batch, remedies
from itm_jax.training.profile import Profile, check_profile
from itm_jax.training.start import first_state
from itm_jax.training.stop_signal import StopSignal


def train(config, workdir: str | pathlib.Path, *, check_test: bool = False) -> None:
    """Trains, or continues, the run of `workdir` to its last epoch; checkpoints are selected by dev rSum.

    Args:
        config: the run's config; it stays as it is. `WORKDIR/config.json` has the completed config.
        workdir: the directory where everything is written, or the address of a folder of a bucket.
        check_test: whether to open the test split and its ground truth too before training. A mistake there then shows
            at once, not hours later.

    Raises:
        InputError: data, config or workdir are not usable, or another process is using the workdir.
        DivergedError: more than `train.max_skipped` steps had a non-finite loss or gradient.
        TerminatedError: SIGTERM or Ctrl-C arrived, or the terminal was closed; a checkpoint was saved.

    When another process of the run is lost, this process ends at once, with a line and exit code 4.
    """
    if problem := split_problem(config):
        raise InputError(problem)
    check_logger(config)
    use_cache(config)
    with open_workdir(workdir, config.data.cache_dir, write=True) as (workdir, publisher):
        names = [config.data.train_split, config.data.dev_split]
        if check_test:
            names.append(config.data.test_split)
        prepared = prepare(config, names, workdir=workdir, has_checkpoint=bool(checkpoints.steps_of(workdir)))
        check_truth(prepared.config, prepared.splits)
        check_workdir(prepared.config, workdir)
        publisher.remove_unmarked()
        recorded, train_and_dev = read_data(workdir), prepared.splits[:2]
        check_width(train_and_dev[0], recorded, workdir)
        check_extractor(train_and_dev[0], recorded, workdir)
        check_data(recorded, {s.name: s for s in train_and_dev}, workdir)
        if distributed.first():
            _say_where_it_stands(workdir)
        train_data, dev_data = (prepared.with_text(split) for split in train_and_dev)
        if config.init_from:
            other = pathlib.Path(config.init_from).expanduser()
            check_width(train_and_dev[0], read_data(other), other)
        if distributed.first():
            for note in (*train_data.notes, *dev_data.notes):
                say(note)
        run = build_run(prepared.config, prepared.text, train_data)
        state, progress = first_state(run, workdir)
        labels = train_data.label_encodings | dev_data.label_encodings
        write = functools.partial(
            write_run_files, run.config, run.text, workdir, None if recorded else train_and_dev, labels
        )
        check_profile(config.train.profile, progress.total_steps)
        if int(state.step) < progress.total_steps:
            step = _compiled(run, train_data, state, write)
            _loop(run, step, train_data, dev_data, state, progress, workdir, publisher)
        elif distributed.first():  # the run is finished: its config and vocabulary are written again
            write()


def _say_where_it_stands(workdir: pathlib.Path) -> None:
    """Says whether a run is continued, and from where, or finished."""
    if not checkpoints.steps_of(workdir):
        return
    try:
        record = checkpoints.newest_record(workdir)
    except InputError:  # a damaged checkpoint is reported when it is restored
        return
    step, total = record.step, record.progress.total_steps
    if step < total:
        say(f"{workdir}: continuing from step {step} of {total}")
    else:
        say(f"{workdir}: all {total} steps are done; nothing is left to train")


def _compiled(run: Run, data: TextSplit, state: TrainState, write: Callable[[], None]) -> Step:
    """Compiles the step for the largest batch, and calls `write` once the step is known to fit.

    If the step does not fit, nothing is written: you can start again in the same workdir with a smaller batch.
    """
    if distributed.first():
        say("compiling the training step")
    step = build_step(run, data, state)
    largest = largest_batch(data, run.config.data.batch_size, run.mesh, regions=step.bank is None)
    needs = check_step(step, state, largest, run.mesh, remedies(run.config, run.mesh))
    if distributed.first():
        write()
        if needs:
            say(needs)
    return step


def _loop(
    run: Run,
    step_function: Step,
    train_data: TextSplit,
    dev_data: TextSplit,
    state: TrainState,
    progress: Progress,
    workdir: pathlib.Path,
    publisher: Publisher | NoPublisher,
) -> None:
    """Repeats the step to the end of the run. Logs, evaluates on dev, saves, and stops on request."""
    config, epoch = run.config, run.steps_per_epoch
    start, total = int(state.step), progress.total_steps
    batches = pipeline.train_batches(
        train_data,
        batch_size=config.data.batch_size,
        seed=config.seed,
        start=start,
        prefetch=config.data.prefetch,
        regions=step_function.bank is None,
        part=own_rows(run.mesh, config.data.batch_size),
    )
    encoders = make_encoders(run.model, run.mesh)
    eval_every = max(1, round(config.train.eval_every_epochs * epoch))
    records = Records(config, workdir, publisher, start, progress) if distributed.first() else NoRecords()
    profile = Profile(config.train.profile if distributed.first() else (0, 0), workdir)
    stop, speed, pace = StopSignal(), Speed(start), Pace()
    watch = Watch([data.split for data in (train_data, dev_data)])
    try:
        for step in range(start + 1, total + 1):
            profile.before(step)
            with jax.profiler.StepTraceAnnotation("train", step_num=step):
                began = time.perf_counter()
                batch = next(batches)
                pace.waited(time.perf_counter() - began)
                batch = put_part(batch, run.mesh)
                with jax.transfer_guard("disallow"):  # any other transfer would make the host wait for the devices
                    state, metrics = step_function(state, batch)
            profile.after(step, state)
            logged = step % config.train.log_every == 0 or step == total
            if logged:
                watch.check()
                values = {name: float(value) for name, value in jax.device_get(metrics).items()}
                values["lr"] = learning_rate(run, state)
                records.train(step, values, step / epoch, speed.at(step), config.data.batch_size)
                if values["skipped"] > config.train.max_skipped or values["skipped"] == total:
                    records.wait()
                    what = (
                        f"{values['skipped']:.0f} steps had NaN or Inf in the loss, the gradient or the new parameters"
                    )
                    raise diverged(run, workdir, step, what, survivable=values["skipped"] < total)
            evaluated = step % eval_every == 0 or step == total
            if evaluated:
                variables = {"params": state.params, "batch_stats": state.batch_stats}
                scorer = Scorer(config, dev_data, run.mesh, encoders, variables)
                metrics_on_dev, new_progress = _evaluate_on_dev(run, scorer, step, progress, workdir)
                records.dev(step, metrics_on_dev, best=new_progress.best_step == step)
                progress = new_progress
                speed.restart(step)
            stopped = False
            if logged or evaluated or distributed.alone():  # asking costs communication
                stopped = pace.agree_to_stop(stop.requested)
            periodic = config.train.checkpoint_every and step % config.train.checkpoint_every == 0
            if evaluated or periodic or stopped:
                records.save(distributed.near(state), progress)
            if stopped:
                records.wait()
                raise stop.error(workdir, step)
    finally:
        with contextlib.ExitStack() as ends:  # runs all three, also where one fails
            ends.callback(stop.restore)
            ends.callback(profile.close)
            ends.callback(records.close)


def _evaluate_on_dev(
    run: Run, scorer: Scorer, step: int, progress: Progress, workdir: pathlib.Path
) -> tuple[dict[str, Any], Progress]:
    """Returns the metrics on dev, and the progress, in which this step is the best one if its rSum is the best."""
    try:
        ranked = scorer.ranks()
        metrics = rank_metrics(*ranked.ranks["full"])
    except NonFiniteScoresError as e:
        raise diverged(run, workdir, step, f"on {scorer.data.split.name}: {e}") from None
    if ranked.modality_gap is not None:
        metrics["modality_gap"] = ranked.modality_gap
    metrics |= mechanism(scorer, ranked.encoded)
    return metrics, progress.evaluated(step, metrics["rsum"])


class Speed:
    """Measures seconds per step since the last line, without the time of evaluations."""

    def __init__(self, step: int):
        """Counts from `step` on."""
        self.restart(step)

    def restart(self, step: int) -> None:
        """Counts from `step` on."""
        self._step, self._began = step, time.perf_counter()

    def at(self, step: int) -> float:
        """Returns the seconds per step up to `step`, and counts from `step` on."""
        steps, seconds = step - self._step, time.perf_counter() - self._began
        self.restart(step)
        return seconds / steps


def learning_rate(run: Run, state: TrainState) -> float:
    """Returns the learning rate of the last step. Skipped steps do not count in its schedule."""
    return float(run.schedule(max(0, int(state.step) - int(state.skipped) - 1)))


def diverged(run: Run, workdir: pathlib.Path, step: int, what: str, *, survivable: bool = False) -> DivergedError:
    """Returns the error that ends a diverged run: step, learning rate, last good checkpoint, and what to do."""
    go_on = "set a larger config.train.max_skipped to continue from it, or " if survivable else ""
    return DivergedError(
        f"{workdir}: step {step}: {what}; the learning rate is {float(run.schedule(step - 1)):.3g}; last good "
        f"checkpoint: {checkpoints.newest_path(workdir)}; {go_on}start again in another --workdir with a lower "
        "config.optim.lr"
    )
