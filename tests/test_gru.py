"""The BiGRU: equal to a slow reading and to PyTorch, independent of padding; its vocabulary is that of the train captions."""

import json
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_train import one_device, shrunk  # noqa: F401

from itm_jax import config as config_lib
from itm_jax import train as training
from itm_jax.config import default_config
from itm_jax.data import pipeline
from itm_jax.data.text import load_text, tokenize
from itm_jax.data.vocabulary import SPECIAL, build_vocabulary, read_vocabulary, to_text, word_tokenizer
from itm_jax.errors import InputError
from itm_jax.evaluate import evaluate
from itm_jax.mesh import put_batch
from itm_jax.modules.gru import BiGRU, GRUConfig
from itm_jax.run import augment_constants, build_run
from itm_jax.train_step import make_train_step
from itm_jax.validation import validate

CONFIG = GRUConfig(vocab_size=30, embed_size=6, width=5)
LENGTHS = (9, 4, 1, 0)


def inputs(rng, length=11):
    mask = np.arange(length)[None] < np.array(LENGTHS)[:, None]
    return jnp.array(np.where(mask, rng.integers(5, 30, mask.shape), 0), jnp.int32), jnp.array(mask)


def slow(params, ids, n):
    """States of one caption's n tokens, token by token."""
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    words = params["word"]["embedding"][ids[:n]]
    out = []
    for k, (name, order) in enumerate((("forward", range(n)), ("backward", range(n - 1, -1, -1)))):
        h, states = np.zeros(CONFIG.width), {}
        for t in order:
            x_r, x_z, x_n = np.split(words[t] @ params[name]["kernel"] + params[name]["bias"], 3)
            r, z, c = np.split(h @ params["state_kernel"][k], 3)
            r, z = sigmoid(x_r + r), sigmoid(x_z + z)
            h = (1 - z) * np.tanh(x_n + r * (c + params["state_bias"][k])) + z * h
            states[t] = h
        out.append(np.array([states[t] for t in range(n)]).reshape(n, CONFIG.width))
    return (out[0] + out[1]) / 2


def test_equals_the_slow_reading_whatever_the_padding(rng):
    ids, mask = inputs(rng)
    model = BiGRU(CONFIG)
    params = model.init(jax.random.key(0), ids, mask)["params"]
    states = np.asarray(model.apply({"params": params}, ids, mask))
    as64 = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    for row, n in enumerate(LENGTHS):
        np.testing.assert_allclose(states[row, :n], slow(as64, np.asarray(ids[row]), n), atol=1e-6)
        assert not states[row, n:].any()
        alone = model.apply({"params": params}, ids[row : row + 1, : max(n, 1)], mask[row : row + 1, : max(n, 1)])
        np.testing.assert_allclose(alone[0, :n], states[row, :n], atol=1e-6)
    assert 0.05 < np.abs(params["word"]["embedding"]).max() <= 0.1


def test_bfloat16_and_dropout(rng):
    ids, mask = inputs(rng)
    variables = BiGRU(CONFIG).init(jax.random.key(0), ids, mask)
    full = BiGRU(CONFIG).apply(variables, ids, mask)
    half = BiGRU(CONFIG, jnp.bfloat16).apply(variables, ids, mask)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), full, atol=0.02)
    dropping = BiGRU(GRUConfig(30, 6, 5, dropout=0.5))
    out = dropping.apply(variables, ids, mask, train=True, rngs={"dropout": jax.random.key(1)})
    assert not np.allclose(out, full)
    np.testing.assert_array_equal(dropping.apply(variables, ids, mask), full)


@pytest.mark.parity
def test_equals_pytorch(rng):
    torch = pytest.importorskip("torch")
    ids, mask = inputs(rng)
    params = BiGRU(CONFIG).init(jax.random.key(0), ids, mask)["params"]
    gru = torch.nn.GRU(CONFIG.embed_size, CONFIG.width, batch_first=True, bidirectional=True)
    tensor = lambda x: torch.nn.Parameter(torch.tensor(np.array(x)))  # noqa: E731
    for k, (name, suffix) in enumerate((("forward", ""), ("backward", "_reverse"))):
        bias = np.concatenate([np.zeros(2 * CONFIG.width, np.float32), params["state_bias"][k]])
        values = {"weight_ih": params[name]["kernel"].T, "bias_ih": params[name]["bias"]}
        values |= {"weight_hh": params["state_kernel"][k].T, "bias_hh": bias}
        for key, value in values.items():
            setattr(gru, f"{key}_l0{suffix}", tensor(value))
    states = BiGRU(CONFIG).apply({"params": params}, ids, mask)
    for row, n in enumerate(LENGTHS[:3]):
        words = torch.tensor(np.array(params["word"]["embedding"][ids[row : row + 1, :n]]))
        both = gru(words)[0].detach().numpy()[0]
        np.testing.assert_allclose(states[row, :n], (both[:, :5] + both[:, 5:]) / 2, atol=1e-5)


