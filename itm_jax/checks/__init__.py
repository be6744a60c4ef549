"""The checks of `itm_jax.check`."""
