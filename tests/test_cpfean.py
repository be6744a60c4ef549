"""CPFEAN and the baselines: every ablation field changes what it names, encodings are an item's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.models import awake, small

from itm_jax.config.default import default_config
from itm_jax.config.derived import complete
from itm_jax.config.fields import set_field
from itm_jax.config.model_fields import idle_flags
from itm_jax.config.validation import validate
from itm_jax.errors import InputError
from itm_jax.models import build
from itm_jax.modules.alignment import global_score
from itm_jax.structs import Regions, Tokens


def inputs(rng, b=4, r=8, length=12, f=10):
    """Random regions with boxes and labels, and tokens of words with one or two pieces and a chain of edges."""
    low = rng.random((b, r, 2)) * 0.6
    boxes = np.concatenate([low, low + 0.1 + 0.3 * rng.random((b, r, 2))], axis=-1)
    regions = Regions(
        jnp.array(rng.standard_normal((b, r, f)), jnp.float32),
        jnp.arange(r)[None] < jnp.array([r, 5, 2, 6])[:b, None],
        jnp.array(boxes, jnp.float32),
        jnp.array(rng.integers(0, 5, (b, r)), jnp.int32),
    )
    lengths = np.array([length, 4, 9, 7])[:b, None]
    position = np.arange(length)[None]
    mask = position < lengths
    word = np.where((position > 0) & (position < lengths - 1), (position - 1) * 2 // 3, -1)
    ids = np.where(mask, rng.integers(5, 40, (b, length)), 0)
    edges = np.array([[[k, k + 1] if k + 1 <= word[c].max() else [-1, -1] for k in range(6)] for c in range(b)])
    arrays = (ids.astype(np.int32), mask, word.astype(np.int32), edges.astype(np.int32))
    return regions, Tokens(*map(jnp.array, arrays))


def cpfean(**changes):
    """A small CPFEAN with a learned label table and an open gate; changes as `section__field`."""
    usual = {"name": "cpfean", "graph__heads": 4, "regions__label_names": tuple("abcde")}
    return small(**(usual | {"fusion__scale": 1.0, "fusion__bias": 0.0} | changes))


def run(config, regions, tokens, variables=None):
    """(scores, variables) in evaluation."""
    model = build(config)
    if variables is None:
        variables = awake(model.init(jax.random.key(0), regions, tokens, train=False))
    images, captions = model.apply(variables, regions, tokens, train=False)
    return model.apply(variables, images, captions, method="score"), variables


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"words__graph": "sparse"},
        {"words__activation": "none"},
        {"fusion__gate": "feature"},
        {"alignment__kind": "cross_attention"},
        {"name": "scan"},
    ],
    ids=str,
)
def test_a_caption_without_words_scores_zero_and_no_gradient_is_nan(rng, changes):
    regions, tokens = inputs(rng)
    model = build(cpfean(**changes))
    params = model.init(jax.random.key(0), regions, tokens, train=False)["params"]
    only = jnp.arange(tokens.ids.shape[1]) < 2  # [CLS] and [SEP]
    mask, word_ids = tokens.mask.at[1].set(only), tokens.word_ids.at[1].set(-1)
    empty = tokens.replace(mask=mask, word_ids=word_ids)

    def total(params):
        images, captions = model.apply({"params": params}, regions, empty, train=False)
        scores = model.apply({"params": params}, images, captions, method="score")
        return jnp.sum(scores**2), scores

    grad, scores = jax.grad(total, has_aux=True)(params)
    assert not np.asarray(scores[:, 1]).any()
    assert np.asarray(scores[:, 0]).all()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(grad))


def test_nothing_valid_scores_zero_and_gives_no_gradient(rng):
    regions, tokens = inputs(rng)
    model = build(cpfean())
    variables = model.init(jax.random.key(0), regions, tokens, train=False)
    empty = regions.replace(mask=regions.mask.at[1].set(False))

    def total(features):
        images, captions = model.apply(variables, empty.replace(features=features), tokens, train=False)
        scores = model.apply(variables, images, captions, method="score")
        return jnp.sum(scores**2), scores

    grad, scores = jax.grad(total, has_aux=True)(regions.features)
    assert not np.asarray(scores[1]).any()
    assert not np.asarray(grad[1]).any()
    assert np.isfinite(grad).all()
    assert np.asarray(grad[0]).any()


@pytest.mark.parametrize(
    "change",
    [
        {"fusion__rounds": 0},
        {"fusion__rounds": 2},
        {"fusion__gate": "feature"},
        {"fusion__gate": "cosine"},
        {"fusion__scale": 5.0},
        {"fusion__bias": -3.0},
        {"fusion__power": 0.5},
        {"regions__labels": False},
        {"regions__boxes": False},
        {"alignment__kind": "cross_attention"},
        {"alignment__beta": 0.0},
        {"alignment__sides": "words"},
        {"alignment__sides": "regions"},
        {"graph__layers": 0},
        {"graph__layers": 2},
        {"graph__heads": 2},
        {"graph__iou": None},
        {"graph__iou": 0.5},
        {"graph__filter": True},
        {"words__layers": 0},
        {"words__graph": "sparse"},
        {"alignment__global_weight": 0.5},
    ],
    ids=lambda c: "-".join(f"{k}={v}" for k, v in c.items()),
)
def test_each_field_changes_the_score(rng, change):
    regions, tokens = inputs(rng)
    whole, variables = run(cpfean(), regions, tokens)
    other, others = run(cpfean(**change), regions, tokens)
    # Flax draws parameters by name: what both have is the same, but for what the field itself reshapes or sets.
    section = next(iter(change)).split("__")[0]
    own = {"fusion": "gate_", "graph": "visual_transformer", "words": "word_gcn", "regions": "region_embedding"}
    for name in variables["params"].keys() & others["params"].keys():
        if not name.startswith(own.get(section, "nothing")):
            jax.tree.map(np.testing.assert_array_equal, variables["params"][name], others["params"][name])
    assert not np.allclose(whole, other, atol=1e-5)


def test_a_learned_power_starts_where_asked_and_gets_a_gradient(rng):
    regions, tokens = inputs(rng)
    fixed, variables = run(cpfean(fusion__power=0.5), regions, tokens)
    assert "gate_power" not in variables["params"]
    config = cpfean(fusion__power=0.5, fusion__learn_power=True)
    first = build(config).init(jax.random.key(0), regions, tokens, train=False)["params"]["gate_power"]
    assert float(first) == 0.5

    def scores(power):
        return run(config, regions, tokens, {**variables, "params": variables["params"] | {"gate_power": power}})[0]

    np.testing.assert_allclose(scores(first), fixed, atol=1e-6)
    assert abs(float(jax.grad(lambda power: jnp.sum(scores(power)))(first))) > 1e-4


def test_the_rate_of_the_gate_changes_how_it_learns_and_not_how_it_starts(rng):
    """The gate's scalars are kept divided by the rate, so that a step of Adam moves them by rate times as much."""
    regions, tokens = inputs(rng)
    slow, variables = run(cpfean(fusion__gate="cosine", fusion__scale=4.0, fusion__bias=-2.0), regions, tokens)
    assert not {"gate_u", "gate_z"} & variables["params"].keys()
    model = build(cpfean(fusion__gate="cosine", fusion__scale=4.0, fusion__bias=-2.0, fusion__rate=10.0))
    first = model.init(jax.random.key(0), regions, tokens, train=False)["params"]
    np.testing.assert_allclose([first["gate_c"], first["gate_b"]], [0.4, -0.2], rtol=1e-6)
    params = variables["params"] | {
        "gate_c": variables["params"]["gate_c"] / 10,
        "gate_b": variables["params"]["gate_b"] / 10,
    }
    changed = variables | {"params": params}
    images, captions = model.apply(changed, regions, tokens, train=False)
    np.testing.assert_allclose(model.apply(changed, images, captions, method="score"), slow, atol=1e-6)


