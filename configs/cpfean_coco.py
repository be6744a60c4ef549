"""CPFEAN on MS-COCO with BERT-base; optimiser, augmentation and schedule as in configs/afa_f30k.py.

    python -m itm_jax.main --config=configs/cpfean_coco.py --workdir=runs/cpfean_coco --config.data.dir=DIR

DIR holds SCAN's files as for configs/afa_coco.py, and boxes and labels as for configs/cpfean_f30k.py.

Expected: rSum 539.3 in 5-fold 1K and 452.0 in 5K, as published (arXiv 2311.02183; no public code). We have not measured
it, nor the time on a GPU.
"""

from itm_jax.config.load import config_beside


def get_config():
    config = config_beside(__file__, "cpfean_f30k")
    config.data.name = "coco"
    config.data.test_split = "testall"
    return config
