"""The table that shows what the batch size decides, where the hardest negative is chosen from the batch.

    python -m itm_jax.reproduce --table=configs/tables/batch_size.py --workdir=runs/tables
    python -m itm_jax.reproduce --table=batch_size --workdir=runs/tables --dataset=f8k --config.data.dir=DIR

Every row passes over the data as often, so a larger batch means fewer steps. In the rows "rate grows" the learning rate
is the recipe's for 64 pairs, times the square root of how much larger the batch is. Captions of larger batches go
through a trained text encoder in parts of 128 pairs (train.text_parts), with the same gradient and less memory.
"""

import pathlib

from itm_jax.config.load import load_module
from itm_jax.tables import Row, Table

bases, fields = (load_module(pathlib.Path(__file__).with_name(f"{name}.py")) for name in ("bases", "fields"))
SIZES = (64, 128, 256, 512)
FROZEN = ("scenes_minilm", "f8k")  # data sets on which the text encoder of the recipe is frozen


def get_table():
    def rows(model, overrides, dataset):
        rate = bases.rate(dataset, overrides["model.name"])
        for grows in (False, True):
            curve = f"{model}, rate grows" if grows else model
            for size in SIZES[grows:]:
                batch = {"data.batch_size": size}
                if grows:
                    batch["optim.lr"] = round(rate * (size / SIZES[0]) ** 0.5, 7)
                if dataset not in FROZEN and size > 128:
                    batch["train.text_parts"] = size // 128
                name = f"{model}, {size} pairs" + ", rate grows" * grows
                reference = f"{model}, {SIZES[1]} pairs"
                yield Row(name, overrides | batch, curve, x=size, reference=reference, datasets=(dataset,))

    every = bases.main()
    return Table(
        title="Batch size",
        question="How much of the recall does the batch size decide, with the same number of epochs?",
        bases=every,
        minutes={"scenes": 40},
        axis="pairs in a batch",
        rows=tuple(
            row
            for dataset in every
            for model, overrides in (("AFA", fields.AFA), ("CPFEAN", fields.CPFEAN))
            for row in rows(model, overrides, dataset)
        ),
        note="A larger batch has fewer steps and more negatives to choose the hardest one from.",
    )
