"""Try a trained model in a browser on this machine: match an image with a caption, rank captions or images.

    python -m itm_jax.demo --model=runs/mine
    python -m itm_jax.demo --model=someone/their-model --port=7861

The model is a run, an exported folder, or a name on the Hugging Face hub. The features of its training must come from
python -m itm_jax.extract. The page is at http://127.0.0.1:7860, for this machine alone, and works without network. It
needs Gradio: pip install 'itm_jax[demo]'. Ctrl-C ends it.
"""

import importlib.util
import signal
import sys
import warnings
from typing import Any

from absl import flags

from itm_jax.cli import commands
from itm_jax.errors import InputError, TerminatedError

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
    from itm_jax.demo.answers import answers_of
    from itm_jax.demo.layout import make_page
    from itm_jax.demo.server import HOST, listen, quiet_gradio, serve
    from itm_jax.hub.load import load
    from itm_jax.terminal import say

    model = commands.required(_MODEL, "DIR", "a run, an exported folder, or a hub name")
    if importlib.util.find_spec("gradio") is None:
        raise InputError("the demo page needs Gradio; pip install 'itm_jax[demo]'")
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="PIL")  # of large images, which are refused
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would not hear it
    try:
        with listen(_PORT.value) as listening:
            say(f"loading {model}")
            answers = answers_of(load(model, backbone=_BACKBONE.value))
            say("\n".join(answers.facts))
            quiet_gradio()
            page = make_page(answers)
            say(f"open http://{HOST}:{listening.getsockname()[1]} in a browser on this machine; Ctrl-C ends the page")
            serve(page, listening)
    except KeyboardInterrupt:
        raise TerminatedError("the page was ended by Ctrl-C", 128 + signal.SIGINT) from None


def _terminate(*_: Any) -> None:
    raise TerminatedError("the page was ended by SIGTERM")


if __name__ == "__main__":
    sys.exit(commands.start(sys.modules[__name__], sys.argv))
