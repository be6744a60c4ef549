"""From finished runs to the lines of a table: mean and spread over seeds, confidence over queries, what is noise."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from itm_jax.metrics.retrieval import RECALLS
from itm_jax.results import read_ranks
from itm_jax.tables.cell import Cell
from itm_jax.tables.table import Row, Table

RECALL_KEYS = tuple(f"{d}_r{k}" for d in ("i2t", "t2i") for k in RECALLS)
RESAMPLES = 1000
SIGNIFICANT = 1.96  # standard deviations: 95% of a normal distribution


@dataclasses.dataclass(frozen=True)
class Line:
    """A measured line of a table in one protocol.

    Attributes:
        row: of the table.
        seeds: that are finished.
        mean: of each metric over the seeds.
        sd: sample standard deviation over the seeds; None with one seed.
        ci: (low, high) of rSum at 95%: a bootstrap over images with their captions, the seeds' hits averaged.
        dev: mean of the dev rSum that selected; None for ensembles and for other data.
        difference: of rSum to the table's reference row; None for that itself.
        noise: whether the difference is inside the noise of queries and seeds.
        test: what identifies the test data.
        per_image: [i 6] hits of each image and mean hits of its captions, averaged over the seeds, in percent.
        objects: [i] of each image; None where the data do not tell.
        contents: the results of each seed.
    """

    row: Row
    seeds: tuple[int, ...]
    mean: Mapping[str, float]
    sd: Mapping[str, float] | None
    ci: tuple[float, float]
    dev: float | None
    difference: float | None
    noise: bool
    test: str
    per_image: Float[np.ndarray, "i 6"]
    objects: np.ndarray | None
    contents: Sequence[Mapping[str, Any]]


def hits(arrays: Mapping[str, np.ndarray], protocol: str) -> Float[np.ndarray, "i 6"]:
    """Of each image whether it finds a caption of its own in the first 1, 5, 10, and the share of its captions that find it."""
    images, captions = arrays[f"{protocol}_images"], arrays[f"{protocol}_captions"]
    captions = captions.reshape(len(images), -1)
    columns = [images < k for k in RECALLS] + [np.mean(captions < k, axis=1) for k in RECALLS]
    return 100.0 * np.stack(columns, axis=1).astype(np.float64)


def resampled(values: Float[np.ndarray, " i"]) -> Float[np.ndarray, " n"]:
    """Means of bootstrap resamples of the images, always the same draws for the same number of images."""
    images = len(values)
    counts = np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), RESAMPLES)
    return counts @ values / images


def collect(table: Table, cells: Sequence[Cell], protocol: str) -> list[Line]:
    """The lines of rows of which at least one seed is finished and has the protocol."""
    lines = []
    for row in dict.fromkeys(cell.row.name for cell in _in_order(table, cells)):
        done = [c for c in cells if c.row.name == row and c.state == "finished"]
        done = [c for c in done if protocol in c.content()["protocols"]]
        if done:
            lines.append(_line(done, protocol))
    spread = _pooled(lines)
    by_name = {line.row.name: line for line in lines}
    reference = by_name.get(table.reference)
    return (
        [_compared(line, by_name.get(line.row.of) if line.row.of else reference, spread) for line in lines]
        if table.reference
        else lines
    )


def _in_order(table: Table, cells: Sequence[Cell]) -> list[Cell]:
    order = {row.name: k for k, row in enumerate(table.rows)}
    return sorted(cells, key=lambda cell: order[cell.row.name])


def _line(cells: Sequence[Cell], protocol: str) -> Line:
    contents = [cell.content() for cell in cells]
    arrays = [read_ranks(cell.results) for cell in cells]
    metrics = [content["protocols"][protocol] for content in contents]
    mean = {key: float(np.mean([m[key] for m in metrics])) for key in metrics[0]}
    sd = {key: float(np.std([m[key] for m in metrics], ddof=1)) for key in mean} if len(cells) > 1 else None
    per_image = np.mean([hits(a, protocol) for a in arrays], axis=0)
    low, high = np.percentile(resampled(per_image.sum(axis=1)), [2.5, 97.5])
    selected = [c["selection"]["rsum"] for c in contents if "selection" in c]
    return Line(
        row=cells[0].row,
        seeds=tuple(cell.seed for cell in cells),
        mean=mean,
        sd=sd,
        ci=(float(low), float(high)),
        dev=float(np.mean(selected)) if selected and not cells[0].row.of else None,
        difference=None,
        noise=False,
        test=contents[0]["data"].get(contents[0]["split"], {}).get("id", ""),
        per_image=per_image,
        objects=arrays[0].get("objects"),
        contents=contents,
    )


def _pooled(lines: Sequence[Line]) -> float:
    """The spread of rSum over seeds, pooled over the lines that have several; 0 where none has."""
    several = [line for line in lines if line.sd]
    freedom = sum(len(line.seeds) - 1 for line in several)
    if not freedom:
        return 0.0
    return math.sqrt(sum((len(line.seeds) - 1) * line.sd["rsum"] ** 2 for line in several) / freedom)


def _compared(line: Line, reference: Line | None, spread: float) -> Line:
    """The line beside another: a bootstrap over images, paired where they are the same, and the spread over seeds of both.

    A line that evaluates the other's own runs on other data has no spread over seeds of its own.
    """
    if reference is None or reference is line:
        return line
    difference = line.mean["rsum"] - reference.mean["rsum"]
    of_seeds = 0.0 if line.row.of else spread**2 / len(line.seeds) + spread**2 / len(reference.seeds)
    if line.per_image.shape == reference.per_image.shape:  # the same images
        of_queries = np.var(resampled((line.per_image - reference.per_image).sum(axis=1)))
    else:
        of_queries = sum(np.var(resampled(x.per_image.sum(axis=1))) for x in (line, reference))
    noise = abs(difference) <= SIGNIFICANT * math.sqrt(of_queries + of_seeds)
    return dataclasses.replace(line, difference=difference, noise=noise)


def by_objects(line: Line, parts: int = 3) -> list[tuple[str, int, Float[np.ndarray, " 6"]]]:
    """(name, images, recalls) of the line's images in `parts` groups of about equal size by their number of objects."""
    if line.objects is None:
        return []
    counts = line.objects
    edges = np.unique(np.quantile(counts, np.linspace(0, 1, parts + 1)[1:-1], method="lower"))
    bucket = np.searchsorted(edges, counts, side="left")
    out = []
    for b in np.unique(bucket):
        of = counts[bucket == b]
        name = f"{of.min()}" if of.min() == of.max() else f"{of.min()} to {of.max()}"
        out.append((f"{name} objects", int(np.sum(bucket == b)), line.per_image[bucket == b].mean(axis=0)))
    return out
