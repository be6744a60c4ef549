"""The main models with the text encoder fine-tuned, at a tenth of the learning rate of the rest.

    python -m itm_jax.reproduce --table=configs/tables/fine_tuned.py --workdir=runs/tables
    python -m itm_jax.reproduce --table=fine_tuned --workdir=runs/tables --dataset=f8k --config.data.dir=DIR

On `scenes` the text encoder is from scratch and learns at the full rate, as in the main tables.
"""

import pathlib

from itm_jax.config.load import load_module
from itm_jax.tables import Row, Table

bases, fields = (load_module(pathlib.Path(__file__).with_name(f"{name}.py")) for name in ("bases", "fields"))
TUNED = {"model.text.trainable": True, "optim.text_lr_factor": 0.1}
PRETRAINED = ("scenes_minilm", "f8k", "f30k", "coco")


def get_table():
    return Table(
        title="The text encoder fine-tuned",
        question="Which model leads where the text encoder learns too?",
        bases=bases.main(),
        minutes={"scenes": 16},
        reference="AFA",
        rows=tuple(
            Row(model, overrides | tuned, "fine-tuned", datasets=datasets)
            for model, overrides in fields.MODELS.items()
            for tuned, datasets in (({}, ("scenes",)), (TUNED, PRETRAINED))
        ),
        note=fields.LEFT_OUT,
    )