def test_the_visual_transformer_begins_as_the_identity(rng):
    regions, tokens = inputs(rng)
    fresh = [build(cpfean(graph__layers=n)) for n in (0, 1)]
    variables = [model.init(jax.random.key(0), regions, tokens, train=False) for model in fresh]
    rows = [
        m.apply(v, regions, train=False, method="encode_images").rows for m, v in zip(fresh, variables, strict=True)
    ]
    np.testing.assert_allclose(*rows, atol=1e-6)


def test_temperature_changes_the_cross_attention(rng):
    regions, tokens = inputs(rng)
    first, variables = run(cpfean(alignment__kind="cross_attention"), regions, tokens)
    second, _ = run(cpfean(alignment__kind="cross_attention", attention__temperature=2.0), regions, tokens, variables)
    assert not np.allclose(first, second, atol=1e-5)


def test_dropout_acts_in_training_only(rng):
    regions, _ = inputs(rng)
    model = build(cpfean(graph__dropout=0.5))
    variables = awake(model.init(jax.random.key(0), regions, inputs(rng)[1], train=False))

    def encode(k, train):
        rngs = {"dropout": jax.random.key(k)}
        return model.apply(variables, regions, train=train, rngs=rngs, method="encode_images").rows

    assert np.array_equal(encode(0, False), encode(1, False))
    assert not np.allclose(encode(0, True), encode(1, True))


