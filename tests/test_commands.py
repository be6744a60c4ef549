"""Commands: exit codes, last lines, no traceback for a user's mistake."""

import json
import os
import re

import numpy as np
import pytest
from support.commands import command, process
from support.paths import ROOT

SMALL = [
    "--config.data.scenes.train=16", "--config.data.scenes.dev=4", "--config.data.scenes.test=4",
    "--config.data.batch_size=8", "--config.model.width=16", "--config.train.epochs=1",
    "--config.data.scenes.features=12", "--config.model.text.num_layers=1",
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/quickstart.py"], "--workdir: missing"),
        (["--workdir=W"], "--config: missing"),
        (["--config=configs/none.py", "--workdir=W"], "configs/none.py: no such config file"),
        (["--config", "quickstrt", "--workdir=W"], "quickstrt: no such config file; those of the library are"),
        (["--config=configs/quickstart.py", "--workdir=W", "--config.optim.learning_rate=1"], "config.optim.learning_rate: no such field"),
        (["--config=configs/quickstart.py", "--workdir=W", "--config.data.dri=x"], "nearest known one is config.data.dir"),
        (["--config=configs/quickstart.py", "--workdir=W", "--config.seed=x"], "--config.seed=x"),
        (["--config=configs/quickstart.py", "--workdir=W", "--mode=test"], "--mode=test"),
        (["--config=configs/quickstart.py", "--workdir=W", "--wrokdir=V"], "wrokdir"),
        (["--config=configs/quickstart.py", "--workdir=W", "stray"], "'stray'"),
        (["--config=configs/afa_f30k.py", "--workdir=W", "--config.data.dir=nowhere"], "nowhere"),
        (["--mode=evaluate", "--workdir=nowhere"], "is this the workdir of a run?"),
        (["--config=quickstart", "--workdir=https://bucket/run"], "https:// is not known; pass gs://, s3:// or az://"),
        (["--mode=evaluate", "--workdir=file:///run"], "file:///run: file:// is not known; pass gs://"),
        (["--config=quickstart", "--workdir=W", "--config.init_from=gs://b/run"], "init_from='gs://b/run': a URL; pass"),
        (["--config=afa_f30k", "--workdir=W", "--config.data.dir=hdfs://b/f30k"], "hdfs:// is not known"),
        (["--mode=evaluate", "--workdir=W", "--ensemble=ftp://b/1,gs://b/2", "--config=quickstart"], "ftp:// is not known"),
        (["--config=quickstart", "--workdir=W", "--config.model.name=clip"], "must be one of afa"),
    ],
)  # fmt: skip
def test_mistakes_end_with_one_line_and_exit_code_2(tmp_path, arguments, message):
    arguments = [a.replace("W", str(tmp_path / "run")) if a == "--workdir=W" else a for a in arguments]
    code, out, err = command(*arguments)
    assert code == 2
    assert out == ""
    assert [line for line in err if line.startswith("error: ")] == err[-1:]
    assert err[-1].startswith("error: ")
    assert message in err[-1]
    assert not (tmp_path / "run").exists()


def test_a_config_of_a_run_that_is_no_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text("[1]\n")
    code, _, err = command("--mode=evaluate", f"--workdir={tmp_path}")
    assert code == 2
    assert len(err) == 1
    assert f"{tmp_path / 'config.json'}: must hold an object" in err[0]


def test_config_file_that_returns_no_config(tmp_path):
    (tmp_path / "three.py").write_text("def get_config():\n    return 3\n")
    code, _, err = command(f"--config={tmp_path / 'three.py'}", f"--workdir={tmp_path / 'run'}")
    assert (code, len(err)) == (2, 1)
    assert "get_config() returned int, not a ConfigDict" in err[0]


def test_config_file_that_fails(tmp_path):
    (tmp_path / "broken.py").write_text("def get_config():\n    raise ValueError('my mistake')\n")
    code, _, err = command(f"--config={tmp_path / 'broken.py'}", f"--workdir={tmp_path / 'run'}")
    assert (code, err) == (2, [f"error: {tmp_path / 'broken.py'}: ValueError: my mistake"])


def test_help_names_the_flags():
    code, out, _ = command("--help")
    assert code == 0
    assert "--workdir" in out


@pytest.mark.slow
def test_main_as_a_module_then_as_a_file_continues_and_evaluates(tmp_path):
    run = f"--workdir={tmp_path / 'run'}"
    code, out, err = process("--config=configs/quickstart.py", run, *SMALL, "--mode=train")
    assert (code, out) == (0, ""), err
    script = (str(ROOT / "itm_jax" / "main.py"),)
    code, out, err = process(f"--config={ROOT / 'configs' / 'quickstart.py'}", run, *SMALL, cwd=tmp_path, script=script)
    assert code == 0, err
    assert "rSum" in out
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["step"] == 10
    code, out, err = command("--mode=evaluate", run, "--config.data.test_split=dev")
    assert code == 0, err
    assert (tmp_path / "run" / "results-scenes-dev.json").exists()
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results


