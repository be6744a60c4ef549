"""Published results of the field, from published.csv of this package: each with its source."""

import csv
import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

FILE = pathlib.Path(__file__).with_name("published.csv")
REGIONS = "BUTD region"
REPORTING = ("test", "testall")  # the splits that they are of
IMAGES = {"f30k": 1000, "coco": 5000}  # and how many images these have
# (dataset, protocol) of that file by ours.
PROTOCOLS = {
    ("f30k", "full"): ("flickr30k", "1k_test"),
    ("coco", "5fold_1k"): ("coco", "5fold_1k"),
    ("coco", "full"): ("coco", "5k"),
}


@dataclasses.dataclass(frozen=True)
class Published:
    """A published result; recalls in percent in the order of `metrics.retrieval.RECALL_KEYS`, None where not given."""

    method: str
    year: str
    venue: str
    visual: str
    text: str
    recalls: tuple[float | None, ...]
    rsum: float | None
    source: str
    ensemble: str

    @property
    def name(self) -> str:
        """The method with its backbones, and whether it is an ensemble."""
        return f"{self.method} ({self.visual}, {self.text}{', ensemble' if self.ensemble == 'yes' else ''})"


@functools.cache
def read_published() -> dict[tuple[str, str], tuple[Published, ...]]:
    """All of it by (dataset, protocol) of the file."""
    out: dict[tuple[str, str], list[Published]] = {}
    with FILE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            recalls = tuple(_number(row[f"{d}_r{k}"]) for d in ("i2t", "t2i") for k in (1, 5, 10))
            found = Published(
                row["method"],
                row["year"],
                row["venue"],
                row["visual_backbone"],
                row["text_backbone"],
                recalls,
                _number(row["rsum"]),
                row["source"],
                row["ensemble"],
            )
            out.setdefault((row["dataset"], row["protocol"]), []).append(found)
    return {key: tuple(rows) for key, rows in out.items()}


def place_of(content: Mapping[str, Any]) -> str:
    """The data set of ours that results are of as the field reports them, empty where they are not: other data under its name,
    another split, another gallery.
    """
    name, images = content["dataset"], content["counts"]["images"]
    return name if content["split"] in REPORTING and images == IMAGES.get(name) else ""


def _number(text: str) -> float | None:
    return float(text) if text else None


def _of(dataset: str, protocol: str) -> tuple[Published, ...]:
    return read_published().get(PROTOCOLS.get((dataset, protocol), ("", "")), ())


def published(dataset: str, protocol: str, methods: tuple[str, ...]) -> list[Published]:
    """Results of methods with bottom-up region features on a data set (`place_of`), in the methods' order; none where it has none."""
    rows = [row for row in _of(dataset, protocol) if row.visual.startswith(REGIONS) and "grid" not in row.visual]
    return [row for method in methods for row in rows if row.method == method]


def published_beside(dataset: str, protocol: str, method: str) -> Published | None:
    """The result of a method to stand beside a single model of ours: no ensemble, with BERT-base where there is one."""
    rows = [row for row in published(dataset, protocol, (method,)) if row.ensemble != "yes" and row.rsum is not None]
    return next((row for row in rows if row.text == "BERT-base"), rows[0] if rows else None)
