"""Text encoders by hub name, against the local stand-in for the hub (support/hub.py)."""

import functools
import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.checkpoint import write_checkpoint
from support.hub import Hub
from support.hub_client import Client

from itm_jax.errors import InputError
from itm_jax.pretrained.directory import checkpoint_dir
from itm_jax.pretrained.hub_names import split_revision
from itm_jax.pretrained.safetensors_files import read_safetensors

NEEDED = ["config.json", "model.safetensors", "vocab.txt"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The port of all hubs of this file, and the client of them."""
    folder = tmp_path_factory.mktemp("client")
    with Hub(folder) as first:
        port = first.port
        client = Client(first, folder)
    with client:
        yield port, client


@pytest.fixture
def hub(tmp_path, shared):
    """A hub with `user/tiny`, which has more files than an encoder needs."""
    with Hub(tmp_path / "hub", shared[0]) as hub:
        add(hub, "user/tiny")
        for name in ("pytorch_model.bin", "onnx/model.onnx", "onnx/model.safetensors", "model.fp16.safetensors"):
            path = hub.folder("user/tiny") / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"not needed")
        yield hub


@pytest.fixture
def ask(tmp_path, shared):
    """Asks the client; each test has a cache of its own."""
    return functools.partial(shared[1].ask, cache=tmp_path / "cache")


def add(hub, name, change=1.0):
    """Writes a checkpoint into a repository; its word embeddings are multiplied."""
    folder = hub.folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    write_checkpoint(folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["bert.embeddings.word_embeddings.weight"] *= np.float32(change)
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_a_name_is_fetched_once_and_loads_without_the_hub_afterwards(hub, ask):
    first = ask("load", "user/tiny")
    assert first[0].startswith("2 ")
    assert sorted(hub.fetched("user/tiny")) == NEEDED
    assert {r.status for r in hub.requests} == {200}
    hub.forget()
    assert ask("load", "user/tiny") == first
    assert hub.requests
    assert not hub.fetched("user/tiny")
    hub.forget()
    assert ask("load", "user/tiny", offline=True) == first
    assert not hub.requests
    hub.stop()
    assert ask("load", "user/tiny") == first


def test_a_run_can_pin_the_revision_of_its_encoder(hub, ask):
    first = hub.keep("user/tiny", "v1")
    add(hub, "user/tiny", 2.0)
    second = hub.keep("user/tiny", "refs/pr/3")
    add(hub, "user/tiny", 3.0)
    names = [f"user/tiny{x}" for x in ("", "@v1", f"@{first}", "@refs/pr/3", f"@{second}", "@main", "@v9", "@")]
    lines = ask("load", *names)
    main, v1, by_hash, pull, second_by_hash, named_main, unknown, empty = lines
    assert v1 == by_hash
    assert pull == second_by_hash
    assert main == named_main
    totals = np.array([float(x.split()[1]) for x in (v1, pull, main)])
    np.testing.assert_allclose(totals / totals[0], [1, 2, 3], rtol=1e-4)
    assert unknown.startswith("InputError 1: user/tiny@v9: not a local directory, and not available ")
    assert "(user/tiny has no revision v9)" in unknown
    assert "user/tiny@: no revision after @; write user/tiny@v1" in empty
    hub.forget()
    assert ask("load", f"user/tiny@{first}") == [v1]
    assert not hub.requests, "a commit hash in the cache needs no hub"


def test_a_name_that_cannot_be_had_is_one_line_that_says_why(hub, ask):
    (hub.folder("user/pickled")).mkdir()
    for name in ("config.json", "pytorch_model.bin"):
        (hub.folder("user/pickled") / name).write_text("{}")
    for name in ("hidden", "asks", "broken", "slow"):
        shutil.copytree(hub.folder("user/tiny"), hub.folder(f"user/{name}"))
    hub.private.add("user/hidden")
    hub.gated.add("user/asks")
    hub.fault("user/broken", status=500)
    hub.fault("user/slow", wait=60)
    expected = {
        "user/nothing": r"it has no user/nothing, or that is private: check the name; .* `hf auth login`, or set HF_TOKEN",
        "user/hidden": r"it has no user/hidden, or that is private",
        "user/asks": r"its owner gives access on request: ask on its page, then log in with `hf auth login`",
        "user/broken": rf"{hub.url} answers with status 500: try again later",
        "user/slow": rf"no answer from {hub.url} in 1 seconds: check the network",
        "user/pickled": r"has no model.safetensors, and its pytorch_model.bin is a pickle, which is not read; pass a revision that has safetensors, such as user/pickled@refs/pr/N .* save_pretrained\(DIR\) and pass DIR as config.model.text.pretrained",
    }
    for how in ("check", "dir"):
        lines = ask(how, *expected)
        for line, (name, reason) in zip(lines, expected.items(), strict=True):
            assert re.match(rf"InputError 1: {name}: .*{reason}", line), line
    assert not any(hub.fetched(name) for name in expected)
    line = ask("dir", "user/tiny", token="hf_wrong")[0]
    assert "it refuses the token: log in with `hf auth login`, or set HF_TOKEN, or unset HF_TOKEN" in line
    assert "user/hidden" not in ask("check", "user/hidden", token="hf_read")[0]
    offline = ask("dir", "user/tiny", offline=True)[0]
    assert "(HF_HUB_OFFLINE is set, and the cache does not have it)" in offline
    hub.stop()
    gone = ask("dir", "user/tiny")[0]
    assert f"(no connection to {hub.url}: " in gone


def test_a_hub_in_trouble_does_not_matter_where_the_cache_has_the_name(hub, ask):
    first = ask("load", "user/tiny")
    hub.fault("user/tiny", wait=60)
    assert ask("load", "user/tiny") == first
    hub.faults.clear()
    hub.fault("user/tiny", status=503)
    assert ask("load", "user/tiny") == first


def test_a_download_whose_connection_breaks_goes_on(hub, ask):
    hub.fault("model.safetensors", method="GET", cut=2000, times=1)
    line = ask("load", "user/tiny")[0]
    assert line.startswith("2 ")
    assert hub.fetched("user/tiny").count("model.safetensors") == 2


def test_what_a_broken_off_download_has_is_not_fetched_again_nor_taken_for_whole(hub, ask):
    hub.fault("model.safetensors", method="GET", status=403, times=1)
    assert ask("load", "user/tiny")[0].startswith("InputError 1: user/tiny: ")
    assert "model.safetensors" not in hub.fetched("user/tiny")
    offline = ask("load", "user/tiny", offline=True)[0]
    assert "(HF_HUB_OFFLINE is set, and the cache does not have it)" in offline
    assert ask("load", "user/tiny")[0].startswith("2 ")
    assert sorted(hub.fetched("user/tiny")) == NEEDED


def shard(folder):
    """Replaces model.safetensors by two shards and their index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for i, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), start=1):
        file = f"model-{i:05d}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_shards_are_read_by_hub_name(hub, ask):
    shutil.copytree(hub.folder("user/tiny"), hub.folder("user/lost"))
    whole, lost = hub.folder("user/tiny"), hub.folder("user/lost")
    shutil.copytree(whole, hub.folder("user/parts"))
    for folder in (hub.folder("user/parts"), lost):
        shard(folder)
    (lost / "model-00002-of-00002.safetensors").unlink()
    one, parts, error = ask("load", "user/tiny", "user/parts", "user/lost")
    assert one == parts
    assert re.search(
        r"InputError 1: .*/model-00002-of-00002\.safetensors: no such file, but model\.safetensors\.index", error
    )


