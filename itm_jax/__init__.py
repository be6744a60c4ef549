"""Image-text matching (AFA, CPFEAN) in JAX/Flax.

A notebook or a program needs these names: `quickstart`, `train`, `evaluate`, `open_run`, `load`, `build`. `import
itm_jax` is fast: it imports neither JAX nor any part of the library before you use one of them.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from itm_jax.config.presets import cpfean_quickstart, quickstart
    from itm_jax.evaluation.evaluate import evaluate
    from itm_jax.evaluation.open_run import open_run
    from itm_jax.hub.load import load
    from itm_jax.models import build
    from itm_jax.training.loop import train

__version__ = "0.1.0"
__all__ = ["build", "cpfean_quickstart", "evaluate", "load", "open_run", "quickstart", "train"]
_MODULES = {
    "build": "itm_jax.models",
    "cpfean_quickstart": "itm_jax.config.presets",
    "evaluate": "itm_jax.evaluation.evaluate",
    "load": "itm_jax.hub.load",
    "open_run": "itm_jax.evaluation.open_run",
    "quickstart": "itm_jax.config.presets",
    "train": "itm_jax.training.loop",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'itm_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
