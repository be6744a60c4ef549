"""Sections of a completed config as frozen dataclasses, which models and losses take instead of a ConfigDict."""

import dataclasses
from typing import Any, Literal, TypeVar, cast

T = TypeVar("T")


def read_section(kind: type[T], section: Any) -> T:
    """Returns an instance of the dataclass `kind` with the values of the fields of the same names in a section."""
    values = {}
    for field in dataclasses.fields(cast(Any, kind)):
        value = section[field.name]
        values[field.name] = float(value) if field.type is float and isinstance(value, int) else value
    return kind(**values)


@dataclasses.dataclass(frozen=True)
class Aggregation:
    """`model.aggregation`: how AFA merges the rows of an item."""

    enabled: bool
    variant: Literal["paper", "official", "official_single"]
    ratio: float
    pairing: Literal["similarity", "random"]
    shuffle: bool


@dataclasses.dataclass(frozen=True)
class RegionPriors:
    """`model.regions`: which priors are used (None: those that the regions have), and the names of a learned table."""

    boxes: bool | None
    labels: bool | None
    label_names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Graph:
    """`model.graph`: the visual Transformer. `iou=None` lets all pairs of regions attend to each other."""

    layers: int
    heads: int
    dropout: float
    iou: float | None
    filter: bool


@dataclasses.dataclass(frozen=True)
class Words:
    """`model.words`: the word GCN."""

    layers: int
    graph: Literal["dense", "sparse"]
    scale: float
    activation: Literal["relu", "none"]


@dataclasses.dataclass(frozen=True)
class Fusion:
    """`model.fusion`: rounds, kind of gate, its weight of the cosine, bias and power at first, and their rate."""

    rounds: int
    gate: Literal["cosine", "region", "feature"]
    scale: float
    bias: float
    power: float
    learn_power: bool
    rate: float


@dataclasses.dataclass(frozen=True)
class Alignment:
    """`model.alignment`: how CPFEAN scores fused regions and words."""

    kind: Literal["prominent", "cross_attention"]
    beta: float
    gamma: float
    prior: Literal["lift", "agreement"]
    sides: Literal["both", "words", "regions"]
    global_weight: float

    @property
    def uses_prior(self) -> bool:
        """Whether the corpus prior enters the score."""
        return self.gamma > 0 and self.kind == "prominent" and self.sides != "regions"


@dataclasses.dataclass(frozen=True)
class Loss:
    """`loss`, with every derived field set."""

    function: str | None
    margin: float
    soft_negatives: Literal["mixup", "hardest", "none", "hinge"]
    tau: float
    fold: bool
    normalize_mix: bool
    stop_gradient: bool
    same_image: Literal["mask", "keep"]
    num_negatives: int
    warmup_epochs: float
