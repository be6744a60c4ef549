"""The search for the recipe of every model: the same trials for each, compared on dev, seed 0, without a look at test.

    python -m itm_jax.reproduce --table=configs/tables/recipes.py --workdir=runs/tables
    python -m itm_jax.reproduce --table=recipes --workdir=runs/tables --dataset=f8k --config.data.dir=DIR

Every model has six trials: three learning rates at two joint widths. Only these two fields differ from the runs of the
main tables. The trials are for frozen or small text encoders: they do not reach the low rates of a fine-tuned BERT-base
(afa_coco: 5e-6).
"""

import pathlib

from itm_jax.config.load import load_module
from itm_jax.tables import Row, Table

bases, fields = (load_module(pathlib.Path(__file__).with_name(f"{name}.py")) for name in ("bases", "fields"))
RATES = (5e-4, 1e-3, 2e-3)
WIDTHS = (256, 1024)


def get_table():
    return Table(
        title="Recipes",
        question="Which learning rate and which joint width does each model want?",
        bases=bases.main(),
        kind="trials",
        minutes={"scenes": 180},
        rows=tuple(
            Row(
                f"{model}, d = {width}, rate {rate:g}", of_model | {"model.width": width, "optim.lr": rate}, group=model
            )
            for model, of_model in fields.MODELS.items()
            for width in WIDTHS
            for rate in RATES
        ),
    )
