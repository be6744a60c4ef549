"""AFA: an item's embedding is its own, and every ablation field changes what it names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.models import small

from itm_jax.config.default import default_config
from itm_jax.errors import InputError
from itm_jax.models import build
from itm_jax.modules.batch_norm import BatchNorm
from itm_jax.modules.enhancement import Enhancement
from itm_jax.modules.selection import GPO, select_max, select_mean
from itm_jax.structs import Regions, Tokens


def inputs(rng, b=4, r=12, length=24, f=10):
    """Random regions and tokens with different numbers of valid ones."""
    regions = Regions(
        jnp.array(rng.standard_normal((b, r, f)), jnp.float32), jnp.arange(r)[None] < jnp.array([r, 5, 1, 9])[:b, None]
    )
    mask = jnp.arange(length)[None] < jnp.array([length, 3, 21, 8])[:b, None]
    ids = jnp.where(mask, jnp.array(rng.integers(5, 40, (b, length)), jnp.int32), 0)
    return regions, Tokens(ids, mask)


def model_and_variables(config, regions, tokens):
    """Initialised, with running statistics that are not the initial ones."""
    model = build(config)
    variables = model.init(jax.random.key(0), regions, tokens, train=False)
    stats = jax.tree.map(lambda x: x + 0.3, variables["batch_stats"])
    return model, {"params": variables["params"], "batch_stats": stats}


def test_nothing_valid_encodes_to_zero_and_gives_no_gradient(rng):
    regions, tokens = inputs(rng)
    model, variables = model_and_variables(small(), regions, tokens)
    empty = regions.replace(mask=jnp.zeros_like(regions.mask))

    def total(features):
        out = model.apply(variables, empty.replace(features=features), train=False, method="encode_images")
        return jnp.sum(out * jnp.arange(16.0)[None]), out

    grad, out = jax.grad(total, has_aux=True)(regions.features)
    assert not np.asarray(out).any()
    assert not np.asarray(grad).any()


def test_score_is_the_cosine(rng):
    regions, tokens = inputs(rng)
    model, variables = model_and_variables(small(), regions, tokens)
    images, captions = model.apply(variables, regions, tokens, train=False)
    np.testing.assert_allclose(model.apply(variables, images, captions, method="score"), images @ captions.T, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"aggregation__enabled": False},
        {"aggregation__ratio": 0.4},
        {"aggregation__pairing": "random"},
        {"aggregation__shuffle": False},
        {"selection": "mean"},
        {"selection": "gpo"},
    ],
)
def test_each_ablation_field_changes_the_embedding(rng, change):
    regions, tokens = inputs(rng)
    base = {"aggregation__ratio": 0.2}
    model, variables = model_and_variables(small(**base), regions, tokens)
    changed, extra = model_and_variables(small(**(base | change)), regions, tokens)
    if change.get("selection") != "gpo":  # gpo has parameters of its own
        assert jax.tree.structure(extra) == jax.tree.structure(variables)
        extra = variables
    a = model.apply(variables, regions, tokens, train=False)
    b = changed.apply(extra, regions, tokens, train=False)
    assert not np.allclose(a[0], b[0])
    assert not np.allclose(a[1], b[1])


def test_training_draws_the_shuffle_from_its_key(rng):
    regions, tokens = inputs(rng)
    model, variables = model_and_variables(small(aggregation__ratio=0.3), regions, tokens)

    def run(aggregation, dropout):
        rngs = {"aggregation": jax.random.key(aggregation), "dropout": jax.random.key(dropout)}
        return model.apply(variables, regions, tokens, train=True, rngs=rngs, mutable=["batch_stats"])[0]

    assert np.array_equal(run(0, 0)[0], run(0, 1)[0])  # dropout is the text encoder's
    assert not np.allclose(run(0, 0)[0], run(1, 0)[0])
    assert not np.allclose(run(0, 0)[1], run(0, 1)[1])


def test_frozen_text_needs_states_and_uses_them(rng):
    regions, tokens = inputs(rng)
    model = build(small(text__trainable=False))
    with pytest.raises(ValueError, match=r"tokens\.states"):
        model.init(jax.random.key(0), regions, tokens, train=False)
    states = jnp.array(rng.standard_normal((4, 24, 8)), jnp.float16)
    variables = model.init(jax.random.key(0), regions, tokens.replace(states=states), train=False)
    assert "text_encoder" not in variables["params"]


def test_enhancement_statistics_are_those_of_the_valid_rows(rng):
    rows = jnp.array(rng.standard_normal((3, 6, 5)), jnp.float32)
    mask = jnp.arange(6)[None] < jnp.array([2, 6, 4])[:, None]
    layer = Enhancement(8)
    variables = layer.init(jax.random.key(0), rows, mask, train=False)
    out, updated = layer.apply(variables, rows, mask, train=True, mutable=["batch_stats"])
    polluted = jnp.where(mask[..., None], rows, 1e3)
    again, same = layer.apply(variables, polluted, mask, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(out, again, atol=1e-5)
    np.testing.assert_allclose(
        updated["batch_stats"]["mlp_norm"]["mean"], same["batch_stats"]["mlp_norm"]["mean"], atol=1e-6
    )
    assert not np.asarray(out)[~np.asarray(mask)].any()


def test_layers_start_as_in_the_authors_code(rng):
    """Uniform within these bounds: Xavier's for the linear layer of images, 1/√inputs for the rest and its biases."""
    regions, tokens = inputs(rng)
    tokens = tokens.replace(states=jnp.array(rng.standard_normal((4, 24, 48)), jnp.float32))
    config = small(text__trainable=False, width=64, enhancement__init="authors")
    params = build(config).init(jax.random.key(0), regions, tokens, train=False)["params"]
    image, text = (params[name]["enhancement"] for name in ("image_branch", "text_branch"))
    bounds = [(image["linear"]["kernel"], (6 / (10 + 64)) ** 0.5), (image["mlp_in"]["kernel"], 10**-0.5)]
    bounds += [(text["linear"][x], 48**-0.5) for x in ("kernel", "bias")]
    bounds += [(image["mlp_out"][x], 32**-0.5) for x in ("kernel", "bias")]
    for values, bound in bounds:
        largest = float(np.abs(values).max())
        assert 0.8 * bound < largest <= bound
        assert abs(float(np.mean(values))) < 0.3 * bound
    assert not np.asarray(image["linear"]["bias"]).any()
    plain = build(small(text__trainable=False, width=64)).init(jax.random.key(0), regions, tokens, train=False)
    assert not np.asarray(plain["params"]["text_branch"]["enhancement"]["linear"]["bias"]).any()


