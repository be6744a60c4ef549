"""The table of recalls for images with few and with many prominent objects.

    python -m itm_jax.reproduce --table=configs/tables/prominence.py --workdir=runs/tables

It evaluates the runs of cpfean_main. itm_jax/metrics/objects.py says how objects are counted.
"""

import pathlib

from itm_jax.config.load import load_module
from itm_jax.tables import Row, Table

bases, fields = (load_module(pathlib.Path(__file__).with_name(f"{name}.py")) for name in ("bases", "fields"))


def get_table():
    return Table(
        title="Prominent objects",
        question="Where an image shows several prominent objects, does aligning prominent fragments help more?",
        bases=bases.main(),
        minutes={"scenes": 12, "scenes_minilm": 12, "f8k": 18},
        seeds=(0, 1, 2),
        kind="objects",
        reference="CPFEAN",
        note=fields.LEFT_OUT,
        rows=(
            Row("VSE++ (mean)", {"model.name": "vsepp"}),
            Row("AFA", fields.AFA),
            Row("SCAN (t2i)", {"model.name": "scan"}),
            Row("late interaction", {"model.name": "late"}),
            Row("CPFEAN", fields.CPFEAN),
        ),
    )
