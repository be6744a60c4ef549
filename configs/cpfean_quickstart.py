"""CPFEAN on the built-in `scenes`, small enough for two CPU cores.

python -m itm_jax.main --config=configs/cpfean_quickstart.py --workdir=runs/cpfean_quickstart

Not measured on a GPU.
"""

import importlib.util
import pathlib


def get_config():
    path = pathlib.Path(__file__).with_name("quickstart.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    quickstart = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(quickstart)
    config = quickstart.get_config()
    config.model.name = "cpfean"
    return config
