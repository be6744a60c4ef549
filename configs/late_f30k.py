"""Plain late interaction on Flickr30K with BERT-base: the mean over words of the cosine with the best region.

    python -m itm_jax.main --config=configs/late_f30k.py --workdir=runs/late_f30k --config.data.dir=DIR

This is a baseline in the frame of AFA and CPFEAN: optimiser, augmentation and schedule are those of
configs/afa_f30k.py, not those of its paper. We have not measured it.
"""

from itm_jax.config.load import config_beside


def get_config():
    config = config_beside(__file__, "afa_f30k")
    config.model.name = "late"
    config.eval.tile = 256
    return config
