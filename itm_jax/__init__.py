"""itm_jax: image-text matching in JAX/Flax. README.md has the commands; each module names the step of the paper it computes."""

__version__ = "0.1.0"
