"""The benchmarks measure what they say, and the PyTorch models beside ours compute the same."""

import dataclasses
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.commands import command
from support.images import checkpoint
from support.paths import ROOT
from support.runs import load, shrunk

import itm_jax
from itm_jax.bench import flops, measure
from itm_jax.bench.growth import bench_growth
from itm_jax.bench.load import bench_load
from itm_jax.bench.random_data import random_data
from itm_jax.bench.shortlist import bench_shortlist, two_stage
from itm_jax.bench.train import StepOnRandomBatch, bench_train
from itm_jax.config.fields import set_field
from itm_jax.errors import InputError
from itm_jax.losses.negatives import excluded_pairs
from itm_jax.losses.triplet import triplet_loss
from itm_jax.modules import alignment
from itm_jax.runs.checksums import leaf_names
from itm_jax.structs import WORD_PRIOR
from itm_jax.training.build import build_run

pytestmark = pytest.mark.usefixtures("one_device")

SHAPES = {"regions": 5, "width": 12, "tokens": 16}


def small(name, **changes):
    return shrunk(model__name=name, data__dir="unused", **changes)


def test_functions_take_turns_and_all_calls_are_timed():
    seen = []
    times = measure.seconds_of(lambda: seen.append("a"), lambda: seen.append("b"), repeats=3)
    assert seen == ["a", "b"] * 3
    assert [len(t) for t in times] == [3, 3]
    assert measure.summary([3.0, 1.0, 2.0], "x_") == {
        "x_seconds_median": 2.0,
        "x_seconds_min": 1.0,
        "x_seconds_max": 3.0,
    }


def test_rates_are_positive_and_a_count_is_that_of_the_product():
    assert measure.matmul_rate(n=64) > 0
    assert measure.copy_rate(1 << 16) > 0
    compiled = jax.jit(lambda a: a @ a).lower(jnp.zeros((32, 32))).compile()
    assert measure.cost(compiled)[0] == pytest.approx(2 * 32**3, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["afa", "cpfean"])
def test_flops_counted_by_hand_are_most_of_those_that_xla_counts(name):
    """XLA counts the body of a loop once: of CPFEAN's pairs in several blocks only those of one."""
    config = small(name, model__width=128, data__batch_size=32, model__text__hidden_size=64)
    config.model.text.intermediate_size = 256
    step = StepOnRandomBatch(config, regions=12, width=64, tokens=24)
    by_hand = flops.step_flops(step.config, regions=12, width=64, tokens=24)
    assert 0.7 < by_hand / measure.cost(step.compiled)[0] < 1.0
    with pytest.MonkeyPatch.context() as m:
        m.setattr(alignment, "BLOCK", {"cpu": 32 * 12 * 24})
        looped = StepOnRandomBatch(config, regions=12, width=64, tokens=24)
    if name == "cpfean":
        assert measure.cost(looped.compiled)[0] < by_hand


def test_flops_of_one_layer():
    text = types.SimpleNamespace(hidden_size=4, num_layers=1, intermediate_size=8)
    assert flops.bert(text, b=1, tokens=2) == 4 * (2 * 2 * 4 * 4) + 2 * (2 * 2 * 2 * 4) + 2 * (2 * 2 * 4 * 8)
    assert flops.step_flops(shrunk(model__name="late"), regions=1, width=1, tokens=8) is None


@pytest.mark.slow
def test_growth_writes_a_table_and_a_picture(tmp_path):
    sizes = {"batch_sizes": [4, 8], "galleries": [4, 8], "tiles": [2, 4]}
    found = bench_growth(small("cpfean"), tmp_path, **sizes, **SHAPES, joint=16, repeats=1)
    assert {k for k in found if k != "written"} == {
        f"{k} {x}" for k, v in zip(("batch", "gallery", "tile"), sizes.values(), strict=True) for x in v
    }
    table = (tmp_path / "growth.md").read_text()
    assert table.count("| 1.00 |") >= 2  # the largest of what is measured in seconds is the law's own
    assert (tmp_path / "growth.png").stat().st_size > 10_000


