"""Checkpoints of itmAFA and of VSE∞: the same embeddings as their networks; files that are not right are refused."""

import argparse
import json
import os
import pathlib
import pickle
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.commands import command

import itm_jax
from itm_jax.config.model_fields import depends_on_batch
from itm_jax.config.validation import problems
from itm_jax.data.text.text_input import SCENES_VOCAB
from itm_jax.errors import InputError
from itm_jax.models import build
from itm_jax.pretrained.authors import read_authors
from itm_jax.structs import Regions, Tokens

KINDS = ("itmafa", "vse_infty")
POSITIONS, ITEMS, BATCH = 48, 100, 25
WORDS = len(SCENES_VOCAB.read_text().splitlines())


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="needs the extra `parity`")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Directory with the vocabulary and the architecture of a small BERT, without weights."""
    directory = tmp_path_factory.mktemp("bert")
    shutil.copy(SCENES_VOCAB, directory / "vocab.txt")
    architecture = {
        "model_type": "bert", "vocab_size": WORDS, "hidden_size": 8,
        "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "hidden_act": "gelu",
        "max_position_embeddings": POSITIONS, "type_vocab_size": 2,
    }  # fmt: skip
    (directory / "config.json").write_text(json.dumps(architecture))
    return str(directory)


@pytest.fixture(scope="module")
def made(torch, text):
    """{kind: its two networks}."""
    import transformers
    from support.authors_networks import networks

    bert = transformers.BertConfig.from_pretrained(text)
    return {kind: networks(kind, bert) for kind in KINDS}


def items(rng):
    """Features and token ids of the items, as ragged lists."""
    regions = [rng.standard_normal((n, 10)).astype(np.float32) for n in rng.integers(3, 46, ITEMS)]
    captions = [rng.integers(5, WORDS, n) for n in rng.integers(3, POSITIONS, ITEMS)]
    return regions, captions


def padded(rows, length=0):
    """[b n ...] with zeros behind the rows of an item, and how many rows each item has."""
    lengths = [len(x) for x in rows]
    out = np.zeros((len(rows), length or max(lengths), *rows[0].shape[1:]), rows[0].dtype)
    for k, x in enumerate(rows):
        out[k, : len(x)] = x
    return out, lengths


def theirs(torch, encoders, regions, captions, batch):
    found = []
    for encoder, rows in zip(encoders, (regions, captions), strict=True):
        with torch.no_grad():
            parts = [padded(rows[k : k + batch]) for k in range(0, len(rows), batch)]
            found.append(torch.cat([encoder(torch.tensor(x), lengths) for x, lengths in parts]).numpy())
    return found


def ours(read, regions, captions, batch, **fields):
    config = read.config.model.copy_and_resolve_references()
    for name, value in fields.items():
        config.aggregation[name] = value
    model = build(config)
    encode = jax.jit(lambda x, method: model.apply(read.variables, x, train=False, method=method), static_argnums=1)
    images, texts = [], []
    for k in range(0, len(regions), batch):
        x, lengths = padded(regions[k : k + batch], 46)
        mask = jnp.arange(x.shape[1])[None] < jnp.array(lengths)[:, None]
        images.append(encode(Regions(jnp.array(x), mask), "encode_images"))
        ids, lengths = padded(captions[k : k + batch], POSITIONS)  # padded to a bucket, beyond the longest caption
        mask = jnp.arange(POSITIONS)[None] < jnp.array(lengths)[:, None]
        texts.append(encode(Tokens(jnp.array(ids, jnp.int32), mask), "encode_captions"))
    return np.concatenate(images), np.concatenate(texts)


@pytest.mark.parity
@pytest.mark.parametrize(("kind", "parallel"), [("itmafa", True), ("vse_infty", False)])
def test_embeddings_equal_those_of_their_network(torch, made, text, rng, tmp_path, kind, parallel):
    from support.authors_networks import checkpoint_of

    torch.save(checkpoint_of(made[kind], parallel=parallel), tmp_path / "model_best.pth")
    read = read_authors(tmp_path / "model_best.pth", kind, text=text)
    regions, captions = items(rng)
    expected = theirs(torch, made[kind], regions, captions, BATCH)
    for got, want in zip(ours(read, regions, captions, BATCH), expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)
    assert depends_on_batch(read.config.model) == (kind == "itmafa")
    if kind == "itmafa":  # each item as a batch of its own, in one batch of all
        few = regions[:BATCH], captions[:BATCH]
        alone = theirs(torch, made[kind], *few, 1)
        for got, want in zip(ours(read, *few, BATCH, variant="official_single"), alone, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-5)
        assert np.abs(alone[1] - expected[1][:BATCH]).max() > 1e-2  # the batch matters
    config = read.config
    assert (config.data.name, config.data.batch_size, config.model.width) == ("f30k", BATCH, 16)
    assert [p for p in problems(config) if "data.dir" not in p] == []
    assert read.features == 10
    assert (read.details["kind"], read.details["epoch"], read.details["best_rsum"]) == (kind, 7, 500.5)
    assert read.details["opt"]["learning_rate"] == 5e-4
    assert read.tokenizer.encode("a red circle").tokens[0] == "[CLS]"


@pytest.mark.parity
@pytest.mark.parametrize("kind", KINDS)
def test_variables_are_those_of_the_model_and_old_files_are_read_too(torch, made, text, tmp_path, kind):
    from support.authors_networks import checkpoint_of

    content = checkpoint_of(made[kind])
    content["opt"] = vars(content["opt"])
    content["model"][1]["bert.embeddings.position_ids"] = torch.arange(POSITIONS)[None]  # older transformers kept it
    torch.save(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    read = read_authors(tmp_path / "old.pth", kind, text=text)
    regions = Regions(jnp.zeros((2, 3, 10)), jnp.ones((2, 3), bool))
    tokens = Tokens(jnp.zeros((2, 4), jnp.int32), jnp.ones((2, 4), bool))
    init = jax.eval_shape(lambda k: build(read.config.model).init(k, regions, tokens, train=False), jax.random.key(0))
    assert jax.tree.structure(init) == jax.tree.structure(read.variables)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), init) == jax.tree.map(
        lambda x: (x.shape, x.dtype), read.variables
    )


def drop(side, name):
    return lambda c: c["model"][side].pop(name)


def reshape(side, name, shape):
    import torch

    return lambda c: c["model"][side].update({name: torch.zeros(shape)})


def option(name, value):
    return lambda c: setattr(c["opt"], name, value)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("itmafa", lambda: drop(0, "fc.weight"), r"image encoder: missing fc\.weight"),
        ("itmafa", lambda: drop(0, "mlp.bns.0.running_var"), r"image encoder: missing mlp\.bns\.0\.running_var"),
        ("itmafa", lambda: drop(1, "bert.encoder.layer.1.output.dense.bias"), r"text encoder: missing bert\.encoder"),
        ("vse_infty", lambda: drop(1, "gpool.gru.bias_hh_l0_reverse"), r"missing gpool\.gru\.bias_hh_l0_reverse"),
        ("itmafa", lambda: reshape(0, "mlp.bns.2.weight", 3), r"image encoder: unexpected mlp\.bns\.2\.weight"),
        ("itmafa", lambda: reshape(1, "attn.weight", 3), r"text encoder: unexpected attn\.weight"),
        ("itmafa", lambda: reshape(0, "fc.weight", (10, 16)), r"fc\.weight has shape \(10, 16\), expected \(16, 10\)"),
        ("vse_infty", lambda: reshape(0, "gpool.gru.weight_ih_l0", (32, 96)), r"\(32, 96\), expected \(96, 32\)"),
        (
            "itmafa",
            lambda: reshape(1, "bert.encoder.layer.0.attention.self.query.weight", (4, 16)),
            r"query\.weight has shape \(4, 16\), expected \(8, 8\)",
        ),
        ("itmafa", lambda: reshape(0, "module.fc.bias", 16), r"module\.fc\.bias: a second tensor for fc\.bias"),
        ("itmafa", lambda: lambda c: c["model"][0].update({"fc.bias": 3}), r"fc\.bias: a int; expected a dense tensor"),
        ("itmafa", lambda: option("embed_size", 32), r"fc\.weight has shape \(16, 10\), expected \(32, 10\)"),
        ("itmafa", lambda: option("img_dim", "10"), r"opt: img_dim is '10'; expected an integer of at least 2"),
        ("itmafa", lambda: option("no_imgnorm", True), r"opt: no_imgnorm is set"),
        ("itmafa", lambda: option("precomp_enc_type", "backbone"), r"precomp_enc_type is 'backbone', a network that"),
        ("itmafa", lambda: lambda c: delattr(c["opt"], "img_dim"), r"opt: has no img_dim"),
        ("itmafa", lambda: lambda c: c.pop("opt"), r"holds a dict with epoch, model, best_rsum, Eiters; expected"),
        ("itmafa", lambda: lambda c: c.update(model=c["model"][0]), r"model: expected a list of two state dicts"),
        ("vse_infty", lambda: reshape(1, "rnn.weight_ih_l0", (3, 3)), r"its text encoder is a BiGRU; only those with"),
    ],
)
def test_what_does_not_fit_is_named(torch, made, text, tmp_path, kind, change, message):
    from support.authors_networks import checkpoint_of

    content = checkpoint_of(made[kind])
    change()(content)
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(InputError, match=message) as caught:
        read_authors(tmp_path / "model.pth", kind, text=text)
    assert str(caught.value).startswith(str(tmp_path / "model.pth"))
    assert "\n" not in str(caught.value)


@pytest.mark.parity
def test_the_other_kind_is_told(torch, made, text, tmp_path):
    from support.authors_networks import checkpoint_of

    for kind, other in zip(KINDS, reversed(KINDS), strict=True):
        torch.save(checkpoint_of(made[kind]), tmp_path / "model.pth")
        with pytest.raises(InputError, match=rf"no checkpoint of --kind={other}; pass --kind={kind}"):
            read_authors(tmp_path / "model.pth", other, text=text)
    with pytest.raises(InputError, match=r"--kind=scan: must be one of itmafa, vse_infty"):
        read_authors(tmp_path / "model.pth", "scan", text=text)


@pytest.mark.parity
def test_files_that_are_no_checkpoints(torch, made, text, tmp_path):
    from support.authors_networks import checkpoint_of

    whole = tmp_path / "whole.pth"
    torch.save(checkpoint_of(made["itmafa"]), whole)
    contents = {
        "cut": whole.read_bytes()[:5000],
        "empty": b"",
        "words": b"hello",
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 9\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        message = "a pointer of Git LFS" if name == "lfs" else "not a checkpoint of PyTorch"
        with pytest.raises(InputError, match=rf"{name}: {message}"):
            read_authors(tmp_path / name, "itmafa", text=text)
    with pytest.raises(InputError, match="none: no such file"):
        read_authors(tmp_path / "none", "itmafa", text=text)
    torch.save([1, 2], whole)
    with pytest.raises(InputError, match="holds a list; expected a dict with model and opt"):
        read_authors(whole, "itmafa", text=text)


class Code:
    """Runs when it is unpickled."""

    def __init__(self, path: pathlib.Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parity
@pytest.mark.parametrize("new", [True, False])
def test_code_in_a_file_does_not_run(torch, text, tmp_path, new):
    sign = tmp_path / "it_ran"
    for k, content in enumerate([{"model": [], "opt": Code(sign)}, argparse.Namespace(model=Code(sign))]):
        path = tmp_path / f"{k}.pth"
        torch.save(content, path, _use_new_zipfile_serialization=new)
        with pytest.raises(InputError, match=r"pth: holds (posix|nt)\.mkdir, which is not data; it was not loaded"):
            read_authors(path, "itmafa", text=text)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Code(sign)))
    with pytest.raises(InputError, match=r"plain\.pth: "):
        read_authors(tmp_path / "plain.pth", "itmafa", text=text)
    assert not sign.exists()
    pickle.loads(pickle.dumps(Code(sign)))
    assert sign.exists()  # it does run where nothing stops it


def test_without_pytorch_the_message_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"needs PyTorch; pip install 'itm_jax\[parity\]'"):
        read_authors(tmp_path / "model.pth", "itmafa", text=".")


@pytest.mark.parity
@pytest.mark.parametrize("kind", KINDS)
def test_a_converted_checkpoint_is_loaded(torch, made, text, tmp_path, rng, kind):
    """`convert checkpoint` writes a folder that `itm_jax.load` reads; alone, an item is encoded as by read_authors."""
    from support.authors_networks import checkpoint_of

    path = tmp_path / "model_best.pth"
    torch.save(checkpoint_of(made[kind]), path)
    flags = [f"--kind={kind}", f"--file={path}", f"--text={text}", f"--out={tmp_path / 'out'}", "--license=mit"]
    code, out, err = command("checkpoint", *flags, module="itm_jax.convert")
    assert code == 0, err
    assert "written: " in out
    model = itm_jax.load(tmp_path / "out")
    read = read_authors(path, kind, text=text)
    config = read.config
    if kind == "itmafa":
        config.model.aggregation.variant = "official_single"
    network = build(config.model)
    features = rng.standard_normal((3, 7, 10)).astype(np.float32)
    mask = np.arange(7)[None] < np.array([7, 3, 5])[:, None]
    expected = network.apply(read.variables, Regions(features, mask), train=False, method="encode_images")
    [(_, rows)] = model.encode_images(Regions(features, mask)).parts
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    [(_, alone)] = model.encode_images(Regions(features[1:2, :3], mask[1:2, :3])).parts
    np.testing.assert_allclose(alone, rows[1:2], atol=1e-6)
    scores = model.score(Regions(features, mask), ["a red square", "two dogs " * 10])
    assert np.all(np.abs(scores) <= 1)
    assert model.label_names == ()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "converted from" in card
    assert "was not evaluated" in card
    assert str(tmp_path) not in card
    code, _, err = command("checkpoint", f"--file={path}", "--out=x", module="itm_jax.convert", cwd=tmp_path)
    assert code == 2
    assert "--kind" in err[-1]
