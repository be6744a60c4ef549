"""The table that shows from how many negatives the hardest one must be chosen, with a fixed batch size.

python -m itm_jax.reproduce --table=configs/tables/negatives.py --workdir=runs/tables
"""

import pathlib

from itm_jax.config.load import load_module
from itm_jax.tables import Row, Table

bases, fields = (load_module(pathlib.Path(__file__).with_name(f"{name}.py")) for name in ("bases", "fields"))

# All negatives of a batch of 64, of 96, and of 128.
ALL = ((63, ("scenes",)), (95, ("scenes_minilm", "f8k")), (127, ("f30k", "coco")))


def get_table():
    rows = []
    for model, overrides in (("AFA", fields.AFA), ("CPFEAN", fields.CPFEAN)):
        for n in (1, 4, 16):
            few = overrides | {"loss.num_negatives": n}
            for every, datasets in ALL:
                reference = f"{model}, {every} negatives"
                rows.append(
                    Row(
                        f"{model}, {n} negative{'s' * (n > 1)}", few, model, x=n, reference=reference, datasets=datasets
                    )
                )
        for every, datasets in ALL:
            rows.append(Row(f"{model}, {every} negatives", overrides, model, x=every, datasets=datasets))
    return Table(
        title="Number of negatives",
        question="How many negatives must the hardest one be chosen from, in a batch of the same size?",
        bases=bases.short(),
        minutes={"scenes": 13, "scenes_minilm": 9},
        axis="negatives per query",
        rows=tuple(rows),
        note="The last row of each model takes all other images of the batch. The sum over negatives in the first "
        f"epoch has so many too. {fields.LEFT_OUT}",
    )
