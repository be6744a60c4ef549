"""The table of models: the class of each, the fields it reads, its defaults, the data it uses, its invalid settings.

Configs, data, training and evaluation ask this table. Only the benchmarks and pictures that concern a single model know
it by name. A model of your own (`model.name=MODULE:CLASS`) is treated alike: its class may have an attribute
`model_fields`, a `ModelFields`. Without that attribute the model may read every field.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from itm_jax.config.plugins import is_own, load

# Values of derived fields for every model; the `defaults` of a model replace them.
COMMON = {
    "model.selection": "max",
    "model.enhancement.text": "mlp",
    "model.enhancement.statistics": "valid",
    "model.enhancement.init": "lecun",
    "model.aggregation.variant": "paper",
    "loss.soft_negatives": "none",
    "loss.same_image": "mask",
}
TEMPERATURE = {"t2i": 9.0, "i2t": 4.0}  # of the softmax of the attention, as in SCAN's scripts
# The values that `model.variant` gives to fields of AFA that are not set.
VARIANTS = {
    "paper": {"loss.soft_negatives": "mixup"},
    "official": {
        "model.enhancement.text": "linear",
        "model.enhancement.statistics": "all",
        "model.enhancement.init": "authors",
        "model.aggregation.variant": "official",
        "loss.soft_negatives": "hinge",
        "loss.same_image": "keep",
    },
}
# Fields of `model.text` that describe a BERT encoder; a pretrained checkpoint fills them in.
BERT_ARCHITECTURE = (
    "hidden_size",
    "num_layers",
    "num_heads",
    "intermediate_size",
    "max_positions",
    "type_vocab_size",
    "activation",
    "layer_norm_eps",
)
# A BiGRU does not read these. A config file may still set them, so that a change of `encoder` alone is an ablation.
BERT_ONLY = (*BERT_ARCHITECTURE, "cache_dtype")
# Fields of negatives that are mixed with positives.
MIXED = ("loss.tau", "loss.fold", "loss.normalize_mix", "loss.stop_gradient")


def _nothing(_: Any) -> Mapping[str, Any]:
    return {}


@dataclasses.dataclass(frozen=True)
class ModelFields:
    """What the library knows about a model.

    Attributes:
        model: MODULE:CLASS of the Linen module; empty for a model of the user's own, which `model.name` names.
        reads: the dotted names of the model-specific fields and sections that it reads; None: all of them.
        defaults: takes the `model` section; returns the values of fields that are not set, by dotted name.
        problems: takes the whole config; returns one message for each setting that does not fit the others.
        no_effect: takes the `model` section; returns {prefix of field names: the setting because of which these fields
            have no effect}.
        variants: the values that `model.variant` may have.
        single_vector: whether an item is encoded as one vector, so that negatives can be mixed with positives.
        boxes: whether it can use the boxes of regions (`model.regions.boxes`, `model.graph.iou`).
        labels: "encoded": it can use labels (`model.regions.labels`), which the pretrained text encoder encodes, or
            which are learned where the encoder is trained from scratch; "index": it gets indices into the label names
            of the train split; None: it uses no labels.
        edges: whether it uses dependency edges where `model.words.graph` is sparse.
        batch_dependent: takes the `model` section; returns whether an embedding depends on the rest of its batch.
    """

    model: str = ""
    reads: tuple[str, ...] | None = None
    defaults: Callable[[Any], Mapping[str, Any]] = _nothing
    problems: Callable[[Any], Iterable[str]] = _nothing
    no_effect: Callable[[Any], Mapping[str, str]] = _nothing
    variants: tuple[str, ...] = ("paper",)
    single_vector: bool = True
    boxes: bool = False
    labels: str | None = None
    edges: bool = False
    batch_dependent: Callable[[Any], bool] = lambda model: False

    def reads_field(self, name: str) -> bool:
        """Returns whether the model reads a model-specific field. Every model reads the other fields."""
        return self.reads is None or any(f"{name}.".startswith(f"{start}.") for start in self.reads)


def _afa_problems(config: Any) -> Iterator[str]:
    model = config.model
    if _aggregation_variant(model) not in ("official", "official_single"):
        return
    usual = {"ratio": 0.05, "pairing": "similarity", "shuffle": True}
    for name, value in usual.items():
        if model.aggregation[name] != value:
            yield (
                f"config.model.aggregation.{name}={model.aggregation[name]!r}: has no effect on the official "
                "aggregation; leave it out, or set config.model.aggregation.variant=paper"
            )


def _aggregation_variant(model: Any) -> str | None:
    """Returns the variant of the aggregation: the field where it is set, else its derived value."""
    return model.aggregation.variant or {"paper": "paper", "official": "official"}.get(model.variant)


def _selection_problems(*allowed: str) -> Callable[[Any], Iterator[str]]:
    def problems(config: Any) -> Iterator[str]:
        model = config.model
        if model.selection and model.selection not in allowed:
            yield (
                f"config.model.selection={model.selection!r}: must be {' or '.join(allowed)} for "
                f"config.model.name={model.name}"
            )

    return problems


def _cpfean_problems(config: Any) -> Iterator[str]:
    model = config.model
    if model.regions.label_names and model.text.encoder == "bert" and model.text.pretrained:
        yield "config.model.regions.label_names: has no effect, the pretrained encoder reads the names; leave it out"
    if model.attention.direction != "t2i":
        yield "config.model.attention.direction='i2t': must be t2i for cpfean; only config.model.name=scan has i2t"
    if model.graph.heads > 0 and model.graph.layers and model.width % model.graph.heads:
        yield f"config.model.width={model.width}: not a multiple of config.model.graph.heads={model.graph.heads}"


def _cpfean_no_effect(model: Any) -> dict[str, str]:
    alignment = model.alignment
    other = alignment.kind != "prominent" and "model.alignment.kind=cross_attention"
    no_words = other or (alignment.sides == "regions" and "model.alignment.sides=regions")
    no_regions = alignment.sides == "words" and alignment.beta == 0 and "model.alignment.sides=words and beta=0"
    why = {
        "model.graph.": model.graph.layers == 0 and "model.graph.layers=0",
        "model.fusion.": model.fusion.rounds == 0 and "model.fusion.rounds=0",
        "model.fusion.power": other or no_regions,
        "model.fusion.learn_power": other or no_regions,
        "model.alignment.sides": other,
        "model.alignment.beta": no_words,
        "model.alignment.gamma": no_words,
        "model.alignment.prior": no_words or (alignment.gamma == 0 and "model.alignment.gamma=0"),
        "model.words.scale": model.words.layers == 0 and "model.words.layers=0",
        "model.words.activation": model.words.layers == 0 and "model.words.layers=0",
        "model.attention.": alignment.kind == "prominent" and "model.alignment.kind=prominent",
    }
    return {start: reason for start, reason in why.items() if reason}


def _afa_no_effect(model: Any) -> Mapping[str, str]:
    return {} if model.aggregation.enabled else {"model.aggregation.": "model.aggregation.enabled=False"}


MODELS = {
    "afa": ModelFields(
        "itm_jax.models.afa:AFA",
        reads=("model.variant", "model.enhancement", "model.aggregation", "model.selection", *MIXED),
        defaults=lambda model: VARIANTS[model.variant],
        problems=_afa_problems,
        no_effect=_afa_no_effect,
        variants=tuple(VARIANTS),
        batch_dependent=lambda model: model.aggregation.enabled and _aggregation_variant(model) == "official",
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
        no_effect=_cpfean_no_effect,
        single_vector=False,
        boxes=True,
        labels="encoded",
        edges=True,
    ),
    "scan": ModelFields("itm_jax.models.baselines:SCAN", reads=("model.attention",), single_vector=False),
    "late": ModelFields("itm_jax.models.baselines:LateInteraction", reads=(), single_vector=False),
}
OWN = ModelFields(labels="index", edges=True)  # for a class without the attribute `model_fields`


def fields_of(name: str) -> ModelFields:
    """Returns the entry of a model, by `model.name`.

    Raises:
        InputError: a model of the user's own cannot be found.
    """
    if is_own(name):
        return getattr(load(name, "model.name"), "model_fields", OWN)
    return MODELS[name]


def model_class(name: str) -> Any:
    """Returns the Linen module of a model, by `model.name`.

    Raises:
        InputError: a model of the user's own cannot be found.
    """
    return load(name if is_own(name) else MODELS[name].model, "model.name")


def uses_edges(model: Any) -> bool:
    """Returns whether the model of a `model` section reads dependency edges."""
    return fields_of(model.name).edges and model.words.layers > 0 and model.words.graph == "sparse"


def depends_on_batch(model: Any) -> bool:
    """Returns whether an embedding of the model depends on the other items of its batch."""
    return fields_of(model.name).batch_dependent(model)


def derived(model: Any) -> dict[str, Any]:
    """Returns the values that the model of a `model` section gives to fields that are not set, by dotted name."""
    temperature = {"model.attention.temperature": TEMPERATURE.get(model.attention.direction)}
    return {**COMMON, **temperature, **fields_of(model.name).defaults(model)}


def idle_flags(config: Any, flags: Iterable[str], *, load_own: bool = False) -> Iterator[str]:
    """Yields a message for every field of `flags`, those on the command line, that has no effect on the model.

    A model of the user's own is looked at only with `load_own`: its module may use JAX, and must not be loaded before
    the processes of a run have met.
    """
    name = config.model.name
    text = config.model.text
    model = fields_of(name) if load_own else MODELS.get(name, OWN)
    specific = {start for entry in MODELS.values() for start in entry.reads or ()}
    for flag in flags:
        if text.encoder == "gru" and flag in [f"model.text.{field}" for field in BERT_ONLY]:
            yield f"config.{flag}: has no effect on config.model.text.encoder=gru; leave it out"
        if any(f"{flag}.".startswith(f"{start}.") for start in specific) and not model.reads_field(flag):
            yield f"config.{flag}: has no effect on config.model.name={name}; leave it out"
        elif flag in MIXED and config.model.variant in VARIANTS:
            usual = {**COMMON, **model.defaults(config.model)}["loss.soft_negatives"]
            if (kind := config.loss.soft_negatives or usual) != "mixup":
                yield f"config.{flag}: has no effect on config.loss.soft_negatives={kind}; leave it out"
        for start, setting in model.no_effect(config.model).items():
            if flag.startswith(start) and flag != setting.split("=")[0]:
                yield f"config.{flag}: has no effect on config.{setting}; leave it out"
