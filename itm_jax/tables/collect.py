"""Turns finished runs into the lines of a table: mean and spread over seeds, confidence over queries, and noise."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from itm_jax.metrics.bootstrap import hits, interval, resampled
from itm_jax.runs.results import read_ranks
from itm_jax.tables.cell import Cell
from itm_jax.tables.table import Row, Table


@dataclasses.dataclass(frozen=True)
class Line:
    """A measured line of a table in one protocol.

    Attributes:
        row: the row of the table.
        seeds: the finished seeds.
        mean: the mean of each metric over the seeds.
        sd: the sample standard deviation of each metric over the seeds; None with one seed.
        ci: (low, high) of rSum at 95%: a bootstrap over images with their captions, with hits averaged over the seeds.
        dev: the mean of the dev rSum that selected the checkpoints; None for ensembles and for other data.
        difference: the difference of rSum to the row that it is compared with; None where there is no such row.
        noise: whether the difference is inside the noise of queries and seeds.
        test: the fingerprint of the test data.
        images: hashes of the captions and of the features; two lines with a common hash have the same images.
        per_seed: [s i 6] for each seed, the hits of each image and the mean hits of its captions, in percent.
        objects: [i] the number of objects of each image; None where the data do not say it.
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
    images: frozenset[str]
    per_seed: Float[np.ndarray, "s i 6"]
    objects: np.ndarray | None
    contents: Sequence[Mapping[str, Any]]

    @property
    def per_image(self) -> Float[np.ndarray, "i 6"]:
        """`per_seed`, averaged over the seeds."""
        return self.per_seed.mean(axis=0)


@dataclasses.dataclass(frozen=True)
class Group:
    """The images of a line that show similar numbers of objects.

    `images` is their number, `recalls` are in the order of RECALL_KEYS, and the other fields are as in `Line`.
    """

    name: str
    images: int
    recalls: Float[np.ndarray, " 6"]
    sd: float | None
    ci: tuple[float, float]
    difference: float | None
    noise: bool


def collect(table: Table, cells: Sequence[Cell], protocol: str) -> list[Line]:
    """Returns a line for each row with at least one finished seed that has the protocol."""
    lines = []
    for row in dict.fromkeys(cell.row.name for cell in _in_order(table, cells)):
        done = [c for c in cells if c.row.name == row and c.state == "finished"]
        done = [c for c in done if protocol in c.content()["protocols"]]
        if done:
            lines.append(_line(done, protocol))
    spread = _pooled([line.per_seed for line in lines if not line.row.of])
    by_name = {line.row.name: line for line in lines}
    return [_compared(line, by_name.get(table.reference_of(line.row)), spread) for line in lines]


def _in_order(table: Table, cells: Sequence[Cell]) -> list[Cell]:
    order = {row.name: k for k, row in enumerate(table.rows)}
    return sorted(cells, key=lambda cell: order[cell.row.name])


def _line(cells: Sequence[Cell], protocol: str) -> Line:
    contents = [cell.content() for cell in cells]
    arrays = [read_ranks(cell.results) for cell in cells]
    metrics = [content["protocols"][protocol] for content in contents]
    mean = {key: float(np.mean([m[key] for m in metrics])) for key in metrics[0]}
    sd = {key: float(np.std([m[key] for m in metrics], ddof=1)) for key in mean} if len(cells) > 1 else None
    per_seed = np.stack([hits(a, protocol) for a in arrays])
    test = contents[0]["data"].get(contents[0]["split"], {})
    selected = [c["selection"]["rsum"] for c in contents if "selection" in c]
    return Line(
        row=cells[0].row,
        seeds=tuple(cell.seed for cell in cells),
        mean=mean,
        sd=sd,
        ci=interval(per_seed),
        dev=float(np.mean(selected)) if selected and not cells[0].row.of else None,
        difference=None,
        noise=False,
        test=test.get("id", ""),
        images=frozenset(test[key] for key in ("captions", "features") if key in test),
        per_seed=per_seed,
        objects=arrays[0].get("objects"),
        contents=contents,
    )


class Spread(NamedTuple):
    """The variance of rSum over seeds, and the degrees of freedom of its estimate."""

    variance: float
    freedom: int


def _pooled(per_seed: Sequence[Float[np.ndarray, "s i 6"]]) -> Spread:
    """Returns the spread pooled over the lines with several seeds; its variance is 0 where there are none."""
    totals = [x.sum(axis=2).mean(axis=1) for x in per_seed]
    freedom = sum(len(x) - 1 for x in totals)
    return Spread(sum(float(np.sum((x - x.mean()) ** 2)) for x in totals) / freedom if freedom else 0.0, freedom)