def test_a_shortlist_by_hand():
    exact = np.array([[9.0, 1.0], [5.0, 8.0], [1.0, 2.0]])
    fast = np.array([[1.0, 3.0], [3.0, 2.0], [2.0, 1.0]])
    owner = np.array([0, 1])
    one = two_stage(fast, exact, owner, 1)  # lists {1}, {0}: neither has its best image
    assert one["best_on_the_list"] == 0
    assert one["t2i_r1"] == one["t2i_r10"] == 0
    two = two_stage(fast, exact, owner, 2)  # {1, 2}, {0, 1}: the second has
    assert two["best_on_the_list"] == 50
    assert two["t2i_r1"] == 50
    three = two_stage(fast, exact, owner, 3)
    assert three["t2i_r1"] == three["best_10_on_the_list"] == 100


@pytest.mark.slow
def test_a_shortlist_of_two_runs(tmp_path):
    from itm_jax.training import loop as training

    for name in ("afa", "cpfean"):
        training.train(shrunk(model__name=name, train__epochs=0.1), tmp_path / name)
    found = bench_shortlist(tmp_path / "afa", tmp_path / "cpfean", splits=["dev", "test"], lengths=[2, 8, 100])
    assert found["gallery"] == "8 images of dev, test"
    assert found["8 of 8: best_10_on_the_list"] == 100
    assert found["8 of 8: t2i_r5"] == found["exact alone, cpfean: t2i_r5"]
    assert not any(k.startswith("100 ") for k in found)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: small("late"), "config.model.name=late is not written"),
        (lambda: small("afa", model__aggregation__pairing="random"), "pairing is not written"),
        (lambda: small("cpfean", model__fusion__gate="feature"), "gate is not written"),
    ],
)
@pytest.mark.parity
def test_what_is_not_written_in_pytorch_is_refused(config, message):
    pytest.importorskip("torch")
    with pytest.raises(InputError, match=message):
        bench_train(config(), **SHAPES, repeats=1, against="torch")


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("afa", {"model__aggregation__shuffle": False, "model__aggregation__ratio": 0.4}),
        ("cpfean", {"model__width": 16, "model__graph__heads": 2, "model__graph__layers": 1}),
        (
            "cpfean",
            {"model__width": 16, "model__graph__layers": 0, "model__fusion__rounds": 2, "model__alignment__gamma": 1.5},
        ),
    ],
)
def test_the_pytorch_models_compute_what_ours_do(name, changes):
    torch = pytest.importorskip("torch")
    from itm_jax.bench.pytorch.step import TorchStep, torch_name, triplet

    config = small(name, **changes)
    config, text, data = random_data(config, images=8, **SHAPES)
    run = build_run(config, text, data)
    if WORD_PRIOR in run.state.batch_stats:
        prior = jax.random.uniform(jax.random.key(2), run.state.batch_stats[WORD_PRIOR].shape, minval=0.5, maxval=4.0)
        state = run.state.replace(batch_stats={**run.state.batch_stats, WORD_PRIOR: prior})
        run = dataclasses.replace(run, state=state)
    leaves, tree = jax.tree.flatten(run.state.params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    params = jax.tree.unflatten(
        tree, [x + 0.1 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    )
    step = TorchStep(types.SimpleNamespace(config=config, data=data, state=run.state.replace(params=params)))
    assert step.parameters == sum(x.size for x in leaves)
    step.model.eval()
    with torch.no_grad():
        theirs = step.model(step.batch)[0]
    batch = data.batch(np.arange(8))
    variables = {"params": params, "batch_stats": run.state.batch_stats, **data.constants}
    encoded = run.model.apply(variables, batch.regions, batch.tokens, train=False)
    ours = run.model.apply(variables, *encoded, method="score")
    np.testing.assert_allclose(theirs.numpy(), ours, atol=1e-5)
    excluded = excluded_pairs(jnp.asarray(batch.image), same_image="mask", num_negatives=0)
    loss = triplet_loss(ours, margin=0.2, hardest=True, same_image=excluded)
    assert float(triplet(theirs, step.batch["excluded"], 0.2)) == pytest.approx(float(loss), abs=1e-4)
    step.model.zero_grad()
    triplet(step.model(step.batch)[0], step.batch["excluded"], 0.2).backward()

    def ours_loss(params):
        encoded = run.model.apply(variables | {"params": params}, batch.regions, batch.tokens, train=False)
        scores = run.model.apply(variables | {"params": params}, *encoded, method="score")
        return triplet_loss(scores, margin=0.2, hardest=True, same_image=excluded)

    gradient = jax.grad(ours_loss)(params)
    norms = {n: p.grad.norm().item() for n, p in step.model.named_parameters() if p.grad is not None}
    for name, value in zip(leaf_names(gradient), jax.tree.leaves(gradient), strict=True):
        if float(jnp.linalg.norm(value)) > 1e-4:  # those of key biases are rounding
            assert norms[torch_name(name)] == pytest.approx(float(jnp.linalg.norm(value)), rel=1e-2, abs=1e-3), name
    before = [p.detach().clone() for p in step.model.parameters()]
    assert step() > 0
    moved = [float((p.detach() - q).abs().sum()) for p, q in zip(step.model.parameters(), before, strict=True)]
    assert sum(moved) > 0


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "bank"), [("float32", "host"), ("bfloat16", "device")])
def test_a_step_is_measured(dtype, bank, tmp_path):
    config = small("afa", data__bank=bank)
    set_field(config, "model.dtype", dtype)
    with jax.numpy_dtype_promotion("standard"):
        found = bench_train(config, **SHAPES, repeats=2, against=None)
    assert found["dtype"] == dtype
    assert found["examples_per_second"] == pytest.approx(8 / found["seconds_median"])
    assert found["seconds_per_epoch_of_flickr30k_at_this_rate"] == pytest.approx(145_000 * found["seconds_median"] / 8)
    assert found["program_gb_held"] > 0
    json.dumps(found, allow_nan=False)
    json.dumps(bench_train(small("late"), **SHAPES, repeats=1, against=None), allow_nan=False)


