"""Published results of the field, from published.csv of this package: each with its source."""

import csv
import dataclasses
import functools
import pathlib

FILE = pathlib.Path(__file__).with_name("published.csv")
# (dataset, protocol) of that file by ours.
PROTOCOLS = {
    ("f30k", "full"): ("flickr30k", "1k_test"),
    ("coco", "5fold_1k"): ("coco", "5fold_1k"),
    ("coco", "full"): ("coco", "5k"),
}


@dataclasses.dataclass(frozen=True)
class Published:
    """A published result; recalls in percent in the order of `collect.RECALL_KEYS`, None where not given."""

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
        """The method, and whether it is an ensemble."""
        return self.method + (" (ensemble)" if self.ensemble == "yes" else "")


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


def _number(text: str) -> float | None:
    return float(text) if text else None


def published(dataset: str, protocol: str, methods: tuple[str, ...]) -> list[Published]:
    """Results of methods on a data set of ours, in the order of the methods; none where nobody published any."""
    rows = read_published().get(PROTOCOLS.get((dataset, protocol), ("", "")), ())
    return [row for method in methods for row in rows if row.method == method]