def test_a_missing_shard_is_named(tmp_path):
    folder = write_checkpoint(tmp_path / "c")
    expected = read_safetensors(folder)
    whole = (folder / "model.safetensors").read_bytes()
    shard(folder)
    tensors = read_safetensors(folder)
    assert tensors.keys() == expected.keys()
    assert all(np.array_equal(tensors[k], expected[k]) for k in expected)
    (folder / "model-00009-of-00009.safetensors").write_bytes(b"of another checkpoint")
    assert read_safetensors(folder).keys() == expected.keys()
    (folder / "model-00009-of-00009.safetensors").unlink()
    first = folder / "model-00001-of-00002.safetensors"
    first.rename(folder / "aside")
    with pytest.raises(
        InputError, match=r"model-00001-of-00002\.safetensors: no such file, but model\.safetensors\.index"
    ):
        read_safetensors(folder)
    index = folder / "model.safetensors.index.json"
    for content in ('{"weight_map": {}}', "[]", '{"weight_map": {"a": 3}}'):
        index.write_text(content)
        with pytest.raises(InputError, match="no weight_map of tensors to files"):
            read_safetensors(folder)
    index.write_text('{"weight_map": {"a": "../model.safetensors"}}')
    with pytest.raises(InputError, match="is not a file beside it"):
        read_safetensors(folder)
    index.unlink()
    with pytest.raises(
        InputError, match=r"model-00001-of-00002\.safetensors: no such file, but the names of the others"
    ):
        read_safetensors(folder)
    (folder / "model.safetensors").write_bytes(whole)
    assert read_safetensors(folder).keys() == expected.keys()


def test_names_and_revisions(tmp_path, monkeypatch):
    assert split_revision("user/tiny") == ("user/tiny", None)
    assert split_revision("user/tiny@refs/pr/1") == ("user/tiny", "refs/pr/1")
    monkeypatch.chdir(tmp_path)
    pathlib.Path("weights@v1").mkdir()
    assert checkpoint_dir("weights@v1") == pathlib.Path("weights@v1")
    with pytest.raises(InputError, match="no such directory; --backbone takes a directory or a hub name"):
        checkpoint_dir("some/folder/weights@v1", flag="--backbone")


CONFIG = """
from itm_jax.config.default import default_config
from itm_jax.config.model_fields import BERT_ARCHITECTURE
from support.runs import shrunk


def get_config():
    c = shrunk(model__text__pretrained="user/tiny@v1", data__max_tokens=12, train__epochs=1)
    for name in BERT_ARCHITECTURE:
        c.model.text[name] = default_config().model.text[name]  # not set: the checkpoint decides
    return c
"""


@pytest.mark.slow
def test_a_run_trains_with_a_hub_name_and_is_evaluated_without_the_hub(hub, ask, tmp_path):
    hub.keep("user/tiny", "v1")
    (tmp_path / "config.py").write_text(CONFIG)
    config, workdir = f"--config={tmp_path / 'config.py'}", f"--workdir={tmp_path / 'run'}"
    for module, flags in (("itm_jax.check", ()), ("itm_jax.main", (workdir,))):
        code, out, err = ask("command", module, config, *flags)
        assert code == 0, [out, *err]
    assert sorted(hub.fetched("user/tiny")) == NEEDED
    results = tmp_path / "run" / "results.json"
    before = json.loads(results.read_text())["protocols"]
    results.unlink()
    hub.stop()
    code, out, err = ask("command", "itm_jax.main", "--mode=evaluate", workdir)
    assert code == 0, [out, *err]
    assert json.loads(results.read_text())["protocols"] == before
