"""Try a trained model in a browser on this machine: match an image with a caption, rank captions or images.

    python -m itm_jax.demo --model=runs/mine
    python -m itm_jax.demo --model=someone/their-model --port=7861

The model is a run, an exported folder, or a name on the Hugging Face hub. The features of its training must come from
python -m itm_jax.extract. The page is at http://127.0.0.1:7860, for this machine alone, and works without network. It
needs Gradio: pip install 'itm_jax[demo]'. Ctrl-C ends it.
"""

import sys
from collections.abc import Callable
from typing import Any

from absl import flags

from itm_jax.cli import commands

FLAGS = flags.FlagValues()
_MODEL = flags.DEFINE_string("model", None, "run, exported folder or hub name", flag_values=FLAGS)
_BACKBONE = flags.DEFINE_string(
    "backbone", None, "where the backbone of the model's extractor lies now, KIND:DIR", flag_values=FLAGS
)
_PORT = flags.DEFINE_integer(
    "port",
    7860,
    "port of the page on 127.0.0.1; 0 takes a free one",
    lower_bound=0,
    upper_bound=65535,
    flag_values=FLAGS,
)


def main() -> None:
    """Flags -> the page, until Ctrl-C."""
    from itm_jax.web.run import run_page

    model = commands.required(_MODEL, "DIR", "a run, an exported folder, or a hub name")
    run_page(_PORT.value, lambda: _prepare(model))


def _prepare(model: str) -> tuple[list[str], Callable[[], Any]]:
    from itm_jax.demo.answers import answers_of
    from itm_jax.demo.layout import make_page
    from itm_jax.hub.load import load
    from itm_jax.terminal import say

    say(f"loading {model}")
    answers = answers_of(load(model, backbone=_BACKBONE.value))
    return answers.facts, lambda: make_page(answers)


if __name__ == "__main__":
    sys.exit(commands.start(sys.modules[__name__], sys.argv))
