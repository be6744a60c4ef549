"""What saves memory in the text encoder changes no gradient."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.runs import data_of, lines, shrunk

from itm_jax.config.fields import read_json, to_json
from itm_jax.config.validation import validate
from itm_jax.data import pipeline
from itm_jax.devices import programs
from itm_jax.devices.mesh import make_mesh
from itm_jax.errors import InputError
from itm_jax.evaluation.encode import Encoded
from itm_jax.evaluation.rank import Ranked, Scorer
from itm_jax.metrics.retrieval import Ranks
from itm_jax.modules.bert import Bert, BertConfig
from itm_jax.modules.gru import BiGRU, GRUConfig
from itm_jax.modules.text_encoder import encode_in_parts
from itm_jax.runs import restore as restoring
from itm_jax.training import build as run_lib
from itm_jax.training import fit
from itm_jax.training import loop as training
from itm_jax.training.fit import check_step

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.mark.parametrize("encoder", ["bert", "remat", "gru"])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_parts_give_the_states_and_the_gradient_of_the_whole(encoder, parts):
    tokens = data_of(shrunk()).tokens(np.arange(8))
    bert = BertConfig(int(tokens.ids.max()) + 1, 16, 2, 2, 32, 64, dropout=0.0)
    module = BiGRU(GRUConfig(bert.vocab_size, 6, 8, 0.0)) if encoder == "gru" else Bert(bert, remat=encoder == "remat")
    plain = module if encoder == "gru" else Bert(bert)
    params = plain.init(jax.random.key(0), tokens.ids, tokens.mask)["params"]

    def loss(states):  # mixes the rows of the batch, as negatives do
        return jnp.sum(jnp.tanh(jnp.einsum("ble,cle->bc", states, states)))

    def whole(params):
        return loss(plain.apply({"params": params}, tokens.ids, tokens.mask))

    def in_parts(params):
        return loss(encode_in_parts(module, params, tokens, parts=parts, key=jax.random.key(1)))

    a, b = jax.value_and_grad(whole)(params), jax.value_and_grad(in_parts)(params)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


def test_the_gradient_meets_the_masks_that_the_states_were_made_with():
    """With dropout the gradient is that of the drawn masks: along the parameters it is the slope of the loss itself."""
    tokens = data_of(shrunk()).tokens(np.arange(4))
    module = Bert(BertConfig(int(tokens.ids.max()) + 1, 16, 1, 2, 32, 64, dropout=0.3))
    params = module.init(jax.random.key(0), tokens.ids, tokens.mask)["params"]
    weights = jax.random.normal(jax.random.key(2), (4, tokens.ids.shape[1], 16))

    def loss(size):
        scaled = jax.tree.map(lambda x: x * size, params)
        return jnp.sum(weights * encode_in_parts(module, scaled, tokens, parts=2, key=jax.random.key(1)))

    # Flax's norms promote with float32
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        params, weights = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), (params, weights))
        module = module.clone(dtype=jnp.float64)
        size = jnp.asarray(1.0, jnp.float64)
        slope = (loss(size + 1e-3) - loss(size - 1e-3)) / 2e-3
        assert float(jax.grad(loss)(size)) == pytest.approx(float(slope), rel=1e-3)


@pytest.mark.parametrize("changes", [{"train__text_parts": 4}, {"train__remat": True}])
def test_a_run_has_the_same_losses(tmp_path, changes):
    same = {"model__text__dropout": 0.0, "train__epochs": 0.5}
    training.train(shrunk(**same), tmp_path / "plain")
    training.train(shrunk(**same, **changes), tmp_path / "saving")
    a, b = ([x["loss"] for x in lines(tmp_path / name) if "loss" in x] for name in ("plain", "saving"))
    assert a == pytest.approx(b, rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__text_parts": 3}, "no multiple"),
        ({"train__text_parts": 0}, "at least 1"),
        ({"train__remat": True, "model__text__encoder": "gru"}, "no effect"),
        ({"train__text_parts": 2, "model__text__trainable": False, "model__text__pretrained": "x"}, "no effect"),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises(InputError, match=message):
        validate(shrunk(**changes))


def structs(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


@pytest.mark.slow
def test_an_optimiser_in_parts_has_the_same_numbers(tmp_path, monkeypatch):
    """Four devices each hold a part of Adam's moments; a run begun so goes on without, and the other way round."""
    monkeypatch.setattr(run_lib, "make_mesh", make_mesh)
    training.train(shrunk(optim__sharded=False), tmp_path / "whole")
    with pytest.MonkeyPatch.context() as m:
        seen = []
        m.setattr(training, "check_step", lambda step, state, *rest: seen.append(structs(state)) or "")
        training.train(shrunk(optim__sharded=True), tmp_path / "parts")
    like = seen[0]
    parts = {np.prod(x.sharding.shard_shape(x.shape)) / x.size for x in jax.tree.leaves(like.opt_state) if x.size > 100}
    assert parts == {0.25}
    assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves((like.params, like.batch_stats)))
    losses = [[x["loss"] for x in lines(tmp_path / name) if "loss" in x] for name in ("whole", "parts")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for name, other in (("parts", False), ("whole", True)):  # and each goes on as the other
        longer = read_json(tmp_path / name / "config.json")
        longer.train.epochs = 2.5
        (tmp_path / name / "config.json").write_text(to_json(longer))
        longer.optim.sharded = other
        training.train(longer, tmp_path / name)
        assert [x["step"] for x in lines(tmp_path / name) if "loss" in x] == list(range(1, 26))
    state, progress = restoring.restore(tmp_path / "parts", 20, like)
    assert progress.total_steps == 20
    kernel = lambda s: s.opt_state[1].mu["image_branch"]["enhancement"]["linear"]["kernel"]  # noqa: E731
    assert kernel(state).sharding == kernel(like).sharding


def test_a_step_that_does_not_fit_is_refused(tmp_path, monkeypatch, capfd):
    training.train(shrunk(train__epochs=0.1), tmp_path / "fits")
    assert "a step of 8 pairs, 24 tokens each: 0.00 GB held on each device" in capfd.readouterr().err
    monkeypatch.setattr(fit, "device_memory", lambda device: 100_000)
    with pytest.raises(
        InputError,
        match=r"a step of 8 pairs.* needs 0.0 GB on each device, which has 0.0 GB; set config.data.batch_size lower, or ",
    ):
        training.train(shrunk(), tmp_path / "run")
    monkeypatch.undo()
    training.train(shrunk(data__batch_size=4, train__epochs=0.1), tmp_path / "run")  # the workdir was left free


def test_a_device_that_does_not_say_what_it_has():
    gpu = types.SimpleNamespace(platform="gpu", memory_stats=lambda: None)
    assert programs.device_memory(gpu) is None
    known = types.SimpleNamespace(platform="gpu", memory_stats=lambda: {"bytes_limit": 7})
    assert programs.device_memory(known) == 7
    assert programs.device_memory(jax.devices()[0]) > 1e8
    silent = types.SimpleNamespace(memory_analysis=lambda: None)
    assert programs.memory_of(silent) is None


def test_the_largest_step_is_compiled_once(tmp_path, monkeypatch):
    """What was compiled ahead of time is what training runs."""
    compiled, inside = [], []
    check = check_step

    def watched(*args):
        before = len(compiled)
        line = check(*args)
        inside.append(len(compiled) - before)
        inside.append(len(compiled))
        return line

    def batch_of_longest(data, captions, **rest):
        return batch(data, np.full(len(captions), data.table.lengths.argmax()), **rest)

    batch = pipeline.TextSplit.batch
    monkeypatch.setattr(training, "check_step", watched)
    monkeypatch.setattr(pipeline.TextSplit, "batch", batch_of_longest)
    ranks = Ranked({"full": Ranks(np.zeros(4, int), np.zeros(20, int))}, {}, None, None, Encoded(None, []))
    monkeypatch.setattr(Scorer, "ranks", lambda _: ranks)
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **kw: (
            compiled.append(kw.get("fun_name")) if event.endswith("backend_compile_duration") else None
        )
    )
    training.train(shrunk(train__epochs=0.5), tmp_path)
    steps = [n for n, name in enumerate(compiled) if name and "train_step" in name]
    assert len(steps) == 1
    assert inside[0] == 1
    assert steps[0] == inside[1] - 1


def test_compiled_programs_are_kept_on_accelerators_only(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    config = shrunk(data__cache_dir=str(tmp_path))
    before = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        programs.use_cache(config)
        assert jax.config.jax_compilation_cache_dir is None
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        programs.use_cache(config)
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "xla")
        jax.config.update("jax_compilation_cache_dir", "elsewhere")
        programs.use_cache(config)
        assert jax.config.jax_compilation_cache_dir == "elsewhere"
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
