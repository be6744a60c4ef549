"""What saves memory in the text encoder changes no gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_bank import data_of
from test_train import lines, one_device, shrunk  # noqa: F401

from itm_jax import train as training
from itm_jax.errors import InputError
from itm_jax.modules.bert import Bert, BertConfig
from itm_jax.modules.gru import BiGRU, GRUConfig
from itm_jax.modules.text_encoder import encode_in_parts
from itm_jax.validation import validate


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
        ({"train__text_parts": 0}, "greater than 0"),
        ({"train__remat": True, "model__text__encoder": "gru"}, "of no effect"),
        ({"train__text_parts": 2, "model__text__trainable": False, "model__text__pretrained": "x"}, "of no effect"),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises(InputError, match=message):
        validate(shrunk(**changes))
