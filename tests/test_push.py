"""`itm_jax.export --push`: a model goes to the Hugging Face hub, and is loaded from there by its name."""

import pytest
from support.hub import Hub
from support.runs import shrunk

import itm_jax


def lines_of(done):
    return done.stderr.strip().splitlines()


LOAD = """
import itm_jax
for name in {names!r}:
    model = itm_jax.load(name)
    print(model.fingerprint, repr(model).splitlines()[0])
"""


@pytest.mark.slow
def test_pushed_to_the_hub_and_loaded_from_there(tmp_path):
    """Against the stand-in for the hub: uploaded by the command, fetched once, pinned, then read without it."""
    run = tmp_path / "run"
    changes = {"model__name": "scan", "model__text__encoder": "gru"}
    itm_jax.train(shrunk(train__epochs=1.0, optim__decay_epochs=(), **changes), run)
    model = itm_jax.load(run)
    flags = [f"--run={run}", f"--out={tmp_path / 'out'}", "--push=user/scan"]
    with Hub(tmp_path / "hub") as hub:
        refused = hub.python(tmp_path, "-m", "itm_jax.export", *flags)
        assert refused.returncode == 2
        assert "no token of the Hugging Face hub; set HF_TOKEN" in lines_of(refused)[-1]
        assert not (tmp_path / "out").exists()
        refused = hub.python(tmp_path, "-m", "itm_jax.export", *flags, HF_TOKEN="hf_read")
        assert refused.returncode == 2
        assert "the hub does not accept the token" in lines_of(refused)[-1]
        done = hub.python(tmp_path, "-m", "itm_jax.export", *flags, HF_TOKEN="hf_write")
        assert done.returncode == 0, done.stderr
        assert f"uploaded: {hub.url}/user/scan/commit/" in done.stderr + done.stdout
        commit = hub.keep("user/scan", "v1")
        hub.forget()
        names = ["user/scan", "user/scan@v1", f"user/scan@{commit}"]
        online = hub.python(tmp_path, LOAD.format(names=names))
        assert online.returncode == 0, online.stderr
        assert sorted(set(hub.fetched("user/scan"))) == sorted(
            str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()
        )
        assert len(hub.fetched("user/scan")) == len(set(hub.fetched("user/scan")))
        unknown = hub.python(tmp_path, LOAD.format(names=["user/scan@v2"]))
        assert "user/scan has no revision v2" in lines_of(unknown)[-1]
        hub.stop()
        offline = hub.python(tmp_path, LOAD.format(names=names), HF_HUB_OFFLINE="1")
    assert offline.returncode == 0, offline.stderr
    assert offline.stdout == online.stdout
    assert len(online.stdout.splitlines()) == len(names)
    for line in online.stdout.splitlines():
        assert line == f"{model.fingerprint} scan of user/scan@{commit} ({model.fingerprint})"
    card = (tmp_path / "out" / "README.md").read_text()
    assert 'itm_jax.load("user/scan")' in card
