"""BERT: strict loading of checkpoints, and equality with PyTorch on real weights (extra `parity`)."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from itm_jax.data.text.text_input import SCENES_VOCAB
from itm_jax.errors import InputError
from itm_jax.modules.bert import Bert, BertConfig
from itm_jax.pretrained.huggingface import convert, load_bert

VOCAB = len(SCENES_VOCAB.read_text().splitlines())


def rewrite(directory: pathlib.Path, change) -> None:
    """Loads, changes and saves the checkpoint's tensors."""
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors")


def test_loads_and_runs(checkpoint):
    config, params, tokenizer = load_bert(str(checkpoint))
    assert config.num_layers == 2
    ids = jnp.array([tokenizer("a red circle on the snow")["input_ids"]])
    states = Bert(config).apply({"params": params}, ids, jnp.ones_like(ids, bool))
    assert states.shape == (1, 8, 8)
    init = Bert(config).init(jax.random.key(0), ids, jnp.ones_like(ids, bool))["params"]
    assert jax.tree.structure(init) == jax.tree.structure(params)
    assert jax.tree.map(jnp.shape, init) == jax.tree.map(np.shape, params)


def test_legacy_names_of_layer_norm(checkpoint):
    _, before, _ = load_bert(str(checkpoint))
    rewrite(
        checkpoint, lambda t: t.update({"bert.embeddings.LayerNorm.gamma": t.pop("bert.embeddings.LayerNorm.weight")})
    )
    _, after, _ = load_bert(str(checkpoint))
    assert np.array_equal(before["norm"]["scale"], after["norm"]["scale"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("bert.encoder.layer.1.output.dense.bias"), "missing encoder.layer.1.output.dense.bias"),
        (lambda t: t.update(extra=np.zeros(3, np.float32)), "unexpected extra"),
        (lambda t: t.update({"bert.embeddings.LayerNorm.bias": np.zeros(5, np.float32)}), r"has shape \(5,\)"),
    ],
)
def test_parameters_that_do_not_fit_are_named(checkpoint, change, message):
    rewrite(checkpoint, change)
    with pytest.raises(InputError, match=message):
        load_bert(str(checkpoint))


def renamed(old, new):
    """Renames all tensors whose names begin with `old`."""
    return lambda t: [t.update({new + k.removeprefix(old): t.pop(k)}) for k in list(t) if k.startswith(old)]


@pytest.mark.parametrize("prefix", ["", "module.", "module.bert.", "0.auto_model.", "bert."])
def test_usual_prefixes_of_names_are_taken_by_themselves(checkpoint, prefix):
    _, before, _ = load_bert(str(checkpoint))
    rewrite(checkpoint, renamed("bert.", prefix))
    _, after, _ = load_bert(str(checkpoint))
    assert jax.tree.all(jax.tree.map(np.array_equal, before, after))


def test_another_prefix_is_said_in_one_short_line(checkpoint):
    rewrite(checkpoint, renamed("bert.", "text_tower.transformer."))
    with pytest.raises(InputError) as caught:
        load_bert(str(checkpoint))
    message = str(caught.value)
    assert "missing embeddings.LayerNorm.bias; missing embeddings.LayerNorm.weight; missing " in message
    assert "; and 71 more; the encoder's names begin with 'text_tower.transformer.': save its tensors" in message
    assert len(message) < 500


def test_two_encoders_in_one_file_are_not_mixed(checkpoint):
    rewrite(checkpoint, lambda t: t.update({k.replace("bert.", "module."): x for k, x in list(t.items())}))
    with pytest.raises(InputError, match="a second tensor for "):
        load_bert(str(checkpoint))


def test_folders_of_the_hubs_cache_and_pointers_of_git_lfs_are_named(checkpoint, tmp_path):
    snapshot = tmp_path / "models--google--tiny-bert" / "snapshots" / "1f2e"
    snapshot.mkdir(parents=True)
    for name in ("config.json", "vocab.txt", "model.safetensors"):
        (checkpoint / name).rename(snapshot / name)
    with pytest.raises(
        InputError, match=r"a folder of the hub's cache; pass .*/snapshots/1f2e, or the name google/tiny"
    ):
        load_bert(str(tmp_path / "models--google--tiny-bert"))
    load_bert(str(snapshot))
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 90868376\n"
    for name in ("vocab.txt", "model.safetensors", "config.json"):
        (snapshot / name).write_text(pointer)
        with pytest.raises(InputError, match=rf"{name}: a pointer of Git LFS, not the file itself; run git lfs pull"):
            load_bert(str(snapshot))


