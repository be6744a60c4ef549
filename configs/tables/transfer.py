"""The table of models that are trained on one data set and evaluated on others.

    python -m itm_jax.reproduce --table=configs/tables/transfer.py --workdir=runs/tables
    python -m itm_jax.reproduce --table=configs/tables/transfer.py --workdir=runs/tables \\
        --dataset=f8k --config.data.dir=DIR

Models trained on `scenes` are evaluated on `scenes` with other noise of the detector and other numbers of regions.
Models trained on f8k are evaluated on a world of `scenes` with regions of f8k's width, which has nothing in common with
f8k.
--on=NAME:DIR adds any other directory in SCAN's form (medical, satellite, ...) with features of the same extractor:

    python -m itm_jax.reproduce --table=configs/tables/transfer.py --workdir=runs/f30k --dataset=f30k \\
        --config.data.dir=F30K --on=coco:COCO
"""

import pathlib

from itm_jax.config.load import load_module
from itm_jax.tables import Row, Table

bases, fields = (load_module(pathlib.Path(__file__).with_name(f"{name}.py")) for name in ("bases", "fields"))


def get_table():
    rows = []
    foreign = {"data.source": "scenes", "data.scenes.features": 512, "data.scenes.regions": 36, "data.scenes.test": 300}
    for model, overrides in (("AFA", fields.AFA), ("CPFEAN", fields.CPFEAN)):
        rows.append(Row(model, overrides, model, reference=model))
        for name, world in (
            ("less noise", {"data.scenes.noise": 1.0}),
            ("more noise", {"data.scenes.noise": 2.0}),
            ("8 regions", {"data.scenes.regions": 8}),
            ("36 regions", {"data.scenes.regions": 36}),
        ):
            world = world | {"data.name": f"scenes-{name.replace(' ', '-')}"}
            rows.append(Row(f"{model} on {name}", world, model, of=model, datasets=bases.GENERATED))
        rows.append(Row(f"{model} on scenes", foreign | {"data.name": "scenes512"}, model, of=model, datasets=("f8k",)))
    return Table(
        title="Transfer",
        reference="CPFEAN",
        question="What is left of a model on data that it was not trained for?",
        bases=bases.short(),
        minutes={"scenes": 6, "scenes_minilm": 4, "f8k": 6},
        rows=tuple(rows),
        note=fields.LEFT_OUT,
    )
