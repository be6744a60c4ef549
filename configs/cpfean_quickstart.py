"""CPFEAN on the built-in `scenes`, small enough for two CPU cores.

    python -m itm_jax.main --config=configs/cpfean_quickstart.py --workdir=runs/cpfean_quickstart

CPFEAN has the form for little data: no visual Transformer (--config.model.graph.layers=1 puts it in), no word GCN
(--config.model.words.layers=1; with --config.model.words.graph=sparse too, it uses the dependency edges that `scenes`
has), a gate of the cosine alone, and weights of words from the corpus prior (γ = 1), not from prominence in the pair
(β = 0). docs/cpfean.md says what each of these is worth.
"""

from itm_jax.config.presets import cpfean_quickstart


def get_config():
    return cpfean_quickstart()
