"""How many negatives the hardest one must be chosen from, at a fixed batch.

python -m itm_jax.reproduce --table=configs/tables/negatives.py --workdir=runs/tables
"""

import pathlib

from itm_jax.config import load_module
from itm_jax.tables import Row, Table

bases, fields = (load_module(pathlib.Path(__file__).with_name(f"{name}.py")) for name in ("bases", "fields"))


def get_table():
    rows = []
    for model, of_model in (("AFA", fields.AFA), ("CPFEAN", fields.CPFEAN)):
        for n in (1, 4, 16):
            rows.append(Row(f"{model}, {n} negatives", of_model | {"loss.num_negatives": n}, model, x=n))
        rows.append(
            Row(f"{model}, 95 negatives", of_model, model, x=95, datasets=("scenes", "f8k"))
        )  # all of a batch of 96
        rows.append(Row(f"{model}, 127 negatives", of_model, model, x=127, datasets=("f30k", "coco")))
    return Table(
        title="Number of negatives",
        question="How many negatives must the hardest one be chosen from, in a batch of the same size?",
        bases=bases.short(),
        axis="negatives per query",
        rows=tuple(rows),
        note="The last row of each model takes all other images of the batch.",
    )
