"""The table that shows what wrong labels and noisy words cost.

    python -m itm_jax.reproduce --table=configs/tables/robustness.py --workdir=runs/tables

The first row of each model is trained on clean data. The rows below it evaluate the same run on test data with noise.
The last rows are trained with the noise too. SCAN's files of Flickr30K and COCO have no labels, so the rows about
labels are left out there.
"""

import pathlib

from itm_jax.config.load import load_module
from itm_jax.tables import Row, Table

bases, fields = (load_module(pathlib.Path(__file__).with_name(f"{name}.py")) for name in ("bases", "fields"))


def get_table():
    labelled = bases.LITTLE  # SCAN's files have no labels
    labels, words = "data.alter.permuted_labels", "data.alter.noisy_words"
    rows = [Row("CPFEAN", fields.CPFEAN, "CPFEAN"), Row("AFA", fields.AFA, "AFA", reference="AFA")]
    for share in (0.25, 0.5, 1.0):
        noise = {labels: share, "data.name": f"labels{share:.0%}".replace("%", "")}
        rows.append(
            Row(
                f"CPFEAN, {share:.0%} of the labels permuted",
                noise,
                "labels permuted at the test",
                of="CPFEAN",
                datasets=labelled,
            )
        )
    for model in ("CPFEAN", "AFA"):
        for share in (0.1, 0.2, 0.4):
            noise = {words: share, "data.name": f"words{share:.0%}".replace("%", "")}
            rows.append(Row(f"{model}, {share:.0%} of the words noisy", noise, "noisy words at the test", of=model))
    trained = "trained with the noise too"
    rows.append(Row("CPFEAN, all labels permuted", fields.CPFEAN | {labels: 1.0}, trained, datasets=labelled))
    rows.append(Row("CPFEAN, 20% of the words noisy throughout", fields.CPFEAN | {words: 0.2}, trained))
    rows.append(Row("AFA, 20% of the words noisy throughout", fields.AFA | {words: 0.2}, trained, reference="AFA"))
    return Table(
        title="Wrong labels and noisy words",
        question="What do wrong labels and noisy words cost, at the test and throughout?",
        bases=bases.short(),
        minutes={"scenes": 11, "scenes_minilm": 8},
        reference="CPFEAN",
        rows=tuple(rows),
        note=fields.LEFT_OUT,
    )
