"""Other forms of region features and captions, converted to ours (`itm_jax.convert`)."""
