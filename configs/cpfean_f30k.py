"""CPFEAN on Flickr30K with BERT-base; optimiser, augmentation and schedule as in configs/afa_f30k.py.

    python -m itm_jax.main --config=configs/cpfean_f30k.py --workdir=runs/cpfean_f30k --config.data.dir=DIR

DIR holds SCAN's files as for configs/afa_f30k.py. These have neither boxes nor labels: without them the region
embedding has no priors, and the visual Transformer lets every region attend to all regions. {split}_boxes.npy and
{split}_labels.json beside them (docs/data.md) switch the priors and the neighbourhoods on.

Expected: rSum 534.7 on the 1K test split, as published (arXiv 2311.02183; no public code). We have not measured it, nor
the time on a GPU.
"""

from itm_jax.config.load import config_beside


def get_config():
    config = config_beside(__file__, "afa_f30k")
    config.model.name = "cpfean"
    config.eval.tile = 256
    return config
