"""AFA on MS-COCO with BERT-base.

    python -m itm_jax.main --config=configs/afa_coco.py --workdir=runs/afa_coco --config.data.dir=DIR

DIR holds SCAN's files: train_ims.npy [113287, 36, 2048] (33 GB, memory-mapped), and those of dev and testall. testall
has 5,000 images, so results.json gives both `full` (5K) and `5fold_1k`. The learning rate is that of the authors'
script for COCO, a hundredth of the one for Flickr30K; their paper does not say why.

Expected: rSum 526.1 in 5-fold 1K, as published (arXiv 2401.09725). We have not measured it, nor the time on a GPU.
"""

from itm_jax.config.default import default_config


def get_config():
    config = default_config()
    config.data.name = "coco"
    config.data.test_split = "testall"
    config.model.text.pretrained = "google-bert/bert-base-uncased"
    config.optim.lr = 5e-6
    return config
