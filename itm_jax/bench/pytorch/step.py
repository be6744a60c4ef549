"""The training step in plain PyTorch, on the batch of our step and from its parameters."""

from typing import Any

import jax
import numpy as np
import torch
from torch.nn import functional as F

from itm_jax.bench.pytorch import models as torch_models
from itm_jax.config.default import default_config
from itm_jax.config.derived import complete
from itm_jax.config.fields import flatten
from itm_jax.errors import InputError
from itm_jax.losses.negatives import excluded_pairs
from itm_jax.modules.text_encoder import encoder_config, word_mask
from itm_jax.runs.checksums import leaf_names
from itm_jax.structs import WORD_PRIOR

# The fields that the models of `torch_models` read; any other field of SECTIONS must have its default.
READ = {
    "afa": ("model.aggregation.enabled", "model.aggregation.ratio", "model.aggregation.shuffle"),
    "cpfean": (
        "model.graph.layers",
        "model.graph.heads",
        "model.graph.dropout",
        "model.graph.iou",
        "model.regions.boxes",
        "model.regions.labels",
        "model.regions.label_names",
        "model.words.layers",
        "model.words.scale",
        "model.fusion.rounds",
        "model.fusion.scale",
        "model.fusion.bias",
        "model.alignment.beta",
        "model.alignment.gamma",
    ),
}
SECTIONS = (
    "model.aggregation.",
    "model.enhancement.",
    "model.selection",
    "model.variant",
    "model.regions.",
    "model.graph.",
    "model.words.",
    "model.fusion.",
    "model.alignment.",
    "model.text.activation",
    "train.remat",
    "loss.soft_negatives",
    "loss.same_image",
    "loss.num_negatives",
    "loss.tau",
    "loss.fold",
    "loss.normalize_mix",
    "loss.stop_gradient",
    "train.text_parts",
)
# Parts of our parameter names and what they are called in PyTorch, where `type` is a method of every module.
NAMES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "type": "types"}


def check(config) -> None:
    """Raises InputError where the model of the config is not written in PyTorch here."""
    name, plain = config.model.name, default_config()
    if name not in READ or not (name == "afa" or config.model.fusion.rounds):
        raise InputError(
            f"--against=torch: config.model.name={name} is not written in PyTorch; use afa, or cpfean with fusion"
        )
    plain.model.name = name
    given, known = flatten(config), flatten(complete(plain))
    bad = [f for f in given if f.startswith(SECTIONS) and f not in READ[name] and given[f] != known[f]]
    if name == "cpfean" and not (config.model.regions.boxes and config.model.regions.labels):
        bad.append("model.regions")
    if bad or config.model.text.encoder != "bert":
        field = (bad or ["model.text.encoder"])[0]
        raise InputError(f"--against=torch: this value of config.{field} is not written in PyTorch; use the default")


def torch_name(name: str) -> str:
    """Returns the PyTorch name of one of our parameters, which is named like `a/b/kernel`."""
    return ".".join(NAMES.get(part, part) for part in name.split("/"))


def load(model: torch.nn.Module, params: Any) -> None:
    """Copies our parameters into the PyTorch model; raises ValueError where one of the two models lacks a parameter."""
    theirs, seen = dict(model.named_parameters()), set()
    for name, value in zip(leaf_names(params), jax.tree.leaves(params), strict=True):
        target = torch_name(name)
        if target not in theirs:
            raise ValueError(f"{name}: not in the PyTorch model")
        t, x = theirs[target], np.array(value)
        x = x.reshape(tuple(t.shape)[::-1]).T if name.endswith("/kernel") else x.reshape(tuple(t.shape))
        t.data.copy_(torch.from_numpy(x.copy()).to(t.device))
        seen.add(target)
    if missing := set(theirs) - seen:
        raise ValueError(f"{sorted(missing)[0]}: only in the PyTorch model")