def test_the_vocabulary_is_that_of_the_train_captions():
    config = shrunk(model__text__encoder="gru", model__text__min_count=2)
    captions = pipeline.read_split(config, "train").captions
    words = build_vocabulary(captions, 2)
    counts = Counter(" ".join(captions).lower().replace(",", " , ").replace(".", " . ").split())
    expected = sorted((w for w, n in counts.items() if n >= 2), key=lambda w: (-counts[w], w))
    assert words == (*SPECIAL, *expected)
    tokenizer = word_tokenizer(words)
    table = tokenize(["A zzyzx %s." % words[5].upper()], tokenizer)  # noqa: UP031
    assert [words[i] for i in table.ids] == [
        "[CLS]",
        *(["a"] if "a" in words else ["[UNK]"]),
        "[UNK]",
        words[5],
        "." if "." in words else "[UNK]",
        "[SEP]",
    ]
    assert table.word_ids.tolist() == [-1, 0, 1, 2, 2, -1]


def test_steps_on_one_batch_lower_its_loss():
    config = shrunk(model__text__encoder="gru", model__text__min_count=1, data__augment__word_touch=0.0)
    split = pipeline.read_split(config, "train")
    text = load_text(config, source="scenes", captions=split.captions)
    data = pipeline.with_text(config, split, text)
    run = build_run(config, text, data)
    step = jax.jit(make_train_step(run.model, run.optimizer, augment_constants(config, text), config, warmup_steps=99))
    batch, state, losses = put_batch(data.batch(np.arange(0, 40, 5)), run.mesh), run.state, []
    before = jax.tree.leaves(state.params["text_encoder"])
    for _ in range(24):
        state, metrics = step(state, batch, jax.random.key(0))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.7 * losses[0]
    after = jax.tree.leaves(state.params["text_encoder"])
    assert all(not np.array_equal(x, y) for x, y in zip(before, after, strict=True))


def test_trains_evaluates_and_keeps_its_vocabulary(tmp_path):
    config = shrunk(model__text__encoder="gru", model__text__min_count=1, train__epochs=1)
    training.train(config, tmp_path / "run")
    words = read_vocabulary(tmp_path / "run" / "vocab.txt")
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert saved["model"]["text"]["vocab_size"] == len(words)
    assert saved["optim"]["text_lr_factor"] == 1.0
    content, _ = evaluate(config_lib.read_json(tmp_path / "run" / "config.json"), tmp_path / "run")
    assert content["protocols"]["full"]["rsum"] > 0

    other = config_lib.read_json(tmp_path / "run" / "config.json")
    other.data.scenes.seed = 3  # other captions: the words stay those of the run
    text = load_text(other, source="scenes", workdir=tmp_path / "run")
    assert text.words == words
    assert evaluate(other, tmp_path / "run")[1].name == "results-scenes-test.json"
    (tmp_path / "run" / "vocab.txt").unlink()
    with pytest.raises(InputError, match=r"vocab\.txt: cannot be read"):
        evaluate(other, tmp_path / "run")


def test_init_from_needs_the_same_vocabulary(tmp_path):
    fields = {"model__text__encoder": "gru", "model__text__min_count": 1, "train__epochs": 1}
    training.train(shrunk(**fields), tmp_path / "first")
    with pytest.raises(InputError, match=r"first/vocab\.txt: not the vocabulary of this run; set config\.model\.text"):
        training.train(
            shrunk(**fields | {"model__text__min_count": 5}, init_from=str(tmp_path / "first")), tmp_path / "second"
        )
    assert not (tmp_path / "second" / "checkpoints").exists()
    vocab = str(tmp_path / "first" / "vocab.txt")
    training.train(
        shrunk(**fields | {"model__text__vocab": vocab}, init_from=str(tmp_path / "first")), tmp_path / "third"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (to_text([*SPECIAL, "a", "b", "a"]), "line 8 repeats 'a' of line 6"),
        (to_text([*SPECIAL, "", "b"]), "line 6 is empty"),
        (to_text(SPECIAL[:4]), r"not a vocabulary: no \[MASK\]"),
        (b"[PAD]\n\xff\n", "line 2: not UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_bad_vocabularies_are_named_by_line(tmp_path, text, message):
    path = tmp_path / "vocab.txt"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=rf"vocab\.txt: {message}"):
        read_vocabulary(path)


def test_a_frozen_gru_is_refused():
    config = default_config()
    config.data.dir = "."
    config.model.text.encoder = "gru"
    validate(config)
    config.model.text.trainable = False
    with pytest.raises(InputError, match=r"encoder=bert and config\.model\.text\.pretrained"):
        validate(config)
