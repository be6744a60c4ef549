"""How many regions an image needs.

    python -m itm_jax.reproduce --table=configs/tables/regions.py --workdir=runs/tables
    python -m itm_jax.reproduce --table=configs/tables/regions.py --workdir=runs/tables --dataset=f8k --config.data.dir=DIR

On `scenes` the detector is asked for so many (objects, objects again, then a grid); elsewhere the first so many of the
file are used, which detectors order by their certainty.
"""

import pathlib

from itm_jax.config.load import load_module
from itm_jax.tables import Row, Table

bases, fields = (load_module(pathlib.Path(__file__).with_name(f"{name}.py")) for name in ("bases", "fields"))


def get_table():
    rows = []
    for model, of_model in (("AFA", fields.AFA), ("CPFEAN", fields.CPFEAN)):
        for name, field, counts, datasets in (
            ("", "data.scenes.regions", (4, 16, 36, 100), ("scenes",)),
            ("first ", "data.alter.regions", (4, 12, 24, 36), ("f8k", "f30k", "coco")),
        ):
            for n in counts:
                whole = f"{model}, {name}{counts[-1]} regions"
                of_n = of_model | {field: n}
                rows.append(Row(f"{model}, {name}{n} regions", of_n, model, x=n, reference=whole, datasets=datasets))
    return Table(
        title="Number of regions",
        question="How many regions per image do AFA and CPFEAN need?",
        bases=bases.short(),
        minutes={"scenes": 16, "f8k": 15},
        axis="regions per image",
        note=fields.LEFT_OUT,
        rows=tuple(rows),
    )