def test_gamma_weighs_words_by_the_corpus_prior(rng):
    regions, tokens = inputs(rng)
    plain, _ = run(cpfean(), regions, tokens)
    config = cpfean(alignment__gamma=2.0)
    same, variables = run(config, regions, tokens)
    np.testing.assert_allclose(same, plain, atol=1e-6)  # before the train captions are counted all weights are 1
    prior = jnp.linspace(0.1, 1.0, 40)
    variables = {"params": variables["params"], "batch_stats": {"word_prior": prior}}
    weighed, _ = run(config, regions, tokens, variables)
    assert not np.allclose(weighed, plain, atol=1e-5)
    small_prior = {"params": variables["params"], "batch_stats": {"word_prior": prior * 1e-4}}
    scaled, _ = run(config, regions, tokens, small_prior)
    np.testing.assert_allclose(scaled, weighed, atol=1e-5)  # only how the weights compare counts
    sparse, _ = run(cpfean(alignment__gamma=2.0, words__graph="sparse"), regions, tokens, variables)
    even, _ = run(cpfean(words__graph="sparse"), regions, tokens, {"params": variables["params"]})
    assert not np.allclose(sparse, even, atol=1e-5)


def test_words_without_word_ids_are_all_but_the_first_and_last(rng):
    regions, tokens = inputs(rng)
    whole, variables = run(cpfean(), regions, tokens)
    again, _ = run(cpfean(), regions, tokens.replace(word_ids=None, edges=None), variables)
    np.testing.assert_allclose(again, whole, atol=1e-6)


def test_default_model_takes_regions_without_priors(rng):
    regions, tokens = inputs(rng)
    bare = Regions(regions.features, regions.mask)
    scores, variables = run(small(name="cpfean", graph__heads=4), bare, Tokens(tokens.ids, tokens.mask))
    assert scores.shape == (4, 4)
    assert set(variables["params"]["region_embedding"]) == {"features", "norm"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.name": "cpfean", "model.variant": "official"}, "has no such variant"),
        ({"model.name": "cpfean", "loss.soft_negatives": "mixup"}, "one vector per item"),
        ({"model.name": "vseinf", "model.selection": "max"}, "must be gpo"),
        ({"model.name": "vsepp", "model.selection": "gpo"}, "mean or max"),
        ({"model.name": "cpfean", "model.width": 100}, "not a multiple of config.model.graph.heads"),
        ({"model.name": "cpfean", "model.attention.direction": "i2t"}, "must be t2i for cpfean"),
        ({"model.name": "clip"}, "must be one of afa"),
        ({"model.fusion.gate": "soft"}, "cosine, region, feature"),
        ({"model.fusion.rounds": -1}, "must lie in"),
        ({"model.graph.iou": 1.5}, "must lie in"),
        ({"model.graph.dropout": 1.0}, "must lie in"),
        ({"model.alignment.beta": -1.0}, "must not be negative"),
        ({"model.alignment.sides": "left"}, "both, words, regions"),
    ],
)
def test_bad_values_are_named(changes, message):
    config = default_config()
    config.data.dir = "x"
    for name, value in changes.items():
        set_field(config, name, value)
    with pytest.raises(InputError, match=message):
        validate(config)


