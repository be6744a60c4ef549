"""The BiGRU: equal to a slow reading and to PyTorch, independent of padding; its vocabulary is that of the train captions."""

import json
import os
import signal
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.commands import command
from support.runs import lines, run_of, shrunk

from itm_jax.config.default import default_config
from itm_jax.config.fields import read_json, to_json
from itm_jax.config.validation import validate
from itm_jax.data.splits import read_split
from itm_jax.data.text.text_input import load_text
from itm_jax.data.text.tokens import tokenize
from itm_jax.data.text.vocabulary import SPECIAL, build_vocabulary, read_vocabulary, to_text, word_tokenizer
from itm_jax.devices.mesh import put_batch
from itm_jax.errors import InputError, TerminatedError
from itm_jax.evaluation.evaluate import evaluate
from itm_jax.modules.gru import BiGRU, GRUConfig
from itm_jax.training import loop as training
from itm_jax.training.build import augment_constants
from itm_jax.training.step import make_train_step

pytestmark = pytest.mark.usefixtures("one_device")

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


def test_initial_values_are_those_of_scan(rng):
    params = BiGRU(CONFIG).init(jax.random.key(0), *inputs(rng))["params"]
    assert 0.09 < np.abs(params.pop("word")["embedding"]).max() <= 0.1
    largest = [float(np.abs(x).max()) for x in jax.tree.leaves(params)]
    assert len(largest) == 6
    assert 0.8 * CONFIG.width**-0.5 < min(largest) <= max(largest) <= CONFIG.width**-0.5


def test_holes_in_the_mask_are_as_if_cut_out(rng):
    ids, _ = inputs(rng)
    keep = np.array([0, 2, 3, 7, 10])
    mask = jnp.zeros(ids.shape, bool).at[:, keep].set(True)
    model = BiGRU(CONFIG)
    variables = model.init(jax.random.key(0), ids, mask)
    states = np.asarray(model.apply(variables, ids, mask))
    cut = model.apply(variables, ids[:, keep], jnp.ones((len(ids), len(keep)), bool))
    np.testing.assert_allclose(states[:, keep], cut, atol=1e-6)
    assert not np.delete(states, keep, axis=1).any()


def test_nothing_of_another_item_or_of_padding_reaches_the_gradient(rng):
    ids, mask = inputs(rng)
    variables = BiGRU(CONFIG).init(jax.random.key(0), ids, mask)
    of_row = lambda v, ids: jnp.sum(jnp.square(BiGRU(CONFIG).apply(v, ids, mask)[1]))  # noqa: E731
    other = jnp.where(mask & (jnp.arange(len(ids)) == 1)[:, None], ids, 29)  # other items, other padding
    a, b = (jax.grad(of_row)(variables, x) for x in (ids, other))
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert np.abs(x).max() > 0
        np.testing.assert_allclose(x, y, atol=1e-6)


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
    captions = read_split(config, "train").captions
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
    run, data = run_of(config)
    constants = augment_constants(run.config, run.text)
    step = jax.jit(make_train_step(run.model, run.optimizer, constants, run.config, constants={}, warmup_steps=99))
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
    content, _ = evaluate(read_json(tmp_path / "run" / "config.json"), tmp_path / "run")
    assert content["protocols"]["full"]["rsum"] > 0

    other = read_json(tmp_path / "run" / "config.json")
    other.data.scenes.seed = 3  # other captions: the words stay those of the run
    text = load_text(other, workdir=tmp_path / "run")
    assert text.words == words
    assert evaluate(other, tmp_path / "run")[1].name == "results-scenes-test.json"
    (tmp_path / "run" / "vocab.txt").unlink()
    with pytest.raises(InputError, match=r"vocab\.txt: cannot be read"):
        evaluate(other, tmp_path / "run")


def write_dataset(directory, **words):
    """A `precomp` directory; each split's captions name its own words."""
    rng = np.random.default_rng(0)
    directory.mkdir()
    for split, images in (("train", 12), ("dev", 4), ("test", 4)):
        np.save(directory / f"{split}_ims.npy", rng.standard_normal((images, 3, 6)).astype(np.float32))
        captions = [f"{rng.choice(words[split])} with a {rng.choice(words[split])}" for _ in range(2 * images)]
        captions[0] = " ".join(words[split])  # each of them occurs
        (directory / f"{split}_caps.txt").write_text("\n".join(captions) + "\n")


def precomp_config(directory, **changes):
    """The shrunk config with a BiGRU on files."""
    fields = {"data__source": "precomp", "data__name": "tiny", "data__dir": str(directory)}
    fields |= {"model__text__encoder": "gru", "model__text__min_count": 1, "train__epochs": 1}
    return shrunk(**fields | changes)


