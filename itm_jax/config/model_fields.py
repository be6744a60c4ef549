"""The table of models: the class of each, the fields it reads, its defaults, the data it uses, its wrong settings.

Everything else in the package asks this table; no other file lists models by name. A model of your own
(`model.name=MODULE:CLASS`) goes the same way: its class may have an attribute `model_fields`, a `ModelFields`.
Without that attribute the model may read every field.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from itm_jax.config.plugins import is_own, load

# Values of derived fields for every model; a model's own `defaults` come after these.
COMMON = {
    "model.selection": "max",
    "model.enhancement.text": "mlp",
    "model.enhancement.statistics": "valid",
    "model.aggregation.variant": "paper",
    "loss.soft_negatives": "none",
    "loss.same_image": "mask",
}
TEMPERATURE = {"t2i": 9.0, "i2t": 4.0}  # of the attention, as in SCAN's scripts
# What `model.variant` decides for AFA where a field is not set.
VARIANTS = {
    "paper": {"loss.soft_negatives": "mixup"},
    "official": {
        "model.enhancement.text": "linear",
        "model.enhancement.statistics": "all",
        "model.aggregation.variant": "official",
        "loss.soft_negatives": "hinge",
        "loss.same_image": "keep",
    },
}
# Fields that a BiGRU does not read. A config file may set them, so that changing `encoder` alone is an ablation.
BERT_ONLY = ("hidden_size", "num_layers", "num_heads", "intermediate_size", "max_positions", "type_vocab_size")
BERT_ONLY += ("activation", "layer_norm_eps", "cache_dtype")
MIXED = ("loss.tau", "loss.fold", "loss.stop_gradient")  # of negatives that are mixed with positives


def _nothing(_: Any) -> Mapping[str, Any]:
    return {}


@dataclasses.dataclass(frozen=True)
class ModelFields:
    """What the library knows of a model.

    Attributes:
        model: MODULE:CLASS of the Linen module; empty for a model of the user's own, whose name says it.
        reads: the model-specific fields and sections that it reads, by dotted name; None for all of them.
        defaults: from the `model` section to the values of fields that are not set, by dotted name.
        problems: from the whole config to what is wrong between its fields, one message each.
        idle: from the `model` section to {start of field names: the setting that leaves them without effect}.
        variants: the values that `model.variant` may have.
        single_vector: whether an item is encoded as one vector, so that negatives can be mixed with positives.
        boxes: whether it uses boxes of regions, as `model.regions.boxes` and `model.graph.iou` say.
        labels: "bank": labels are encoded by the pretrained text encoder, or learned where that is trained from
            scratch, as `model.regions.labels` says; "index": it gets indices into the label names of the train split.
        edges: whether it uses dependency edges where `model.words.graph` is sparse.
        batch_dependent: from the `model` section to whether an embedding depends on the other items of its batch.
    """

    model: str = ""
    reads: tuple[str, ...] | None = None
    defaults: Callable[[Any], Mapping[str, Any]] = _nothing
    problems: Callable[[Any], Iterable[str]] = _nothing
    idle: Callable[[Any], Mapping[str, str]] = _nothing
    variants: tuple[str, ...] = ("paper",)
    single_vector: bool = True
    boxes: bool = False
    labels: str | None = None
    edges: bool = False
    batch_dependent: Callable[[Any], bool] = lambda model: False

    def reads_field(self, name: str) -> bool:
        """Whether the model reads a model-specific field; others are read by every model."""
        return self.reads is None or any(f"{name}.".startswith(f"{start}.") for start in self.reads)


def _afa_problems(config: Any) -> Iterator[str]:
    model = config.model
    if _afa_variant(model) != "official":
        return
    usual = {"ratio": 0.05, "pairing": "similarity", "shuffle": True}
    for name, value in usual.items():
        if model.aggregation[name] != value:
            yield (
                f"config.model.aggregation.{name}={model.aggregation[name]!r}: has no effect on the official "
                "aggregation; leave it out, or set config.model.aggregation.variant=paper"
            )


def _afa_variant(model: Any) -> str | None:
    """The variant of the aggregation, set or derived."""
    return model.aggregation.variant or {"paper": "paper", "official": "official"}.get(model.variant)


def _selection_problems(*allowed: str) -> Callable[[Any], Iterator[str]]:
    def problems(config: Any) -> Iterator[str]:
        model = config.model
        if model.selection and model.selection not in allowed:
            yield (
                f"config.model.selection={model.selection!r}: config.model.name={model.name} takes {' or '.join(allowed)}"
            )

    return problems


def _cpfean_problems(config: Any) -> Iterator[str]:
    model = config.model
    if model.regions.label_names and model.text.encoder == "bert" and model.text.pretrained:
        yield "config.model.regions.label_names: the pretrained encoder reads the names of the data; leave it out"
    if model.attention.direction != "t2i":
        yield "config.model.attention.direction='i2t': only config.model.name=scan has it; cpfean attends t2i"
    if model.graph.heads > 0 and model.graph.layers and model.width % model.graph.heads:
        yield f"config.model.width={model.width}: not a multiple of config.model.graph.heads={model.graph.heads}"


def _cpfean_idle(model: Any) -> dict[str, str]:
    why = {
        "model.graph.": model.graph.layers == 0 and "model.graph.layers=0",
        "model.fusion.": model.fusion.rounds == 0 and "model.fusion.rounds=0",
        "model.alignment.": model.alignment.kind != "prominent" and "model.alignment.kind=cross_attention",
        "model.alignment.beta": model.alignment.sides == "regions" and "model.alignment.sides=regions",
        "model.alignment.gamma": model.alignment.sides == "regions" and "model.alignment.sides=regions",
        "model.attention.": model.alignment.kind == "prominent" and "model.alignment.kind=prominent",
    }
    return {start: reason for start, reason in why.items() if reason}


MODELS = {
    "afa": ModelFields(
        "itm_jax.models.afa:AFA",
        reads=("model.variant", "model.enhancement", "model.aggregation", "model.selection", *MIXED),
        defaults=lambda model: VARIANTS.get(model.variant, {}),
        problems=_afa_problems,
        variants=tuple(VARIANTS),
        batch_dependent=lambda model: model.aggregation.enabled and _afa_variant(model) == "official",
    ),
    "vsepp": ModelFields(
        "itm_jax.models.baselines:VSE",
        reads=("model.selection", *MIXED),
        defaults=lambda model: {"model.selection": "mean"},
        problems=_selection_problems("mean", "max"),
    ),
    "vseinf": ModelFields(
        "itm_jax.models.baselines:VSE",
        reads=MIXED,
        defaults=lambda model: {"model.selection": "gpo"},
        problems=_selection_problems("gpo"),
    ),
    "cpfean": ModelFields(
        "itm_jax.models.cpfean:CPFEAN",
        reads=tuple(f"model.{s}" for s in ("regions", "graph", "words", "fusion", "alignment", "attention")),
        problems=_cpfean_problems,
        idle=_cpfean_idle,
        single_vector=False,
        boxes=True,
        labels="bank",
        edges=True,
    ),
    "scan": ModelFields("itm_jax.models.baselines:SCAN", reads=("model.attention",), single_vector=False),
    "late": ModelFields("itm_jax.models.baselines:LateInteraction", reads=(), single_vector=False),
}
OWN = ModelFields(labels="index", edges=True)  # of a class that says nothing of itself


def fields_of(name: str) -> ModelFields:
    """The entry of a model, by `model.name`.

    Raises:
        InputError: a model of the user's own that cannot be found.
    """
    if is_own(name):
        return getattr(load(name, "model.name"), "model_fields", OWN)
    return MODELS[name]


def model_class(name: str) -> Any:
    """The Linen module of a model, by `model.name`.

    Raises:
        InputError: a model of the user's own that cannot be found.
    """
    return load(name if is_own(name) else MODELS[name].model, "model.name")


def uses_edges(model: Any) -> bool:
    """Whether the model of a `model` section reads dependency edges."""
    return fields_of(model.name).edges and model.words.layers > 0 and model.words.graph == "sparse"


def depends_on_batch(model: Any) -> bool:
    """Whether an embedding of the model depends on the other items of its batch."""
    return fields_of(model.name).batch_dependent(model)


def derived(model: Any) -> dict[str, Any]:
    """Values that the model of a `model` section gives to fields that are not set, by dotted name."""
    temperature = {"model.attention.temperature": TEMPERATURE.get(model.attention.direction)}
    return {**COMMON, **temperature, **fields_of(model.name).defaults(model)}


def idle_flags(config: Any, flags: Iterable[str]) -> Iterator[str]:
    """A message for every field among those given on the command line that has no effect on the config's model."""
    name = config.model.name
    model, text = fields_of(name), config.model.text
    specific = {start for entry in MODELS.values() for start in entry.reads or ()}
    for flag in flags:
        if text.encoder == "gru" and flag in [f"model.text.{field}" for field in BERT_ONLY]:
            yield f"config.{flag}: has no effect on config.model.text.encoder=gru; leave it out"
        if any(f"{flag}.".startswith(f"{start}.") for start in specific) and not model.reads_field(flag):
            yield f"config.{flag}: has no effect on config.model.name={name}; leave it out"
        for start, setting in model.idle(config.model).items():
            if flag.startswith(start) and flag != setting.split("=")[0]:
                yield f"config.{flag}: has no effect on config.{setting}; leave it out"
