"""What `itm_jax.check` does."""
