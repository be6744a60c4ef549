"""Makes the report of a run: evaluates it, draws its pictures, and writes the page."""

import pathlib
import shlex
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from itm_jax.config.fields import flatten
from itm_jax.errors import InputError
from itm_jax.evaluation.evaluate import results_of
from itm_jax.evaluation.open_run import OpenRun, open_run
from itm_jax.files import write_whole
from itm_jax.metrics.retrieval import Ranks
from itm_jax.runs.metrics_log import read_metrics
from itm_jax.structs import Split
from itm_jax.terminal import Bar
from itm_jax.viz import answers
from itm_jax.viz.alignment import draw_matching
from itm_jax.viz.curves import draw_recall, draw_training
from itm_jax.viz.describe import explanations
from itm_jax.viz.explain import explain
from itm_jax.viz.images import Pictures, pictures_of
from itm_jax.viz.page import PHOTOGRAPHS
from itm_jax.viz.report_page import Pair, intervals_of, to_html
from itm_jax.viz.retrieval import Answer, draw_caption_query, draw_image_query, shown_queries


class Wanted(NamedTuple):
    """What a report shows: pairs spread over the split, or these captions; queries of each kind; pictures' format."""

    pairs: int
    captions: tuple[str, ...]
    queries: int
    form: str


class Report(NamedTuple):
    """The page, the directory and number of its pictures, and a note about missing images."""

    page: pathlib.Path
    directory: pathlib.Path
    pictures: int
    missing: str


def write_report(config, run: pathlib.Path, out: pathlib.Path | None, wanted: Wanted, **naming) -> Report:
    """Writes `report.html` and its pictures.

    Args:
        config: of the run; its data fields may differ.
        run: the workdir.
        out: the directory of page and pictures; None: the workdir, and `pictures` in it.
        wanted: what is shown.
        naming: arguments of `images.pictures_of`.

    Raises:
        InputError: the run cannot be opened, no image has a picture, or the directory cannot be written.
    """
    opened = open_run(config, run)
    images = pictures_of(config, opened.data.split, **naming)
    images.check_some()
    captions = chosen_captions(opened.data.split.caption_starts, wanted)
    directory, pictures = (out, out) if out else (run, run / "pictures")
    page = directory / "report.html"
    if not images.available and _shows_images(page):
        raise InputError(
            f"{page}: shows the images, and a report without --images would replace it; pass "
            "--images=DIR, or another directory as --out"
        )
    check_scores(opened)
    ranked, content = results_of(opened)
    assert ranked.scores is not None  # they can be held
    split = opened.data.split
    try:
        pictures.mkdir(parents=True, exist_ok=True)
        curves = draw_curves(run, opened, ranked.ranks["full"], pictures, wanted.form)
        queries = shown_queries(ranked.scores, split.caption_image_index, ranked.ranks["full"], wanted.queries)
        drawn = draw_queries(split, images, queries, pictures, wanted.form)
        pairs, note = draw_pairs(opened, images, captions, pictures, wanted)
        sections = answers.sections(queries, split, images, answers.also_true_of(config, split))
        notes = [x for x in (note, images.note()) if x]
        text = to_html(
            run.resolve().name,
            content,
            flatten(opened.config),
            intervals=intervals_of(ranked.ranks, split.captions_per_image),
            curves=curves,
            queries=sections,
            pairs=pairs,
            labels=explanations([seen for _, _, seen in pairs]),
            command=shlex.join(["python", "-m", "itm_jax.main", f"--config={run}/config.json", "--workdir=runs/again"]),
            notes=notes,
        )
        write_whole(page, text)
    except OSError as e:
        raise InputError(f"{e.filename or pictures}: cannot be written ({e.strerror})") from None
    return Report(page, pictures, len(curves) + drawn + len(pairs), images.note())


def check_scores(opened: OpenRun) -> None:
    """Raises InputError where the scores of the split cannot be held, which pages need."""
    if not opened.can_hold_scores:
        raise InputError(f"config.eval.matrix_gb: a page needs all scores; set it above {opened.gigabytes:.2g}")


def _shows_images(page: pathlib.Path) -> bool:
    """Whether an earlier page has photographs of the split."""
    try:
        return PHOTOGRAPHS in page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def chosen_captions(starts: np.ndarray, wanted: Wanted) -> list[int]:
    """Returns the indices of the captions that are asked for, else one caption of each of some images of the split."""
    images, total = len(starts) - 1, int(starts[-1])
    for given in wanted.captions:
        if not given.isdecimal() or int(given) >= total:
            raise InputError(f"--captions={given}: must be indices below {total}")
    if wanted.captions:
        return [int(given) for given in wanted.captions]
    count = min(wanted.pairs, images)
    return [int(starts[k * images // count]) for k in range(count)]


def draw_curves(
    run: pathlib.Path, opened: OpenRun, ranks: Ranks, out: pathlib.Path, form: str
) -> list[tuple[str, pathlib.Path]]:
    """Writes the curves of training and of recall; returns what each shows, and its file."""
    training, recall = (out / f"{name}.{form}" for name in ("training", "recall"))
    draw_recall(recall, *ranks)
    shown = [("recall at K, from 1 to 100, in both directions", recall)]
    lines = read_metrics(run)
    if lines:
        draw_training(training, lines, opened.config.loss.warmup_epochs)
        shown.insert(0, ("the loss of training steps, and rSum on dev", training))
    return shown


def draw_queries(
    split: Split,
    images: Pictures,
    queries: dict[tuple[str, str], list[Answer]],
    out: pathlib.Path,
    form: str,
) -> int:
    """Writes a picture of each query, for use outside the page; returns their number."""
    every = {(direction, answer.query): answer for (direction, _), shown in queries.items() for answer in shown}
    with Bar("queries drawn", len(every), short=True) as bar:
        for done, ((direction, query), answer) in enumerate(every.items(), 1):
            draw = draw_image_query if direction == "i2t" else draw_caption_query
            draw(out / f"{direction}-{query:06d}.{form}", split, answer, images.get)
            bar.update(done)
    return len(every)


def draw_pairs(
    opened: OpenRun, images: Pictures, captions: Sequence[int], out: pathlib.Path, wanted: Wanted
) -> tuple[list[Pair], str]:
    """Writes pictures of what the model sees in pairs.

    Returns:
        (caption, picture, what is seen) of each pair, and a note that is empty, or says why there is nothing to show.
    """
    split = opened.data.split
    try:
        if split.boxes is None:
            raise InputError(f"{split.source}: has no boxes, which pictures of pairs need")
        if not images.available:
            raise InputError("--images is missing; pass --images=DIR, the directory of the images")
        seen = explain(opened, np.array(captions))
    except InputError as e:
        if wanted.captions:
            raise
        return [], f"What the model sees in pairs is not shown: {e}."
    written: list[Pair] = []
    with Bar("pairs drawn", len(captions), short=True) as bar:
        for done, (caption, view) in enumerate(zip(captions, seen, strict=True), 1):
            image = int(split.caption_image_index[caption])
            path = out / f"{split.name}-{caption:06d}.{wanted.form}"
            draw_matching(path, images.get_or_grey(image), split.boxes[image], split.captions[caption], view)
            written.append((split.captions[caption], path, view))
            bar.update(done)
    return written, ""
