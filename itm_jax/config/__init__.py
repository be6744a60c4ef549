"""The config of a run: its fields and defaults, its text forms, and the values that its fields may take."""

from itm_jax.config.default import default_config
from itm_jax.config.load import config_beside, load_module

__all__ = ["config_beside", "default_config", "load_module"]
