"""Commands as tests give them: in this process where nothing else is needed, else in one of their own."""

import contextlib
import importlib
import io
import os
import subprocess
import sys
import warnings

from itm_jax.cli import commands
from support.paths import ROOT


def command(*arguments, module="itm_jax.main", cwd=ROOT):
    """Runs a command in this process; returns (exit code, stdout, lines of stderr)."""
    program = importlib.import_module(module)
    before, environment = sys.argv, dict(os.environ)
    out, err = io.StringIO(), io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            contextlib.chdir(cwd),
            warnings.catch_warnings(),
        ):
            code = commands.start(program, [module, *map(str, arguments)])
    finally:
        sys.argv = before
        os.environ.clear()
        os.environ.update(environment)
    return code, out.getvalue(), err.getvalue().strip().splitlines()


def process(*arguments, script=("-m", "itm_jax.main"), cwd=ROOT):
    """Runs a command in a process of its own, one device; returns (exit code, stdout, lines of stderr)."""
    environment = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    whole = [sys.executable, *script, *map(str, arguments)]
    done = subprocess.run(whole, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr.strip().splitlines()
