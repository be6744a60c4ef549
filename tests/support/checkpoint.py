"""A random tiny BERT checkpoint in Hugging Face form."""

import json
import shutil

import numpy as np
from safetensors.numpy import save_file


def write_checkpoint(directory):
    """Writes a checkpoint with the vocabulary of `scenes`; returns its directory."""
    from itm_jax.data.text.text_input import SCENES_VOCAB
    from itm_jax.pretrained.huggingface import expected_tensors, read_config

    rng = np.random.default_rng(0)
    size = len(SCENES_VOCAB.read_text().splitlines())
    config = {
        "model_type": "bert", "vocab_size": size, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 16, "max_position_embeddings": 12, "type_vocab_size": 2, "hidden_act": "gelu",
    }  # fmt: skip
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    shutil.copy(SCENES_VOCAB, directory / "vocab.txt")
    tensors = {}
    for name, (_, shape, transposed) in expected_tensors(read_config(directory)).items():
        flat = {3: (shape[0], -1) if "output" not in name else (-1, shape[-1])}.get(len(shape))
        value = (
            rng.standard_normal(shape).astype(np.float32).reshape(flat or (np.prod(shape) if "self" in name else shape))
        )
        tensors["bert." + name] = np.ascontiguousarray(value.T if transposed else value)
    tensors["cls.predictions.bias"] = np.zeros(size, np.float32)
    save_file(tensors, directory / "model.safetensors")
    return directory