def tensors(batch, device: str) -> dict[str, torch.Tensor]:
    """Returns the arrays of a host batch as tensors by name."""
    arrays = {
        "features": batch.regions.features,
        "regions": batch.regions.mask,
        "boxes": batch.regions.boxes,
        "labels": batch.regions.labels,
        "ids": batch.tokens.ids,
        "tokens": batch.tokens.mask,
        "states": batch.tokens.states,
        "words": word_mask(batch.tokens),
        "excluded": excluded_pairs(batch.image, same_image="mask", num_negatives=0),
    }
    out = {k: torch.from_numpy(np.array(v)).to(device) for k, v in arrays.items() if v is not None}
    floats = {k: v.float() for k, v in out.items() if v.is_floating_point()}
    return out | floats | {k: out[k].long() for k in ("ids", "labels") if k in out}


def triplet(scores, excluded, margin: float):
    """Returns terms 1-2 of the loss, with the hardest negatives."""
    positive, masked = scores.diagonal(), scores.masked_fill(excluded, torch_models.NEG)
    return sum(F.relu(margin - positive + masked.amax(axis)).sum() for axis in (0, 1))


def mixed(scores, images, captions, excluded, margin: float):
    """Returns terms 3-4 of the loss, with half the margin.

    Negatives are mixed with the positive; the negative gets the larger weight.
    """
    positive, masked = scores.diagonal(), scores.masked_fill(excluded, torch_models.NEG)
    terms = []
    for query, gallery, s in ((images, captions, masked), (captions, images, masked.T)):
        weight = torch.rand(len(query), 1, device=query.device)
        weight = torch.minimum(weight, 1 - weight)
        soft = weight * gallery + (1 - weight) * gallery[s.argmax(1)]
        terms.append(F.relu(margin / 2 - positive + (query * soft).sum(1)).sum())
    return sum(terms)


class TorchStep:
    """A training step on the batch of `ours` (a `bench.train.StepOnRandomBatch`), from its parameters, equally precise.

    bfloat16 is by autocast; in float32 a GPU may use its TF32 products, as JAX does.

    It leaves out, in PyTorch's favour: augmentation except dropped regions, because such scripts augment on the host
    while the step runs; a learning rate for each part; the guard against steps that are not finite.
    """

    def __init__(self, ours):
        """Builds the model, and copies the parameters and the batch of `ours`."""
        config = ours.config
        check(config)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.config, self.half = config, config.model.dtype == "bfloat16"
        torch.set_float32_matmul_precision("high" if self.device == "cuda" else "highest")
        precision = "autocast to bfloat16" if self.half else f"float32, {torch.get_float32_matmul_precision()}"
        self.version = f"{torch.__version__}, {self.device}, {torch.get_num_threads()} threads, {precision}"
        batch = ours.data.batch(np.arange(config.data.batch_size))
        self.batch = tensors(batch, self.device)
        if WORD_PRIOR in ours.state.batch_stats:
            prior = np.array(ours.state.batch_stats[WORD_PRIOR])[batch.tokens.ids]
            self.batch["prior"] = torch.from_numpy(prior).to(self.device)
        bank = ours.data.label_bank
        self.model = torch_models.MODELS[config.model.name](
            config.model,
            encoder_config(config.model),
            batch.regions.features.shape[-1],
            bank=None if bank is None else torch.from_numpy(np.array(bank, np.float32)),
        ).to(self.device)
        load(self.model, ours.state.params)
        self.parameters = sum(p.numel() for p in self.model.parameters())
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.optim.lr, weight_decay=config.optim.weight_decay
        )

    def __call__(self) -> float:
        """Makes one step, and returns its loss."""
        config, x = self.config, dict(self.batch)
        x["regions"] = x["regions"] & (
            torch.rand(x["regions"].shape, device=self.device) >= config.data.augment.region_drop
        )
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.half):
            scores, images, captions = self.model(x)
        scores = scores.float()
        loss = triplet(scores, x["excluded"], config.loss.margin)
        if images is not None:
            loss = loss + mixed(scores, images, captions, x["excluded"], config.loss.margin)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.optim.clip)
        self.optimizer.step()
        return float(loss.detach())
