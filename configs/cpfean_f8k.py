"""CPFEAN on a Flickr8k subset (3,000 training images, 36 regions x 512, boxes and labels) with MiniLM, frozen.

    python -m itm_jax.main --config=configs/cpfean_f8k.py --workdir=runs/cpfean_f8k --config.data.dir=DIR

The hidden states of the captions are computed once and cached; --config.model.text.trainable=True fine-tunes MiniLM.
With --config.model.name=afa, vsepp, vseinf, scan or late this config trains the models that docs/measured.md compares
with CPFEAN. CPFEAN has the form for little data (docs/cpfean.md): no visual Transformer, no word GCN, a gate of the
cosine alone, and weights of words from the corpus prior, which needs several captions for each image.

Measured on one CPU core, seed 0: test rSum 348.5 (chance 10.6), dev 369.5; 15 minutes beside other work.
"""

from itm_jax.config.load import config_beside
from itm_jax.config.presets import cpfean_for_little_data


def get_config():
    config = config_beside(__file__, "afa_f8k")
    config.model.name = "cpfean"
    config.model.text.trainable = False
    config.model.width = 256
    config.data.batch_size = 96
    config.train.epochs = 8
    config.optim.decay_epochs = (6,)
    return cpfean_for_little_data(config)
