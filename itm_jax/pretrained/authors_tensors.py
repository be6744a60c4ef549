"""The names of the tensors in checkpoints of itmAFA and VSE∞, and where each one goes in our parameters.

Both keep an image encoder and a text encoder apart. The networks are those of `models.afa.AFA` (`variant=official`) and
of `models.baselines.VSE` (`name=vseinf`).
"""

import re
from typing import Any

import numpy as np

from itm_jax.modules.bert import BertConfig
from itm_jax.pretrained.huggingface import expected_tensors
from itm_jax.pretrained.tensor_maps import Table

BERT = "bert."
GPO_WIDTH = 32  # of the codes of positions and of the hidden states, in their code and in `modules.selection.GPO`
# Tensors that their networks do not use in evaluation: the counters of BatchNorm, the BatchNorm behind the last layer
# of the MLP, which their code makes and never calls, and what stands beside the encoder in BertModel (the pooler).
UNUSED = re.compile(
    r"mlp\.bns\.(0\.num_batches_tracked$|1\.)|bert\.(pooler\.|embeddings\.(position_ids|token_type_ids)$)"
)
GATES = ("r", "z", "n")  # in the order of PyTorch's rows
DIRECTIONS = {"": "GRUCell_0", "_reverse": "GRUCell_1"}  # the names of Flax


def image_table(features: int, width: int, *, gpo: bool) -> Table:
    """Returns the table of the image encoder for region features: a linear layer, an MLP, and GPO."""
    branch = ("params", "image_branch", "enhancement")
    stats = ("batch_stats", "image_branch", "enhancement", "mlp_norm")
    hidden = width // 2
    out = {
        **_dense("fc", (*branch, "linear"), features, width),
        **_dense("mlp.layers.0", (*branch, "mlp_in"), features, hidden),
        **_dense("mlp.layers.1", (*branch, "mlp_out"), hidden, width),
        "mlp.bns.0.weight": ((*branch, "mlp_norm", "scale"), (hidden,), False),
        "mlp.bns.0.bias": ((*branch, "mlp_norm", "bias"), (hidden,), False),
        "mlp.bns.0.running_mean": ((*stats, "mean"), (hidden,), False),
        "mlp.bns.0.running_var": ((*stats, "var"), (hidden,), False),
    }
    return {**out, **_gpo("image_branch")} if gpo else out


def text_table(bert: BertConfig, width: int, *, gpo: bool) -> Table:
    """Returns the table of the text encoder: a BERT, a linear layer, and GPO."""
    out = {
        BERT + name: (("params", "text_encoder", *path), shape, transposed)
        for name, (path, shape, transposed) in expected_tensors(bert).items()
    }
    out |= _dense("linear", ("params", "text_branch", "enhancement", "linear"), bert.hidden_size, width)
    return {**out, **_gpo("text_branch")} if gpo else out


def _dense(name: str, path: tuple[str, ...], inputs: int, outputs: int) -> Table:
    return {
        f"{name}.weight": ((*path, "kernel"), (inputs, outputs), True),
        f"{name}.bias": ((*path, "bias"), (outputs,), False),
    }


def _gpo(branch: str) -> Table:
    """The tensors of GPO; those of its GRUs keep PyTorch's form here, and `split_gates` turns them into ours."""
    path = ("params", branch, "gpo")
    rows = 3 * GPO_WIDTH
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("weight_ih", "weight_hh"), (rows, GPO_WIDTH))
    shapes |= dict.fromkeys(("bias_ih", "bias_hh"), (rows,))
    grus = {
        f"gpool.gru.{name}_l0{suffix}": ((*path, cell, name), shape, False)
        for suffix, cell in DIRECTIONS.items()
        for name, shape in shapes.items()
    }
    return {"gpool.linear.weight": ((*path, "weight", "kernel"), (GPO_WIDTH, 1), True), **grus}


def split_gates(params: Any) -> None:
    """Turns the GRUs of GPO from PyTorch's form into that of Flax, in place.

    PyTorch has the three gates below one another, and two biases for each. Those of the gates r and z only add up; the
    second one of n is multiplied by r, and stays apart.
    """
    for branch in params.values():
        for cell in DIRECTIONS.values():
            if cell in branch.get("gpo", {}):
                branch["gpo"][cell] = _cell(**branch["gpo"][cell])


def _cell(weight_ih: np.ndarray, weight_hh: np.ndarray, bias_ih: np.ndarray, bias_hh: np.ndarray) -> dict[str, Any]:
    out: dict[str, Any] = {}
    parts = (np.split(x, 3) for x in (weight_ih, weight_hh, bias_ih, bias_hh))
    for gate, w_i, w_h, b_i, b_h in zip(GATES, *parts, strict=True):
        out[f"i{gate}"] = {"kernel": np.ascontiguousarray(w_i.T), "bias": b_i if gate == "n" else b_i + b_h}
        out[f"h{gate}"] = {"kernel": np.ascontiguousarray(w_h.T)} | ({"bias": b_h.copy()} if gate == "n" else {})
    return out
