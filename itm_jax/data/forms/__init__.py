"""Converts region features and captions of other projects to SCAN's form (`itm_jax.convert`)."""
