"""Pretrained text encoders."""

from itm_jax.pretrained.huggingface import load_bert

__all__ = ["load_bert"]
