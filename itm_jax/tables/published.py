"""Published results of the field, each with its source, from published.csv of this package."""

import csv
import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

FILE = pathlib.Path(__file__).with_name("published.csv")
REGIONS = "BUTD region"
REPORTING = ("test", "testall")  # the splits of published results
IMAGES = {"f30k": 1000, "coco": 5000}  # the number of images of these splits
# (dataset, protocol) in that file by our (dataset, protocol).
PROTOCOLS = {
    ("f30k", "full"): ("flickr30k", "1k_test"),
    ("coco", "5fold_1k"): ("coco", "5fold_1k"),
    ("coco", "full"): ("coco", "5k"),
}


@dataclasses.dataclass(frozen=True)
class Published:
    """A published result.

    `recalls` are in percent, in the order of `metrics.retrieval.RECALL_KEYS`; None where the source has no number.
    `remark` says why a result cannot be compared with the others as it stands; empty for most.
    """

    method: str
    year: str
    venue: str
    visual: str
    text: str
    recalls: tuple[float | None, ...]
    rsum: float | None
    source: str
    ensemble: str
    remark: str

    @property
    def name(self) -> str:
        """The method with its backbones, `ensemble` where it is one, and the remark."""
        more = [text for text in ("ensemble" if self.ensemble == "yes" else "", self.remark) if text]
        return f"{self.method} ({', '.join([self.visual, self.text, *more])})"


@functools.cache
def read_published() -> dict[tuple[str, str], tuple[Published, ...]]:
    """Returns all published results by the (dataset, protocol) of the file."""
    out: dict[tuple[str, str], list[Published]] = {}
    with FILE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            recalls = tuple(_number(row[f"{d}_r{k}"]) for d in ("i2t", "t2i") for k in (1, 5, 10))
            result = Published(
                row["method"],
                row["year"],
                row["venue"],
                row["visual_backbone"],
                row["text_backbone"],
                recalls,
                _number(row["rsum"]),
                row["source"],
                row["ensemble"],
                row["remark"],
            )
            out.setdefault((row["dataset"], row["protocol"]), []).append(result)
    return {key: tuple(rows) for key, rows in out.items()}


def place_of(content: Mapping[str, Any]) -> str:
    """Returns the data set that results can be compared on with published ones; empty where they cannot.

    They cannot on other data under the same name, on another split, or with another gallery.
    """
    name, images = content["dataset"], content["counts"]["images"]
    return name if content["split"] in REPORTING and images == IMAGES.get(name) else ""


def _number(text: str) -> float | None:
    return float(text) if text else None


def _published_on(dataset: str, protocol: str) -> tuple[Published, ...]:
    return read_published().get(PROTOCOLS.get((dataset, protocol), ("", "")), ())


def published(dataset: str, protocol: str, methods: tuple[str, ...]) -> list[Published]:
    """Returns the published results of methods with bottom-up region features on a data set, in the methods' order.

    `dataset` is what `place_of` returns; the list is empty where there are no results.
    """
    rows = [
        row for row in _published_on(dataset, protocol) if row.visual.startswith(REGIONS) and "grid" not in row.visual
    ]
    return [row for method in methods for row in rows if row.method == method]


def published_beside(dataset: str, protocol: str, method: str) -> Published | None:
    """Returns the published result that a single model of ours is compared with; None where there is none.

    It is no ensemble, and it is one with BERT-base where the method has such a result.
    """
    rows = [row for row in published(dataset, protocol, (method,)) if row.ensemble != "yes" and row.rsum is not None]
    return next((row for row in rows if row.text == "BERT-base"), rows[0] if rows else None)
