"""The table that shows what each part of CPFEAN is worth.

    python -m itm_jax.reproduce --table=configs/tables/cpfean_ablation.py --workdir=runs/tables

Each row changes one thing of the whole system, which includes the visual Transformer. There are two exceptions: the row
that drops lone regions also has the higher threshold, at which more regions are alone; and dependency edges connect
whole words, not word pieces. SCAN's files of Flickr30K and COCO have no boxes and labels, so the rows about them are
left out there.
"""

import pathlib

from itm_jax.config.load import load_module
from itm_jax.tables import Row, Table

bases = load_module(pathlib.Path(__file__).with_name("bases.py"))


def get_table():
    cpfean = {"model.name": "cpfean", "model.graph.layers": 1}

    def row(name, group, on=(), **fields):
        about_boxes = any(name.startswith(("model__regions", "model__graph__iou")) for name in fields)
        datasets = bases.LITTLE if about_boxes else on
        if fields.get("model__words__graph") == "sparse":
            datasets = bases.GENERATED  # the only ones with dependency edges
        return Row(name, cpfean | {k.replace("__", "."): v for k, v in fields.items()}, group, datasets=datasets)

    regions, words, fusion, alignment = "regions", "words", "fusion", "alignment"
    scenes, elsewhere = ("scenes", "f8k"), ("scenes_minilm", "f30k", "coco")  # on the first the recipe has β = 0, γ = 1
    return Table(
        title="CPFEAN, ablation",
        question="Which parts of CPFEAN carry it: priors, graphs, fusion, or the alignment of prominent fragments?",
        bases=bases.short(),
        reference="CPFEAN",
        minutes={"scenes": 40, "scenes_minilm": 25},
        rows=(
            Row("CPFEAN", cpfean, published="CPFEAN", seeds=(0, 1, 2)),
            row("no label prior", regions, model__regions__labels=False),
            row("no box prior", regions, model__regions__boxes=False),
            row("no visual Transformer", regions, model__graph__layers=0),
            row("attention of all regions (no IoU threshold)", regions, model__graph__iou=-1.0),
            row("IoU > 0.4", regions, model__graph__iou=0.4),
            row("IoU > 0.4, lone regions dropped", regions, model__graph__iou=0.4, model__graph__filter=True),
            row("no GCN", words, model__words__layers=0),
            row("GCN that starts at the usual size", words, model__words__scale=1.0),
            row("sparse graph (dependency edges)", words, model__words__graph="sparse"),
            row("no fusion", fusion, model__fusion__rounds=0),
            row("2 rounds", fusion, model__fusion__rounds=2),
            row("3 rounds", fusion, model__fusion__rounds=3),
            row("cross-attention (SCAN t2i) in its place", alignment, model__alignment__kind="cross_attention"),
            row("words' side only", alignment, model__alignment__sides="words"),
            row("regions' side only", alignment, model__alignment__sides="regions"),
            row("β = 0 (no prominence from the pair)", alignment, elsewhere, model__alignment__beta=0.0),
            row("γ = 1 (corpus prior)", alignment, elsewhere, model__alignment__gamma=1.0),
            row("β = 1 (prominence from the pair too)", alignment, scenes, model__alignment__beta=1.0),
            row("γ = 0 (no corpus prior)", alignment, scenes, model__alignment__gamma=0.0),
        ),
    )
