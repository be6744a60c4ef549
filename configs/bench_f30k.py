"""Shapes of Flickr30K with a text encoder of BERT-base's size from scratch, in bfloat16: for itm_jax.bench, no download.

    python -m itm_jax.bench train --config=configs/bench_f30k.py --config.data.bank=device --repeats=20
    ... --config.model.name=cpfean

36 regions x 2048, 32 tokens and batch 128 are the defaults of the flags and of the recipe. The vocabulary is that of
`scenes`, smaller than BERT's: of its 110 M parameters 23 M are missing, which are looked up and not multiplied.
Not a recipe to train by. Not measured on a GPU.
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
