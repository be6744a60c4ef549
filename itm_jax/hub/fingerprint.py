"""What tells two models apart."""

import hashlib
import json
from typing import Any

import jax
import numpy as np

from itm_jax.config.fields import PLACES, flatten
from itm_jax.data.text.text_input import TextInput


def fingerprint_of(config: Any, text: TextInput, variables: Any) -> str:
    """Returns a hash of what a model's scores depend on: its config, its text side and its variables.

    Where the text encoder lies does not count; the fingerprints of the text side stand for it.
    """
    fields = {k: v for k, v in flatten(config).items() if k.startswith("model.") and k not in PLACES}
    about = [fields, config.data.max_tokens, dict(text.fingerprints)]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]
