"""VSE∞ (Chen et al., CVPR 2021) on Flickr30K with BERT-base: a linear layer and an MLP, pooled by GPO.

    python -m itm_jax.main --config=configs/vseinf_f30k.py --workdir=runs/vseinf_f30k --config.data.dir=DIR

This is a baseline in the frame of AFA and CPFEAN: optimiser, augmentation and schedule are those of
configs/afa_f30k.py, not those of its paper. We have not measured it.
"""

from itm_jax.config.load import config_beside


def get_config():
    config = config_beside(__file__, "afa_f30k")
    config.model.name = "vseinf"
    return config