def test_words_of_dev_and_test_are_unknown_and_evaluation_keeps_the_vocabulary(tmp_path):
    write_dataset(tmp_path / "d", train=["dog", "cat"], dev=["dog", "zebra"], test=["cat", "yak"])
    write_dataset(tmp_path / "other", train=["yak", "emu"], dev=["yak", "emu"], test=["emu", "dog"])
    config, run = precomp_config(tmp_path / "d"), tmp_path / "run"
    training.train(config, run)
    before = (run / "vocab.txt").read_bytes()
    assert set(before.decode().split()) == {*SPECIAL, "dog", "cat", "with", "a"}
    for changes, name in (
        ({}, "results.json"),
        ({"test_split": "dev"}, "results-tiny-dev.json"),
        ({"dir": str(tmp_path / "other"), "name": "other"}, "results-other-test.json"),
    ):
        config = read_json(run / "config.json")
        config.data.update(changes)
        _, path = evaluate(config, run)
        assert path.name == name
        assert (run / "vocab.txt").read_bytes() == before
        text = load_text(config, workdir=run)
        words = [text.words[i] for i in tokenize(["dog zebra yak"], text.tokenizer).ids]
        assert words == ["[CLS]", "dog", "[UNK]", "[UNK]", "[SEP]"]


def test_a_cut_run_goes_on_with_its_own_vocabulary(tmp_path, monkeypatch):
    write_dataset(tmp_path / "d", train=["dog", "cat"], dev=["dog"], test=["cat"])
    given = tmp_path / "given.txt"
    given.write_text(to_text([*SPECIAL, "dog", "cat", "a"]))
    config = precomp_config(tmp_path / "d", model__text__vocab=str(given))
    training.train(config, tmp_path / "whole")
    original, calls = training.put_part, []

    def stop_at_the_second(batch, mesh):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(batch, mesh)

    monkeypatch.setattr(training, "put_part", stop_at_the_second)
    with pytest.raises(TerminatedError, match="step 2, saved"):
        training.train(config, tmp_path / "cut")
    monkeypatch.setattr(training, "put_part", original)
    given.write_text(to_text([*SPECIAL, "a", "cat", "dog"]))  # as many words, so that no shape would tell
    training.train(config, tmp_path / "cut")
    assert lines(tmp_path / "whole") == lines(tmp_path / "cut")
    assert read_vocabulary(tmp_path / "cut" / "vocab.txt")[5:] == ("dog", "cat", "a")
    scores = [evaluate(config, tmp_path / name)[0]["protocols"] for name in ("whole", "cut")]
    assert scores[0] == scores[1]


def test_what_a_start_cut_short_has_left_is_no_vocabulary(tmp_path):
    (tmp_path / "vocab.txt").write_text(to_text([*SPECIAL, "old"]))
    config = precomp_config(tmp_path)
    assert load_text(config, workdir=tmp_path, captions=["new"]).words[5:] == ("new",)
    (tmp_path / "config.json").write_text(to_json(config))
    assert load_text(config, workdir=tmp_path, captions=["new"]).words[5:] == ("old",)


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
    (tmp_path / "first" / "vocab.txt").unlink()
    with pytest.raises(InputError, match=r"first/vocab\.txt: cannot be read"):
        training.train(shrunk(**fields, init_from=str(tmp_path / "first")), tmp_path / "fourth")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (to_text([*SPECIAL, "a", "b", "a"]), "line 8 repeats 'a' of line 6"),
        (to_text([*SPECIAL, "", "b"]), "line 6 is empty"),
        (to_text(SPECIAL[:4]), r"not a vocabulary: it has no \[MASK\]"),
        (to_text(SPECIAL), "not a vocabulary: it has no words besides"),
        ("", "line 1 is empty"),
        (b"[PAD]\n\xff\n", r"line 2: not UTF-8 \(byte 0xff\); save"),
        (None, "cannot be read"),
    ],
)
def test_bad_vocabularies_are_named_by_line(tmp_path, text, message):
    path = tmp_path / "vocab.txt"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=rf"vocab\.txt: {message}"):
        read_vocabulary(path)


def test_words_that_are_all_too_rare_are_an_input_error():
    with pytest.raises(InputError, match=r"min_count=3: no word of the train captions occurs so often"):
        build_vocabulary(["a dog", "a cat"], 3)


@pytest.mark.parametrize(
    ("encoder", "field", "value", "message"),
    [
        ("gru", "trainable", False, r"encoder=bert and config\.model\.text\.pretrained"),
        (
            "gru",
            "pretrained",
            "some/bert",
            r"pretrained='some/bert': has no effect on config\.model\.text\.encoder=gru",
        ),
        ("gru", "embed_size", 0, "embed_size=0: must be at least 1"),
        ("gru", "dropout", 1.0, r"dropout=1\.0: must lie in \[0, 1\)"),
        ("bert", "min_count", 1, r"min_count=1: has no effect on config\.model\.text\.encoder=bert"),
        ("bert", "embed_size", 64, "embed_size=64: has no effect"),
    ],
)
def test_fields_that_cannot_be_meant_are_named(encoder, field, value, message):
    config = default_config()
    config.data.dir = "."
    config.model.text.encoder = encoder
    validate(config)
    config.model.text[field] = value
    with pytest.raises(InputError, match=message):
        validate(config)


def test_a_bert_field_given_with_a_gru_ends_the_command(tmp_path):
    arguments = ["--config=configs/quickstart.py", f"--workdir={tmp_path / 'run'}", "--config.model.text.encoder=gru"]
    code, _, err = command(*arguments, "--config.model.text.num_layers=3")
    message = "config.model.text.num_layers: has no effect on config.model.text.encoder=gru; leave it out"
    assert (code, err) == (2, [f"error: {message}"])
    assert not (tmp_path / "run").exists()
