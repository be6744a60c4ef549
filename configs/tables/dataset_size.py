"""The table that shows how recall grows with the number of training images.

    python -m itm_jax.reproduce --table=configs/tables/dataset_size.py --workdir=runs/tables

Rows with fewer images have more epochs, so that all rows have the same number of steps, up to the last batch of each
epoch. So they differ in the data and not in the length of training. They are evaluated on dev equally often.
"""

import pathlib

from itm_jax.config.load import load_module
from itm_jax.tables import Row, Table

bases, fields = (load_module(pathlib.Path(__file__).with_name(f"{name}.py")) for name in ("bases", "fields"))


def of_share(share, epochs, decay):
    """Returns the fields that keep the number of steps for a share of the images."""
    return {
        "data.train_share": share,
        "train.epochs": epochs / share,
        "train.eval_every_epochs": 1 / share,
        "loss.warmup_epochs": 1 / share,
        "optim.decay_epochs": (round(decay / share),),
    }


def get_table():
    return Table(
        title="Number of training images",
        question="How do AFA and CPFEAN grow with the number of training images, at the same number of steps?",
        bases=bases.short(),
        minutes={"scenes": 13, "scenes_minilm": 7},
        axis="percent of the training images",
        note=fields.LEFT_OUT,
        rows=tuple(
            Row(
                f"{model}, {share:.0%} of the images",
                overrides | (of_share(share, *schedule) if share < 1 else {}),
                model,
                x=100 * share,
                reference=f"{model}, 100% of the images",
                datasets=(dataset,),
            )
            for dataset, schedule in bases.EPOCHS.items()
            for model, overrides in (("AFA", fields.AFA), ("CPFEAN", fields.CPFEAN))
            for share in (0.1, 0.25, 0.5, 1.0)
        ),
    )