def test_bench_words():
    code, _, err = command("nothing", module="itm_jax.bench.__main__")
    assert (code, err) == (
        2,
        [
            "error: 'nothing': say one of train, encode, input, extract, rank, score, growth, models, shortlist, load, search"
        ],
    )
    code, out, err = command("rank", "--images=20", "--captions=100", "--repeats=1", module="itm_jax.bench.__main__")
    assert code == 0, err
    assert "seconds_median" in out


def test_the_cache_is_listed_and_cleared(tmp_path):
    name, programs = "states-" + "0a" * 16, tmp_path / "xla"
    np.save(tmp_path / f"{name}.npy", np.zeros((100, 384), np.float16))
    (tmp_path / f"states-{'1b' * 16}.npy").write_bytes(b"no array")
    old, new = tmp_path / f"{name}_1.tmp", tmp_path / f"{name}_2.tmp"  # left by a stopped command; being written
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    programs.mkdir()
    (programs / "0123abcd").mkdir()  # of a kind of CPU
    (programs / "0123abcd" / "jit_step-0-cache").write_bytes(b"x" * 2_000_000)
    (tmp_path / "states-of-the-art").mkdir()
    cache = lambda *arguments: command(*arguments, f"--dir={tmp_path}", module="itm_jax.cache")  # noqa: E731
    for _ in range(2):  # a list is no use
        code, out, _ = cache("list")
        assert code == 0
        assert "2.0 MB  used    0 days ago  xla  compiled programs, files: 1" in out
        assert f"{name}.npy  hidden states of 100 tokens, 384 wide" in out
        assert "damaged" in out
        assert "_1.tmp  incomplete" in out
        assert "entries: 4, 2.1 MB" in out
    assert "entries: 1," in cache("list", "--days=1")[1]
    assert "entries: 3, 0.1 MB removed" in cache("clear", "--kind=states")[1]
    assert sorted(p.name for p in tmp_path.iterdir()) == [new.name, "states-of-the-art", "xla"]
    (programs / "README").touch()  # a folder of the user: it has more than compiled programs
    assert "entries: 0," in cache("clear")[1]
    (programs / "README").unlink()
    assert "entries: 1, 2.0 MB removed" in cache("clear")[1]
    assert cache("drop")[0] == 2


S3 = "s3://b/x"


@pytest.mark.parametrize(
    ("module", "arguments", "flag"),
    [
        ("itm_jax.convert", ["tfds", "--precomp=P", f"--out={S3}"], "out"),
        ("itm_jax.convert", ["dependencies", f"--precomp={S3}"], "precomp"),
        ("itm_jax.convert", ["karpathy", f"--captions={S3}", "--out=O"], "captions"),
        ("itm_jax.convert", ["checkpoint", "--kind=itmafa", f"--file={S3}", "--out=O"], "file"),
        ("itm_jax.export", ["--run=R", f"--out={S3}"], "out"),
        ("itm_jax.export", ["embeddings", "--model=M", "--captions=C", f"--out={S3}"], "out"),
        ("itm_jax.extract", ["--images=I", "--captions=C", f"--out={S3}"], "out"),
        ("itm_jax.extract", [f"--images={S3}", "--captions=C", "--out=O"], "images"),
        ("itm_jax.search.__main__", ["build", "--index=I", f"--model={S3}", f"--images={S3}"], "images"),
        ("itm_jax.search.__main__", ["query", "--index=I", f"--queries={S3}"], "queries"),
        ("itm_jax.search.__main__", ["report", "--index=I", f"--data={S3}"], "data"),
        ("itm_jax.search.__main__", ["remove", "--index=I", f"--ids_from={S3}"], "ids_from"),
        ("itm_jax.reproduce", ["--table=recipes", "--workdir=W", f"--on=x:{S3}"], "on"),
        ("itm_jax.reproduce", ["--table=recipes", f"--workdir={S3}"], "workdir"),
        ("itm_jax.check", ["--config=quickstart", f"--workdir={S3}"], "workdir"),
        ("itm_jax.cache", ["list", f"--dir={S3}"], "dir"),
    ],
)
def test_an_address_where_a_local_path_is_needed_is_refused_before_any_work(tmp_path, module, arguments, flag):
    code, _, said = command(*arguments, module=module, cwd=tmp_path)
    assert code == 2, said
    assert re.match(rf"error: --{flag}={S3}: a URL; pass a local (directory|file)", said[-1]), said
    assert not list(tmp_path.iterdir())
