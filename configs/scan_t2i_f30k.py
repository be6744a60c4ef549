"""SCAN t2i AVG (Lee et al., ECCV 2018) on Flickr30K with BERT-base: words attend to regions, λ₁ = 9.

    python -m itm_jax.main --config=configs/scan_t2i_f30k.py --workdir=runs/scan_t2i_f30k --config.data.dir=DIR

This is a baseline in the frame of AFA and CPFEAN: optimiser, augmentation and schedule are those of
configs/afa_f30k.py, not those of its paper. We have not measured it.
"""

from itm_jax.config.load import config_beside


def get_config():
    config = config_beside(__file__, "afa_f30k")
    config.model.name = "scan"
    config.eval.tile = 256
    return config
