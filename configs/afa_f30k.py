"""AFA on Flickr30K with BERT-base, the authors' recipe.

    python -m itm_jax.main --config=configs/afa_f30k.py --workdir=runs/afa_f30k --config.data.dir=DIR

DIR holds SCAN's files: train_ims.npy [29000, 36, 2048], train_caps.txt, and the same for dev and test; docs/data.md
says where they come from. BERT is fetched from the Hugging Face hub; --config.model.text.pretrained=DIR takes a local
one.

Expected: rSum 510.9 on the 1K test split, as published (arXiv 2401.09725, which does not say whether it is of a single
seed). We have not measured it, because we had neither the features nor BERT-base, nor the time on a GPU.
"""

from itm_jax.config.default import default_config


def get_config():
    config = default_config()
    config.data.name = "f30k"
    config.model.text.pretrained = "google-bert/bert-base-uncased"
    return config
