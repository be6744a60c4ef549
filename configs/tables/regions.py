"""The table that shows how many regions an image needs.

    python -m itm_jax.reproduce --table=configs/tables/regions.py --workdir=runs/tables
    python -m itm_jax.reproduce --table=configs/tables/regions.py --workdir=runs/tables \\
        --dataset=f8k --config.data.dir=DIR

On `scenes` the detector makes this number of regions (objects, objects again, then a grid). Elsewhere the first regions
of the file are used; detectors put the most certain ones first.
"""

import pathlib

from itm_jax.config.load import load_module
from itm_jax.tables import Row, Table

bases, fields = (load_module(pathlib.Path(__file__).with_name(f"{name}.py")) for name in ("bases", "fields"))


def get_table():
    rows = []
    for model, overrides in (("AFA", fields.AFA), ("CPFEAN", fields.CPFEAN)):
        for name, field, counts, datasets in (
            ("", "data.scenes.regions", (4, 16, 36, 100), bases.GENERATED),
            ("first ", "data.alter.regions", (4, 12, 24, 36), ("f8k", "f30k", "coco")),
        ):
            for n in counts:
                whole = f"{model}, {name}{counts[-1]} regions"
                row, changed = f"{model}, {name}{n} regions", overrides | {field: n}
                rows.append(Row(row, changed, model, x=n, reference=whole, datasets=datasets))
    return Table(
        title="Number of regions",
        question="How many regions per image do AFA and CPFEAN need?",
        bases=bases.short(),
        minutes={"scenes": 16, "scenes_minilm": 16, "f8k": 15},
        axis="regions per image",
        note=fields.LEFT_OUT,
        rows=tuple(rows),
    )
