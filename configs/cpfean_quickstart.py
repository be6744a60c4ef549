"""CPFEAN on the built-in `scenes`, small enough for two CPU cores.

    python -m itm_jax.main --config=configs/cpfean_quickstart.py --workdir=runs/cpfean_quickstart

The visual Transformer is left out, because it cost 26 points of dev rSum on `scenes` (docs/measured.md);
--config.model.graph.layers=1 puts it in. The weights of words come from the corpus prior (γ = 1), not from prominence
in the pair (β = 0); docs/cpfean.md says what that is worth. With --config.model.words.graph=sparse the word GCN uses
the dependency edges that `scenes` has.
Not measured on a GPU.
"""

from itm_jax.config.presets import cpfean_quickstart


def get_config():
    return cpfean_quickstart()
