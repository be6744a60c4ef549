"""Evaluation of a run: its best checkpoint on a split, written to a results file."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

from itm_jax.buckets.store import is_url
from itm_jax.config.fields import read_json
from itm_jax.devices import distributed
from itm_jax.errors import InputError, NotWritableError
from itm_jax.evaluation.mechanism import mechanism
from itm_jax.evaluation.open_run import OpenRun, open_run
from itm_jax.evaluation.rank import Ranked
from itm_jax.evaluation.truth import ranks_and_truth
from itm_jax.files import write_whole
from itm_jax.metrics.retrieval import protocol_metrics
from itm_jax.models.variables import count_params
from itm_jax.runs.bucket import Workdir, file_of, open_workdir
from itm_jax.runs.results import results, results_name, results_path, to_text, write_ranks
from itm_jax.terminal import say


def results_of(run: OpenRun) -> tuple[Ranked, dict[str, Any]]:
    """The ranks of an open run on its split, and the content of the results file; nothing is written."""
    split = run.data.split
    if distributed.first():
        say(
            f"evaluating step {run.step} on {split.name}: {split.num_images:,} images, {len(split.captions):,} captions"
        )
    ranked, beyond = ranks_and_truth(run)
    content = results(
        run.config,
        split,
        step=run.step,
        record=run.record,
        trained=run.trained,
        trained_on=run.trained_on,
        text=run.text.fingerprints,
        metrics=protocol_metrics(ranked.ranks, split.caption_image_index) | beyond,
        seconds={"train": run.record.progress.train_seconds} | ranked.seconds,
        params=count_params(run.variables["params"]),
        mechanism=mechanism(run, ranked.encoded),
    )
    return ranked, content


def evaluate(
    config, workdir: str | pathlib.Path, *, out: str | pathlib.Path | None = None
) -> tuple[dict[str, Any], pathlib.Path]:
    """Evaluates the best checkpoint of a run on the test split of `config`. `config` stays as it is.

    Args:
        config: the run's config; data fields may differ.
        workdir: of the run; the address of a folder of a bucket is read through a local copy.
        out: the directory of the results; None: the workdir. With another one nothing is written in the workdir.

    Returns:
        (content, path) of the results file, in the local copy where it is in a bucket. It is results.json, or
        results-<dataset>-<split>.json where the data fields are not those of the run. Where a file of this name has
        results on data of other content, the name ends with the fingerprint of the data.

    Raises:
        InputError: the workdir holds no run, or a run of another model, or the results cannot be written.
    """
    cache = config.data.cache_dir
    if distributed.first():  # a workdir without a run is refused before anything is written there
        read_json(file_of(workdir, "config.json"))
        if out is not None and _is_another_run(out, workdir):
            raise InputError(f"--out={out}: holds a run; give the results a directory of their own")
    with contextlib.ExitStack() as stack:
        if out is None or str(out) == str(workdir):
            out = workdir = stack.enter_context(_open_to_write(workdir, cache)).local
        else:
            workdir = stack.enter_context(open_workdir(workdir, cache, write=False)).local
            out = stack.enter_context(_open_to_write(out, cache)).local
        run = open_run(config, workdir)
        for note in run.data.notes if distributed.first() else ():
            say(note)
        ranked, content = results_of(run)
        path = results_path(out, run.config, run.trained, content)
        if distributed.first():
            usual = out / results_name(run.config, run.trained)
            if path != usual:
                say(f"{usual}: holds results on other data and stays; these results get a file of their own")
            write_ranks(path, ranked.ranks, run.data.split)
            write_whole(path, to_text(content))
    return content, path


def _is_another_run(out: str | pathlib.Path, workdir: str | pathlib.Path) -> bool:
    """Returns whether `out` holds a run that is not the one in `workdir`."""
    if is_url(out) or is_url(workdir):
        if str(out).rstrip("/") == str(workdir).rstrip("/"):
            return False
    elif pathlib.Path(out).expanduser().resolve() == pathlib.Path(workdir).expanduser().resolve():
        return False
    return file_of(out, "config.json").exists()


@contextlib.contextmanager
def _open_to_write(place: str | pathlib.Path, cache: str | None) -> Iterator[Workdir]:
    """Opens the directory that results are written to; where it cannot be written, the line says what to do."""
    with contextlib.ExitStack() as stack:
        try:
            workdir = stack.enter_context(open_workdir(place, cache, write=True))
        except NotWritableError as e:
            raise InputError(f"{e}; pass --out=DIR, a directory for the results") from None
        yield workdir
