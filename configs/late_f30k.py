"""Plain late interaction, the mean over words of the best region, with BERT-base, on Flickr30K.

    python -m itm_jax.main --config=configs/late_f30k.py --workdir=runs/late_f30k --config.data.dir=DIR

A baseline in the frame of AFA and CPFEAN: optimiser, augmentation and schedule are those of configs/afa_f30k.py, not
those of its paper. Not measured by us.
"""

from itm_jax.config.load import config_beside


def get_config():
    config = config_beside(__file__, "afa_f30k")
    config.model.name = "late"
    config.eval.tile = 256
    return config
