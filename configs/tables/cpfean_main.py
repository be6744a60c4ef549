"""The table of CPFEAN beside other models in the same frame, and beside published numbers of the field.

    python -m itm_jax.reproduce --table=configs/tables/cpfean_main.py --workdir=runs/tables
    python -m itm_jax.reproduce --table=configs/tables/cpfean_main.py --workdir=runs/f30k \\
        --dataset=f30k --config.data.dir=DIR
    python -m itm_jax.reproduce --table=configs/tables/cpfean_main.py --workdir=runs/coco \\
        --dataset=coco --config.data.dir=DIR

COCO has both protocols, 5-fold 1K and 5K; --config.eval.ground_truth=DIR adds ECCV Caption and CxC. On f8k and `scenes`
the joint width is 256, and CPFEAN has no visual Transformer (docs/measured.md).
"""

import pathlib

from itm_jax.config.load import load_module
from itm_jax.tables import Row, Table

bases, fields = (load_module(pathlib.Path(__file__).with_name(f"{name}.py")) for name in ("bases", "fields"))


def get_table():
    one, several = "single models", "ensembles"
    i2t = {"model.name": "scan", "model.attention.direction": "i2t"}
    return Table(
        title="CPFEAN and what it is compared with",
        question="Does the alignment of prominent fragments beat SCAN, plain late interaction and single-vector "
        "models?",
        bases=bases.main(),
        minutes={"scenes": 14, "scenes_minilm": 14, "f8k": 21},
        seeds=(0, 1, 2),
        reference="CPFEAN",
        field=fields.METHODS,
        note=fields.LEFT_OUT,
        rows=(
            Row("VSE++ (mean)", {"model.name": "vsepp"}, one, published="VSE++ (re-impl. by VSE_infty)"),
            Row("VSE∞ (GPO)", {"model.name": "vseinf"}, one, published="VSE_infty (GPO)"),
            Row("AFA", fields.AFA, one, published="AFA"),
            Row("SCAN (t2i)", {"model.name": "scan"}, one, published="SCAN (T2I_AVE)"),
            Row("SCAN (i2t)", i2t, one, published="SCAN (I2T_AVE)", datasets=("f30k", "coco")),
            Row("late interaction", {"model.name": "late"}, one),
            Row("CPFEAN", fields.CPFEAN, one, published="CPFEAN"),
            Row("CPFEAN + AFA", group=several, ensemble=("CPFEAN", "AFA")),
            Row("CPFEAN + SCAN", group=several, ensemble=("CPFEAN", "SCAN (t2i)")),
        ),
    )
