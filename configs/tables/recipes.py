"""The search for the recipe of every model: the same trials for each, compared on dev, seed 0, without a look at test.

    python -m itm_jax.reproduce --table=configs/tables/recipes.py --workdir=runs/tables
    python -m itm_jax.reproduce --table=recipes --workdir=runs/tables --dataset=f8k --config.data.dir=DIR

Every model has six trials: three learning rates at two joint widths. The runs are those of the main tables, but for
these two fields.
"""

import pathlib

from itm_jax.config.load import load_module
from itm_jax.tables import Row, Table

bases = load_module(pathlib.Path(__file__).with_name("bases.py"))
MODELS = {
    "VSE++": {"model.name": "vsepp"},
    "VSE∞": {"model.name": "vseinf"},
    "AFA": {"model.name": "afa"},
    "SCAN (t2i)": {"model.name": "scan"},
    "late interaction": {"model.name": "late"},
    "CPFEAN": {"model.name": "cpfean"},
}
RATES = (5e-4, 1e-3, 2e-3)
WIDTHS = (256, 1024)


def get_table():
    return Table(
        title="Recipes",
        question="Which learning rate and which joint width does each model want?",
        bases=bases.main(),
        kind="search",
        minutes={"scenes": 180},
        rows=tuple(
            Row(f"{model}, d = {width}, rate {rate:g}", fields | {"model.width": width, "optim.lr": rate}, group=model)
            for model, fields in MODELS.items()
            for width in WIDTHS
            for rate in RATES
        ),
    )