def test_running_variance_is_the_unbiased_one(rng):
    """As in PyTorch: four rows count; a batch is normalised by its biased variance."""
    rows = jnp.array(rng.standard_normal((2, 3, 5)), jnp.float32)
    mask = jnp.array([[True, True, True], [True, False, False]])
    layer = BatchNorm()
    variables = layer.init(jax.random.key(0), rows, mask, train=True)
    assert not np.asarray(variables["batch_stats"]["mean"]).any()  # `init` remembers nothing
    out, updated = layer.apply(variables, rows, mask, train=True, mutable=["batch_stats"])
    four = np.asarray(rows)[np.asarray(mask)]
    stats = updated["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * four.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * four.var(axis=0, ddof=1), atol=1e-6)
    expected = (four - four.mean(axis=0)) / np.sqrt(four.var(axis=0) + 1e-5)
    np.testing.assert_allclose(np.asarray(out)[np.asarray(mask)], expected, atol=1e-4)
    after = layer.apply({**variables, **updated}, rows, mask, train=False)
    mean, var = np.asarray(stats["mean"]), np.asarray(stats["var"])
    np.testing.assert_allclose(after, (np.asarray(rows) - mean) / np.sqrt(var + 1e-5), atol=1e-5)


def test_statistics_of_far_values_and_of_nothing():
    rng = np.random.default_rng(0)
    rows = jnp.array(300 + 0.1 * rng.standard_normal((4, 50, 2)), jnp.float32)
    layer, everything = BatchNorm(), jnp.ones((4, 50), bool)
    variables = layer.init(jax.random.key(0), rows, everything, train=False)
    out, _ = layer.apply(variables, rows, everything, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(np.std(out, axis=(0, 1)), 1.0, atol=2e-3)
    out, updated = layer.apply(variables, rows, ~everything, train=True, mutable=["batch_stats"])
    assert np.isfinite(out).all()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(updated))


def test_selection_by_hand():
    rows = jnp.array([[[1.0, -5.0], [3.0, -7.0], [99.0, 99.0]]])
    mask = jnp.array([[True, True, False]])
    assert select_max(rows, mask).tolist() == [[3.0, -5.0]]
    assert select_mean(rows, mask).tolist() == [[2.0, -6.0]]
    for select in (select_max, select_mean):
        assert select(rows, jnp.zeros((1, 3), bool)).tolist() == [[0.0, 0.0]]


def test_gpo_weights_sum_to_one_over_valid_rows():
    rows = jnp.broadcast_to(jnp.array([2.0, -3.0]), (2, 5, 2))
    mask = jnp.arange(5)[None] < jnp.array([3, 0])[:, None]
    pool = GPO()
    out = pool.apply(pool.init(jax.random.key(0), rows, mask), rows, mask)
    np.testing.assert_allclose(out, [[2.0, -3.0], [0.0, 0.0]], atol=1e-5)


def test_unknown_model_is_refused():
    with pytest.raises(InputError, match="afa"):
        build(small(name="nothing"))


def test_build_knows_the_size_of_the_vocabulary_or_says_so(tmp_path):
    with pytest.raises(InputError, match="vocab_size=0"):
        build(default_config().model)
    (tmp_path / "config.json").write_text(
        '{"vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, '
        '"intermediate_size": 16, "max_position_embeddings": 12}'
    )
    config = default_config().model
    config.text.pretrained = str(tmp_path)
    assert build(config).encoder.vocab_size == 50
    assert config.text.vocab_size == 0