def test_a_folder_of_a_package_is_found_wherever_it_is_installed(checkpoint, monkeypatch):
    package = checkpoint / "some_weights"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    for name in ("config.json", "vocab.txt", "model.safetensors"):
        (checkpoint / name).rename(package / "model" / name)
    with pytest.raises(InputError, match="package:some_weights/model: no Python package some_weights is installed"):
        load_bert("package:some_weights/model")
    monkeypatch.syspath_prepend(checkpoint)
    assert load_bert("package:some_weights/model")[0].num_layers == 2
    with pytest.raises(InputError, match="the package some_weights has no directory large"):
        load_bert("package:some_weights/large")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, "config.json: cannot be read"),
        ("config.json", "{", "not JSON"),
        ("config.json", '{"model_type": "gpt2"}', "gpt2"),
        ("config.json", '{"model_type": "bert"}', "missing vocab_size"),
        ("model.safetensors", None, "no model.safetensors"),
        ("model.safetensors", "damaged", "cannot be read as safetensors"),
        ("vocab.txt", None, "tokenizer"),
    ],
)
def test_broken_directories(checkpoint, file, content, message):
    (checkpoint / file).unlink()
    if content is not None:
        (checkpoint / file).write_text(content)
    with pytest.raises(InputError, match=message):
        load_bert(str(checkpoint))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_act", "gelu9"),
        ("num_hidden_layers", 0),
        ("layer_norm_eps", 2.0),
        ("hidden_size", 9),
    ],
)
def test_an_invalid_size_is_named_as_the_file_names_it(checkpoint, field, value):
    path = checkpoint / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(InputError, match=rf"config\.json: {field} is {value!r}, "):
        load_bert(str(checkpoint))


def test_a_pickle_is_never_read(checkpoint):
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    with pytest.raises(InputError, match="is a pickle and is not read"):
        load_bert(str(checkpoint))


def test_missing_directory():
    with pytest.raises(InputError, match="no such directory"):
        load_bert("./nowhere/at/all")


def test_more_tokens_than_positions(checkpoint):
    config, params, _ = load_bert(str(checkpoint))
    with pytest.raises(ValueError, match="13 tokens"):
        Bert(config).apply({"params": params}, jnp.zeros((1, 13), jnp.int32), jnp.ones((1, 13), bool))


def test_padding_does_not_matter_and_nothing_valid_is_finite():
    config = BertConfig(30, 16, 2, 2, 32, 12)
    ids = jnp.arange(6)[None]
    params = Bert(config).init(jax.random.key(0), ids, jnp.ones((1, 6), bool))
    alone = Bert(config).apply(params, ids, jnp.ones((1, 6), bool))
    padded = jnp.concatenate([ids, jnp.full((1, 5), 7)], axis=1)
    wide = Bert(config).apply(params, padded, jnp.arange(11)[None] < 6)
    np.testing.assert_allclose(wide[:, :6], alone, atol=1e-5)
    assert np.isfinite(Bert(config).apply(params, ids, jnp.zeros((1, 6), bool))).all()


def test_dropout_keeps_the_mean_and_needs_a_key():
    config = BertConfig(30, 16, 1, 2, 32, 12, dropout=0.5)
    ids, mask = jnp.zeros((64, 6), jnp.int32), jnp.ones((64, 6), bool)
    params = Bert(config).init(jax.random.key(0), ids, mask)
    run = lambda seed: Bert(config).apply(params, ids, mask, train=True, rngs={"dropout": jax.random.key(seed)})  # noqa: E731
    assert np.array_equal(run(0), run(0))
    assert not np.array_equal(run(0), run(1))
    np.testing.assert_allclose(np.mean(run(0)), np.mean(Bert(config).apply(params, ids, mask)), atol=0.1)


def test_convert_refuses_another_architecture(checkpoint):
    tensors = {k.removeprefix("bert."): v for k, v in load_file(checkpoint / "model.safetensors").items()}
    with pytest.raises(InputError, match=r"missing encoder\.layer\.2"):
        convert(tensors, BertConfig(VOCAB, 8, 3, 2, 16, 12), "here")


@pytest.mark.parity
def test_equals_pytorch_on_real_weights(minilm):
    torch = pytest.importorskip("torch", reason="pip install -e '.[parity]'")
    from transformers import BertModel

    config, params, tokenizer = load_bert(minilm)
    text = [
        "A dog runs.",
        "Two men in red shirts play the guitar in a park , near an unbelievably re-used fountain .",
        "x",
    ]
    batch = tokenizer(text, padding=True, return_tensors="np")
    reference = BertModel.from_pretrained(minilm, attn_implementation="eager").eval()
    with torch.no_grad():
        theirs = reference(**{k: torch.tensor(v) for k, v in batch.items()}).last_hidden_state.numpy()
    mask = batch["attention_mask"].astype(bool)
    ours = Bert(config).apply({"params": params}, jnp.array(batch["input_ids"], jnp.int32), jnp.array(mask))
    difference = np.abs(np.asarray(ours) - theirs)[mask].max()
    print(f"max abs difference on valid tokens: {difference:.2e}")
    assert difference <= 1e-5
