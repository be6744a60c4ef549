"""CPFEAN on a Flickr8k subset (3,000 training images, 36 regions x 512, boxes and labels) with MiniLM, frozen.

    python -m itm_jax.main --config=configs/cpfean_f8k.py --workdir=runs/cpfean_f8k --config.data.dir=DIR

The states of the captions are encoded once and cached. Fine-tuned: --config.model.text.trainable=True.
"""

import importlib.util
import pathlib


def base(name):
    """The config of another file here."""
    path = pathlib.Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def get_config():
    config = base("afa_f8k")
    config.model.name = "cpfean"
    config.model.text.trainable = False
    config.model.width = 256
    config.data.batch_size = 96
    config.train.epochs = 10
    config.optim.decay_epochs = (7,)
    return config
