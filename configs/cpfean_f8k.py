"""CPFEAN on a Flickr8k subset (3,000 training images, 36 regions x 512, boxes and labels) with MiniLM, frozen.

    python -m itm_jax.main --config=configs/cpfean_f8k.py --workdir=runs/cpfean_f8k --config.data.dir=DIR

The states of the captions are encoded once and cached; --config.model.text.trainable=True fine-tunes. With
--config.model.name=afa, vsepp, vseinf, scan or late it trains what CPFEAN is compared with in the README.
Measured on 2 CPU cores, seed 0: test rSum 320.0 (chance 10.6), dev 338.9. Not measured on a GPU.
"""

from itm_jax.config import config_beside


def get_config():
    config = config_beside(__file__, "afa_f8k")
    config.model.name = "cpfean"
    config.model.text.trainable = False
    config.model.width = 256
    config.data.batch_size = 96
    config.train.epochs = 10
    config.optim.decay_epochs = (7,)
    return config
