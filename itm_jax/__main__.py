"""Runs a command by its word: `itm-jax COMMAND ...`, or `python -m itm_jax COMMAND ...`.

itm-jax main --config=quickstart --workdir=runs/quickstart
itm-jax COMMAND --help
"""

import importlib
import sys
from collections.abc import Sequence

import itm_jax

COMMANDS = {
    "main": ("itm_jax.main", "train a model, select it on dev, evaluate it on test"),
    "check": ("itm_jax.check", "validate a config, its data set and a workdir"),
    "visualize": ("itm_jax.visualize", "make a report of a run, in one page"),
    "reproduce": ("itm_jax.reproduce", "make a table of a paper: run what is missing, render it"),
    "demo": ("itm_jax.demo.__main__", "try a trained model in a browser on this machine"),
    "extract": ("itm_jax.extract", "extract region features of a folder of images"),
    "convert": ("itm_jax.convert", "convert other forms of a data set to and from ours"),
    "export": ("itm_jax.export", "export a trained model, or its embeddings"),
    "search": ("itm_jax.search.__main__", "build an index of images, and ask it"),
    "cache": ("itm_jax.cache", "list or clear the cache of hidden states and compiled programs"),
    "bench": ("itm_jax.bench.__main__", "measure speed and memory, beside the limit of the machine"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the first word names; returns its exit code."""
    _, *rest = sys.argv if argv is None else argv
    if rest and rest[0] in COMMANDS:
        from itm_jax.cli import commands

        program = importlib.import_module(COMMANDS[rest[0]][0])
        return commands.start(program, [f"itm-jax {rest[0]}", *rest[1:]])
    if rest and rest[0] in ("--version", "-version"):
        print(f"itm_jax {itm_jax.__version__}")
        return 0
    if rest and rest[0] not in ("--help", "-h", "-help", "help"):
        print(f"error: {rest[0]!r}: no such command; the commands are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    print((__doc__ or "").strip() + "\n")
    for word, (_, what) in COMMANDS.items():
        print(f"  {word:10} {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
