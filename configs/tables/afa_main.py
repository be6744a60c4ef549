"""The table of AFA beside single-vector models in the same frame, and beside published numbers of the field.

    python -m itm_jax.reproduce --table=configs/tables/afa_main.py --workdir=runs/tables
    python -m itm_jax.reproduce --table=configs/tables/afa_main.py --workdir=runs/f30k \\
        --dataset=f30k --config.data.dir=DIR
    python -m itm_jax.reproduce --table=configs/tables/afa_main.py --workdir=runs/coco \\
        --dataset=coco --config.data.dir=DIR

COCO has both protocols, 5-fold 1K and 5K; --config.eval.ground_truth=DIR adds ECCV Caption and CxC. On f8k and with
--dataset=scenes_minilm the text encoder is frozen and the joint width is 256, where AFA is weaker than with its own
width, 1024 (docs/measured.md).
"""

import pathlib

from itm_jax.config.load import load_module
from itm_jax.tables import Row, Table

bases, fields = (load_module(pathlib.Path(__file__).with_name(f"{name}.py")) for name in ("bases", "fields"))


def get_table():
    return Table(
        title="AFA and single-vector models",
        question="Does adaptive aggregation beat plain pooling (VSE++) and learned pooling (VSE∞) in one frame?",
        bases=bases.main(),
        minutes={"scenes": 6, "scenes_minilm": 5, "f8k": 5},
        seeds=(0, 1, 2),
        reference="AFA",
        field=fields.METHODS,
        rows=(
            Row("VSE++ (mean)", {"model.name": "vsepp"}, "single models", published="VSE++ (re-impl. by VSE_infty)"),
            Row("VSE∞ (GPO)", {"model.name": "vseinf"}, "single models", published="VSE_infty (GPO)"),
            Row("AFA", fields.AFA, "single models", published="AFA"),
            Row(
                "AFA, official variant",
                fields.AFA | {"model.variant": "official"},
                "single models",
                datasets=("f30k", "coco"),
            ),
            Row("AFA + VSE∞", group="ensembles", ensemble=("AFA", "VSE∞ (GPO)")),
            Row("AFA + VSE++", group="ensembles", ensemble=("AFA", "VSE++ (mean)")),
        ),
    )