@pytest.mark.parametrize(
    ("name", "changes", "flag", "message"),
    [
        ("afa", {}, "model.fusion.rounds", "config.model.name=afa"),
        ("cpfean", {}, "model.aggregation.ratio", "config.model.name=cpfean"),
        ("scan", {}, "model.alignment.beta", "config.model.name=scan"),
        ("late", {}, "model.attention.temperature", "config.model.name=late"),
        ("cpfean", {"model.fusion.rounds": 0}, "model.fusion.gate", "model.fusion.rounds=0"),
        ("cpfean", {"model.graph.layers": 0}, "model.graph.iou", "model.graph.layers=0"),
        ("cpfean", {}, "model.attention.temperature", "model.alignment.kind=prominent"),
        ("cpfean", {}, "model.alignment.prior", "model.alignment.gamma=0"),
        ("cpfean", {"model.words.layers": 0}, "model.words.scale", "model.words.layers=0"),
        ("cpfean", {"model.words.layers": 0}, "model.words.activation", "model.words.layers=0"),
        ("cpfean", {"model.alignment.kind": "cross_attention"}, "model.fusion.power", "kind=cross_attention"),
        ("vsepp", {}, "model.alignment.global_weight", "config.model.name=vsepp"),
        ("cpfean", {"model.alignment.kind": "cross_attention"}, "model.alignment.beta", "kind=cross_attention"),
    ],
)
def test_a_flag_without_effect_is_refused(name, changes, flag, message):
    config = default_config()
    config.model.name = name
    for field, value in changes.items():
        set_field(config, field, value)
    [problem] = idle_flags(config, [flag])
    assert message in problem
    assert not list(idle_flags(config, [*changes, "model.name", "optim.lr"]))


def test_the_global_score_beside_the_alignment(rng):
    """`(alignment + w · global) / (1 + w)`, with a w that is learned, for both kinds of alignment."""
    regions, tokens = inputs(rng)
    for kind in ("prominent", "cross_attention"):
        model = build(cpfean(alignment__kind=kind, alignment__global_weight=0.5))
        alone, variables = run(cpfean(alignment__kind=kind), regions, tokens)
        variables = variables | {"params": variables["params"] | {"log_global_weight": jnp.log(0.5)}}
        images, captions = model.apply(variables, regions, tokens, train=False)
        score = lambda v, a=images, b=captions, m=model: m.apply(v, a, b, method="score")  # noqa: E731
        np.testing.assert_allclose(score(variables), (alone + 0.5 * global_score(images, captions)) / 1.5, atol=1e-5)
        gradient = jax.grad(lambda v: jnp.trace(score(v)))(variables)  # noqa: B023
        assert gradient["params"]["log_global_weight"] != 0


def test_the_prior_has_no_effect_on_the_regions_side():
    config = default_config()
    config.model.name = "cpfean"
    config.model.alignment.update({"gamma": 1.0, "sides": "regions"})
    for flag in ("model.alignment.prior", "model.alignment.gamma"):
        [problem] = idle_flags(config, [flag])
        assert "model.alignment.sides=regions" in problem


def test_what_the_model_decides():
    for name, selection, temperature, soft in (
        ("afa", "max", 9.0, "mixup"),
        ("vsepp", "mean", 9.0, "none"),
        ("vseinf", "gpo", 9.0, "none"),
        ("cpfean", "max", 9.0, "none"),
    ):
        config = default_config()
        config.model.name = name
        config = complete(config)
        found = (config.model.selection, config.model.attention.temperature, config.loss.soft_negatives)
        assert found == (selection, temperature, soft)
    config = default_config()
    config.model.name, config.model.attention.direction = "scan", "i2t"
    assert complete(config).model.attention.temperature == 4.0
