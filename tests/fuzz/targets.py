"""All readers, by name."""

import importlib
import importlib.util
import os

from fuzz.data_targets import DATA
from fuzz.image_targets import IMAGES_AND_MORE
from fuzz.model_targets import MODELS
from fuzz.run_targets import RUNS
from fuzz.store_targets import STORES

# ITM_JAX_FUZZ_MORE names a module with further targets, such as readers of your own.
MORE = os.environ.get("ITM_JAX_FUZZ_MORE")
TARGETS = DATA | IMAGES_AND_MORE | MODELS | RUNS | STORES | (importlib.import_module(MORE).TARGETS if MORE else {})
# A reader that needs an extra is left out where that is not installed.
HERE = [name for name, target in TARGETS.items() if not target.needs or importlib.util.find_spec(target.needs)]
