"""itm_jax: image-text matching in JAX/Flax. See README.md for the commands and DESIGN notes in each module."""

__version__ = "0.1.0"
