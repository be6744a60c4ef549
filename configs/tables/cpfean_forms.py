"""The search for the form of CPFEAN: fusion, gate, weights of regions and GCN, compared on dev without a look at test.

    python -m itm_jax.reproduce --table=configs/tables/cpfean_forms.py --workdir=runs/tables
    python -m itm_jax.reproduce --table=cpfean_forms --workdir=runs/tables --dataset=f8k --config.data.dir=DIR

The first row is the paper's form with β = 0 and γ = 1. Each other row changes what its name says.
docs/cpfean.md says what the forms are and what was found.
"""

import pathlib

from itm_jax.config.load import load_module
from itm_jax.tables import Row, Table

bases, fields = (load_module(pathlib.Path(__file__).with_name(f"{name}.py")) for name in ("bases", "fields"))
COMMON = fields.CPFEAN | {"model.alignment.beta": 0.0, "model.alignment.gamma": 1.0, "model.words.layers": 1}
FUSION = {"model.fusion.gate": "region", "model.fusion.power": 1.0}
NO_GCN = {"model.words.layers": 0}
LINEAR = {"model.words.activation": "none"}
SAME = {"model.fusion.power": 0.0}  # all regions weigh the same
NO_FUSION = {"model.fusion.rounds": 0}
COSINE = {"model.fusion.gate": "cosine"}
STEEP = COSINE | {"model.fusion.scale": 10.0, "model.fusion.rate": 10.0}
LEARNED = {"model.fusion.power": 0.25, "model.fusion.learn_power": True, "model.fusion.rate": 10.0}


def get_table():
    def row(name, overrides):
        idle = overrides.get("model.fusion.rounds") == 0 or overrides.get("model.alignment.sides") == "words"
        fusion = {} if idle else FUSION
        return Row(name, COMMON | fusion | overrides, group="CPFEAN")

    return Table(
        title="Forms of CPFEAN",
        question="Which form of fusion, gate and weights of regions is good on both data sets?",
        bases=bases.main(),
        kind="trials",
        seeds=(0, 1),
        minutes={"scenes": 60},
        rows=(
            row("β = 0, γ = 1", {}),
            row("no fusion", NO_FUSION),
            row("no fusion, no GCN", NO_FUSION | NO_GCN),
            row("regions weigh the same (power 0)", SAME),
            row("power 0.5", {"model.fusion.power": 0.5}),
            row("learned power", LEARNED),
            row("learned power, no GCN", LEARNED | NO_GCN),
            row("cosine gate", COSINE),
            row("cosine gate, no GCN", COSINE | NO_GCN),
            row("cosine gate, power 0.5", COSINE | {"model.fusion.power": 0.5}),
            row("cosine gate, no GCN, power 0.5 (the recipe)", COSINE | NO_GCN | {"model.fusion.power": 0.5}),
            row("cosine gate, learned power", COSINE | LEARNED),
            row("cosine gate, learned power, no GCN", COSINE | LEARNED | NO_GCN),
            row("steep cosine gate", STEEP),
            row("steep cosine gate, learned power", STEEP | LEARNED),
            row("global score", {"model.alignment.global_weight": 0.5}),
            row("no fusion, global score", NO_FUSION | {"model.alignment.global_weight": 0.5}),
            row("no GCN", NO_GCN),
            row("GCN without ReLU", LINEAR),
            row("GCN without ReLU, no fusion", LINEAR | NO_FUSION),
            row("GCN without ReLU, cosine gate", LINEAR | COSINE),
            row("cosine gate, no GCN, power 0", COSINE | NO_GCN | SAME),
            row("steep cosine gate, no GCN, power 0", STEEP | NO_GCN | SAME),
            row("words' side only", {"model.alignment.sides": "words", "model.fusion.gate": "region"}),
        ),
    )