def test_the_config_of_the_benchmark_is_bert_base():
    text = load(ROOT / "configs" / "bench_f30k.py").get_config().model.text
    assert (text.hidden_size, text.num_layers, text.num_heads, text.intermediate_size) == (768, 12, 12, 3072)


def test_the_stages_of_an_extraction_are_measured(tmp_path, rng):
    checkpoint(tmp_path / "vit", rng)
    flags = ["extract", f"--backbone=vit:{tmp_path / 'vit'}", "--images=6", "--regions=3", "--repeats=1"]
    code, out, err = command(*flags, module="itm_jax.bench.__main__")
    assert code == 0, err
    figures = dict(line.split(maxsplit=1) for line in out.splitlines())
    for name in ("decode", "write", "step"):
        assert float(figures[f"{name}_images_per_second"]) > 0
    assert figures["width"] == "16"
    code, _, err = command(*flags, "--against=torch", module="itm_jax.bench.__main__")
    assert code == 2
    assert "efficientnet-lite0" in err[-1]


@pytest.mark.slow
def test_the_time_to_the_first_score_is_measured(tmp_path):
    itm_jax.train(shrunk(train__epochs=1.0, optim__decay_epochs=()), tmp_path / "run")
    figures = bench_load(str(tmp_path / "run"), repeats=1)
    for part in ("first", "later"):
        steps = [figures[part][step] for step in ("import", "load", "image", "caption", "score")]
        assert min(steps) > 0
        assert figures[part]["total"] == pytest.approx(sum(steps))
    with pytest.raises(InputError, match="nowhere: no such directory"):
        bench_load("nowhere", repeats=1)
