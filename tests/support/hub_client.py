"""A process that asks the local stand-in for the hub many things, so that each test need not start one of its own.

    with Client(hub, tmp_path) as client:
        lines = client.ask("load", "user/tiny", "user/other@v1", cache=tmp_path / "cache")

Every question is answered as by a new process: what names stood for is forgotten. `offline=True` is HF_HUB_OFFLINE=1,
`token` is HF_TOKEN. The answers: `load` a line for each name, of its weights; `check` and `dir` what `check_available`
and `checkpoint_dir` return; an error is `InputError` and its lines. `command` runs a command of the library: its
module, then its arguments; the answer is [exit code, stdout, lines of stderr].
"""

import json
import os
import subprocess
import sys

SECONDS = 1.0  # that a client waits for the hub


class Client:
    """The process; `ask` is one question at a time."""

    def __init__(self, hub, tmp_path):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.hub_client"], env=hub.environment(tmp_path), cwd=tmp_path, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.communicate()

    def ask(self, what, *arguments, cache, offline=False, token=None):
        question = [what, [str(a) for a in arguments], str(cache), offline, token]
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the client has ended"
        return json.loads(answer)


def _each(function):
    from itm_jax.errors import InputError

    def ask(*names):
        out = []
        for name in names:
            try:
                out.append(str(function(name)))
            except InputError as e:
                out.append(f"InputError {len(str(e).splitlines())}: {e}")
        return out

    return ask


def _load(name):
    import numpy as np

    from itm_jax.pretrained import load_bert

    config, params, tokenizer = load_bert(name)
    return f"{config.num_layers} {float(np.sum(params['word']['embedding']))} {len(tokenizer)}"


def _command(module, *arguments):
    from support.commands import command

    return command(*arguments, module=module, cwd=os.getcwd())


def main():
    from huggingface_hub import constants

    from itm_jax.pretrained import directory, hub_names

    hub_names.HUB_SECONDS = SECONDS
    answers = {"load": _each(_load), "check": _each(directory.check_available), "dir": _each(directory.checkpoint_dir)}
    answers["command"] = _command
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    for line in sys.stdin:
        what, arguments, constants.HF_HUB_CACHE, constants.HF_HUB_OFFLINE, token = json.loads(line)
        os.environ.pop("HF_TOKEN", None)
        if token:
            os.environ["HF_TOKEN"] = token
        hub_names._found.clear()
        print(json.dumps(answers[what](*arguments)), file=out, flush=True)


if __name__ == "__main__":
    main()
