"""The table that shows what each part of CPFEAN is worth.

    python -m itm_jax.reproduce --table=configs/tables/cpfean_ablation.py --workdir=runs/tables

Each row changes one thing of the recipe. On `scenes` and f8k the recipe has no visual Transformer and no word GCN
(docs/cpfean.md), so rows add them, and rows below such a row change one thing of it. On Flickr30K and COCO the recipe
is the paper's form, so rows take parts away. Dependency edges connect whole words, not word pieces. SCAN's files of
Flickr30K and COCO have no boxes and labels, so the rows about them are left out there.
"""

import pathlib

from itm_jax.config.load import load_module
from itm_jax.tables import Row, Table

bases, fields = (load_module(pathlib.Path(__file__).with_name(f"{name}.py")) for name in ("bases", "fields"))
LARGE = ("f30k", "coco")


def get_table():
    def row(name, group, datasets=(), reference="", **changes):
        overrides = fields.CPFEAN | {k.replace("__", "."): v for k, v in changes.items()}
        return Row(name, overrides, group, datasets=datasets, reference=reference)

    regions, words, fusion, alignment = "regions", "words", "fusion", "alignment"
    with_graph, with_gcn = "with the visual Transformer", "with the word GCN"
    graph, gcn, region = {"model__graph__layers": 1}, {"model__words__layers": 1}, {"model__fusion__gate": "region"}
    little = bases.LITTLE
    return Table(
        title="CPFEAN, ablation",
        question="Which parts of CPFEAN carry it: priors, graphs, fusion, or the alignment of prominent fragments?",
        bases=bases.short(),
        reference="CPFEAN",
        minutes={"scenes": 40, "scenes_minilm": 25},
        rows=(
            Row("CPFEAN", fields.CPFEAN, published="CPFEAN", seeds=(0, 1, 2)),
            row("no label prior", regions, little, model__regions__labels=False),
            row("no box prior", regions, little, model__regions__boxes=False),
            row(with_graph, regions, little, **graph),
            row(
                "attention of all regions (no IoU threshold)",
                regions,
                little,
                with_graph,
                **graph,
                model__graph__iou=-1.0,
            ),
            row("IoU > 0.4", regions, little, with_graph, **graph, model__graph__iou=0.4),
            row(
                "IoU > 0.4, lone regions dropped",
                regions,
                little,
                "IoU > 0.4",
                **graph,
                model__graph__iou=0.4,
                model__graph__filter=True,
            ),
            row("no visual Transformer", regions, LARGE, model__graph__layers=0),
            row(with_gcn, words, little, **gcn),
            row("GCN without ReLU", words, little, with_gcn, **gcn, model__words__activation="none"),
            row("GCN that starts at the usual size", words, little, with_gcn, **gcn, model__words__scale=1.0),
            row(
                "sparse graph (dependency edges)", words, bases.GENERATED, with_gcn, **gcn, model__words__graph="sparse"
            ),
            row("no GCN", words, LARGE, model__words__layers=0),
            row("no fusion", fusion, model__fusion__rounds=0),
            row("2 rounds", fusion, model__fusion__rounds=2),
            row("3 rounds", fusion, model__fusion__rounds=3),
            row("gate of region, word and cosine", fusion, little, **region),
            row("gate of the cosine alone", fusion, LARGE, model__fusion__gate="cosine"),
            row("regions weigh the same (power 0)", fusion, model__fusion__power=0.0),
            row("regions weigh as their gates (power 1)", fusion, little, model__fusion__power=1.0),
            row("cross-attention (SCAN t2i) in its place", alignment, model__alignment__kind="cross_attention"),
            row("words' side only", alignment, model__alignment__sides="words"),
            row("regions' side only", alignment, model__alignment__sides="regions"),
            row("β = 1 (prominence from the pair too)", alignment, little, model__alignment__beta=1.0),
            row("γ = 0 (no corpus prior)", alignment, little, model__alignment__gamma=0.0),
            row("β = 0 (no prominence from the pair)", alignment, LARGE, model__alignment__beta=0.0),
            row("γ = 1 (corpus prior)", alignment, LARGE, model__alignment__gamma=1.0),
        ),
    )
