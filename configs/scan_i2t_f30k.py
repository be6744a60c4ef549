"""SCAN i2t AVG (Lee et al., ECCV 2018) on Flickr30K with BERT-base: regions attend to words, λ₁ = 4.

    python -m itm_jax.main --config=configs/scan_i2t_f30k.py --workdir=runs/scan_i2t_f30k --config.data.dir=DIR

This is a baseline in the frame of AFA and CPFEAN: optimiser, augmentation and schedule are those of
configs/afa_f30k.py, not those of its paper. We have not measured it.
"""

from itm_jax.config.load import config_beside


def get_config():
    config = config_beside(__file__, "afa_f30k")
    config.model.name = "scan"
    config.model.attention.direction = "i2t"
    config.eval.tile = 256
    return config
