"""A model for itm_jax.bench: the shapes of Flickr30K, a text encoder of BERT-base's size from scratch, bfloat16.

    python -m itm_jax.bench train --config=configs/bench_f30k.py --config.data.bank=device --repeats=20
    ... --config.model.name=cpfean

It needs no download. 36 regions x 2048, 32 tokens and batch 128 are the defaults of the flags and of the recipe. The
vocabulary is that of `scenes`, which is smaller than BERT's: 23 M of BERT's 110 M parameters are missing, and these are
looked up and not multiplied. This is no recipe for training. Not measured on a GPU.
"""

from itm_jax.config.default import default_config


def get_config():
    config = default_config()
    config.data.source = "scenes"
    config.data.name = "random"
    config.model.dtype = "bfloat16"
    config.model.text.update({"hidden_size": 768, "num_layers": 12, "num_heads": 12, "intermediate_size": 3072})
    config.model.text.max_positions = 512
    return config