def _compared(line: Line, reference: Line | None, spread: Spread) -> Line:
    """Returns the line with its difference to `reference`, and whether that difference is noise.

    The noise is that of a bootstrap over images (paired where both lines have the same images) and of the seeds of both
    lines. Where the line evaluates the runs of `reference` on other data, the noise of seeds is the spread of the
    difference.
    """
    if reference is None:
        return line
    mine, others, of_seeds = line.per_seed, reference.per_seed, 0.0
    if line.row.of:
        both = [seed for seed in line.seeds if seed in reference.seeds]
        mine, others = (x.per_seed[[x.seeds.index(seed) for seed in both]] for x in (line, reference))
        if not both:
            return line
        differences = mine.sum(axis=2).mean(axis=1) - others.sum(axis=2).mean(axis=1)
        spread = Spread(float(np.var(differences, ddof=1)) if len(both) > 1 else 0.0, len(both) - 1)
        of_seeds = spread.variance / len(both)
    else:
        of_seeds = spread.variance / len(line.seeds) + spread.variance / len(reference.seeds)
    a, b = mine.mean(axis=0), others.mean(axis=0)
    difference = float(a.sum(axis=1).mean() - b.sum(axis=1).mean())
    paired = bool(line.images & reference.images)
    noise = is_noise(difference, a, b, paired=paired, of_seeds=of_seeds, freedom=spread.freedom)
    return dataclasses.replace(line, difference=difference, noise=noise)


def is_noise(difference: float, a: np.ndarray, b: np.ndarray, *, paired: bool, of_seeds: float, freedom: int) -> bool:
    """Returns whether a difference of rSum is inside the noise of other images and other seeds, at 95%.

    `a` and `b` are [i 6] hits. The test is Student's t with the degrees of freedom of Welch and Satterthwaite: the
    variance over seeds is estimated from few seeds (`freedom`), the variance over queries from many queries.
    """
    if paired and a.shape == b.shape:
        of_queries = np.var(resampled((a - b).sum(axis=1)))
    else:
        of_queries = sum(np.var(resampled(x.sum(axis=1))) for x in (a, b))
    variance = of_queries + of_seeds
    degrees = freedom * (variance / of_seeds) ** 2 if of_seeds else np.inf
    return bool(abs(difference) <= stats.t.ppf(0.975, degrees) * math.sqrt(variance))


def by_objects(line: Line, reference: Line | None = None, parts: int = 3) -> list[Group]:
    """Returns the images of the line in at most `parts` groups of similar size, by their number of objects.

    Each group is compared with the same images of `reference`. The list is empty where the numbers are unknown.
    """
    if line.objects is None:
        return []
    counts = line.objects
    edges = np.unique(np.quantile(counts, np.linspace(0, 1, parts + 1)[1:-1], method="lower"))
    bucket = np.searchsorted(edges, counts, side="left")
    return [_group(line, reference, counts, bucket == b) for b in np.unique(bucket)]


def _group(line: Line, reference: Line | None, counts: np.ndarray, chosen: np.ndarray) -> Group:
    least, most = counts[chosen].min(), counts[chosen].max()
    mine = line.per_seed[:, chosen]
    difference, noise = None, False
    if reference is not None and line.images & reference.images:
        others = reference.per_seed[:, chosen]
        difference = float(mine.sum(axis=2).mean() - others.sum(axis=2).mean())
        spread = _pooled([mine, others])
        of_seeds = spread.variance / len(mine) + spread.variance / len(others)
        a, b = mine.mean(axis=0), others.mean(axis=0)
        noise = is_noise(difference, a, b, paired=True, of_seeds=of_seeds, freedom=spread.freedom)
    return Group(
        name=f"{least} objects" if least == most else f"{least} to {most} objects",
        images=int(chosen.sum()),
        recalls=mine.mean(axis=(0, 1)),
        sd=_sd_of_rsum(mine),
        ci=interval(mine),
        difference=difference,
        noise=noise,
    )


def _sd_of_rsum(per_seed: Float[np.ndarray, "s i 6"]) -> float | None:
    totals = per_seed.sum(axis=2).mean(axis=1)
    return float(np.std(totals, ddof=1)) if len(totals) > 1 else None
