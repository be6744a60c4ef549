"""The table of what each model costs: parameters, FLOPs, time of an epoch, encoding, queries, memory.

    python -m itm_jax.reproduce --table=configs/tables/complexity.py --workdir=runs/tables

All models are measured in one run, on random data of the data set's shapes; nothing is trained. On f8k and with
--dataset=scenes_minilm the text encoder is frozen. Fields of the base config give other shapes, for example
--config.data.scenes.regions=36 --config.data.scenes.features=2048 --config.model.width=1024.
"""

import pathlib

from itm_jax.config.load import load_module
from itm_jax.tables import Row, Table

bases, fields = (load_module(pathlib.Path(__file__).with_name(f"{name}.py")) for name in ("bases", "fields"))


def get_table():
    single, pairwise = "one vector per item", "fragment by fragment"
    return Table(
        title="What each model costs",
        question="What does comparing fragments cost, in training and per query, against one vector per item?",
        bases=bases.short(),
        kind="cost",
        rows=(
            Row("VSE++ (mean)", {"model.name": "vsepp"}, single),
            Row("VSE∞ (GPO)", {"model.name": "vseinf"}, single),
            Row("AFA", fields.AFA, single),
            Row("late interaction", {"model.name": "late"}, pairwise),
            Row("SCAN (t2i)", {"model.name": "scan"}, pairwise),
            Row("SCAN (i2t)", {"model.name": "scan", "model.attention.direction": "i2t"}, pairwise),
            Row("CPFEAN without visual Transformer", fields.CPFEAN | {"model.graph.layers": 0}, pairwise),
            Row("CPFEAN", fields.WHOLE_CPFEAN, pairwise),
        ),
    )
