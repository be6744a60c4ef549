"""The config of a run: its fields and defaults, its text forms, and the values that its fields may have."""

from itm_jax.config.default import default_config

__all__ = ["default_config"]
