"""The table that shows what each part of AFA is worth.

    python -m itm_jax.reproduce --table=configs/tables/afa_ablation.py --workdir=runs/tables

Each row changes one thing. With 16 regions a ratio of 0.05 merges none of them, so the table has the pairing at a ratio
of 0.2 too. The official variant is the authors' released code (docs/afa.md).
"""

import pathlib

from itm_jax.config.load import load_module
from itm_jax.tables import Row, Table

bases = load_module(pathlib.Path(__file__).with_name("bases.py"))


def get_table():
    afa = {"model.name": "afa"}

    def row(name, group, **fields):
        return Row(name, afa | {k.replace("__", "."): v for k, v in fields.items()}, group)

    ratio = afa | {"model.aggregation.ratio": 0.2}
    loss, rows = "loss", "aggregation and selection"
    return Table(
        title="AFA, ablation",
        question="Which parts of AFA carry it: the mixed negatives, the aggregation, or the maximum over its rows?",
        bases=bases.short(),
        reference="AFA",
        minutes={"scenes": 18},
        rows=(
            Row("AFA", afa, published="AFA", seeds=(0, 1, 2)),
            row("triplet only (terms 3-4 dropped)", loss, loss__soft_negatives="none"),
            row("hardest negative in place of mixup", loss, loss__soft_negatives="hardest"),
            row("τ = 0.2", loss, loss__tau=0.2),
            row("τ = 5", loss, loss__tau=5.0),
            row("λ not folded", loss, loss__fold=False),
            row("mixed negatives normalised", loss, loss__normalize_mix=True),
            row("random pairing", rows, model__aggregation__pairing="random"),
            row("no aggregation", rows, model__aggregation__enabled=False),
            row("mean pooling in place of both", rows, model__aggregation__enabled=False, model__selection="mean"),
            row("mean selection", rows, model__selection="mean"),
            row("no shuffle", rows, model__aggregation__shuffle=False),
            Row("ratio 0.2", ratio, rows),
            Row(
                "ratio 0.2, random pairing",
                ratio | {"model.aggregation.pairing": "random"},
                rows,
                reference="ratio 0.2",
            ),
            row("ratio 0.5", rows, model__aggregation__ratio=0.5),
            row("official variant", "the authors' code", model__variant="official"),
        ),
    )
