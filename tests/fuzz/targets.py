"""All readers, by name."""

from fuzz.data_targets import DATA
from fuzz.model_targets import MODELS
from fuzz.run_targets import RUNS
from fuzz.store_targets import STORES

TARGETS = DATA | MODELS | RUNS | STORES
