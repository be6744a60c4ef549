"""Readers of models and runs: safetensors, tokenizers, configs, checkpoints, exported folders, PyTorch files."""

import contextlib
import hashlib
import json

from fuzz import made
from fuzz.cases import Target


def read_bert(folder, names, out):
    """A BERT of Hugging Face: config, weights, tokenizer."""
    from itm_jax.data.text.fingerprints import of_tokenizer
    from itm_jax.pretrained.huggingface import load_bert

    _, _, tokenizer = load_bert(str(folder / names[0].split("/")[0]))
    of_tokenizer(tokenizer.backend_tokenizer)


def weights_seed():
    """One file, and two shards with an index."""
    import numpy as np
    from safetensors.numpy import save

    one, two = (save({name: np.arange(6, dtype=np.float32).reshape(2, 3)}) for name in ("a", "b"))
    half = save({"a": np.zeros((2, 2), np.float16), "n": np.zeros(0, np.int64)}, {"format": "x"})
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    return {
        "one/model.safetensors": half,
        "two/model-00001-of-00002.safetensors": one,
        "two/model-00002-of-00002.safetensors": two,
        "two/model.safetensors.index.json": json.dumps(index).encode(),
    }


def read_weights(folder, names, out):
    """All tensors of a directory."""
    from itm_jax.pretrained.safetensors_files import read_safetensors

    read_safetensors(folder / names[0].split("/")[0])


def read_backbone(folder, names, out):
    """A ViT as a backbone of `extract`."""
    from itm_jax.vision.backbones import _from_checkpoint

    _from_checkpoint("vit", str(folder / "vit"), ())


def vocabulary_seed():
    """A vocabulary of each kind."""
    from itm_jax.data.text.text_input import SCENES_VOCAB

    words = "\n".join(SCENES_VOCAB.read_text().split("\n")[:12]) + "\n"
    return {"vocab.txt": (words + "red\ngreen\n" * ("red" not in words)).encode()}


def read_vocabulary(folder, names, out):
    """Words of a BiGRU, and of a BERT from scratch."""
    from itm_jax.data.text.text_input import wordpiece_tokenizer
    from itm_jax.data.text.vocabulary import read_vocabulary as read
    from itm_jax.data.text.vocabulary import word_tokenizer
    from itm_jax.errors import InputError

    with contextlib.suppress(InputError):
        word_tokenizer(read(folder / "vocab.txt")).encode("a red dog")
    wordpiece_tokenizer(folder / "vocab.txt").encode("a red dog")


def resummed_export(rng, files):
    """Puts the right checksums into itm_jax.json of an exported folder."""
    record = "itm_jax.json"
    content = made.exported()
    if rng.random() < 0.9 and record not in files:
        values = json.loads(content[record])
        sums = {n: hashlib.sha256(c).hexdigest() for n, c in files.items()}
        values["sha256"] |= {n: s for n, s in sums.items() if n in values["sha256"]}
        files[record] = json.dumps(values).encode()
    return files


def read_exported(folder, names, out):
    """The files of an exported folder."""
    from itm_jax.hub.folder import is_exported, read_folder

    if is_exported(folder):
        read_folder(folder)


def load_exported(folder, names, out):
    """`itm_jax.load` of an exported folder."""
    import itm_jax

    itm_jax.load(folder)


def torch_seed():
    """A checkpoint with the keys of the authors', and one in the form before PyTorch 1.6."""
    import argparse
    import io

    import torch

    opt = {"embed_size": 4, "img_dim": 5, "precomp_enc_type": "basic", "no_imgnorm": False, "no_txtnorm": False}
    opt |= {"data_name": "f30k_precomp", "batch_size": 8}
    content = {"model": [{"fc.weight": torch.zeros(4, 5)}, {"linear.weight": torch.zeros(4, 3)}], "epoch": 1}
    out = {}
    for name, options, new in (("new.pth", argparse.Namespace(**opt), True), ("old.pth", opt, False)):
        file = io.BytesIO()
        torch.save({**content, "opt": options}, file, _use_new_zipfile_serialization=new)
        out[name] = file.getvalue()
    return out


def read_torch(folder, names, out):
    """A checkpoint of the authors: nothing of it is executed."""
    from itm_jax.pretrained.authors import _check_network, _parts
    from itm_jax.pretrained.pytorch_files import read_pytorch

    path = folder / names[0]
    images, captions, opt, _ = _parts(path, read_pytorch(path))
    _check_network(path, "itmafa", opt, images, captions)


def read_lite(folder, names, out):
    """Weights of EfficientNet: another file than the published one is refused."""
    from itm_jax.errors import InputError
    from itm_jax.vision.torch_file import read_torch_file

    path = folder / names[0]
    try:
        read_torch_file(path, "0" * 64)
    except InputError:
        return
    raise AssertionError("a file with another checksum was read")


MODELS = {
    "safetensors": Target(weights_seed, read_weights),
    "bert": Target(made.bert, read_bert, weight=0.3),
    "backbone": Target(made.vit, read_backbone, weight=0.3),
    "vocabulary": Target(vocabulary_seed, read_vocabulary),
    "exported_files": Target(made.exported, read_exported, repair=resummed_export, weight=0.5),
    "exported_load": Target(
        made.exported, load_exported, repair=resummed_export, weight=0.02, seconds=30, megabytes=1500
    ),
    "pytorch": Target(torch_seed, read_torch, needs="torch"),
    "torch_file": Target(torch_seed, read_lite, weight=0.3, needs="torch"),
}
