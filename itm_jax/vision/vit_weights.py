"""Reads the image towers of ViT, CLIP, SigLIP and DINOv2 from Hugging Face checkpoints, by tables of names."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from itm_jax.errors import InputError
from itm_jax.vision.vit import ACTIVATIONS, FORMS, ViT, ViTConfig
from itm_jax.vision.weights import Table, fill, shapes_of

# model_type in config.json -> the form of the network.
MODEL_TYPES = {
    "vit": "vit",
    "clip": "clip",
    "clip_vision_model": "clip",
    "siglip": "siglip",
    "siglip_vision_model": "siglip",
    "dinov2": "dinov2",
}
# What a checkpoint holds besides the layers that give the map: heads, text towers, the token of masked patches.
IGNORED = (
    r"^(classifier|pooler|head|text_model|text_projection|visual_projection|logit_scale|logit_bias)\b|"
    r"^embeddings\.(mask_token|position_ids)$"
)
PREFIX = re.compile(r"^(vit|dinov2|vision_model)\.")  # of the names in a model with a head, or with a text tower
# The sizes in config.json -> the fields of ViTConfig.
SIZES = {
    "hidden_size": "width",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "intermediate_size": "hidden",
    "patch_size": "patch",
    "image_size": "image_size",
}
# Larger sizes are damage. Without a limit, the names of the tensors alone could fill the memory.
MOST, MOST_OTHERS = {"num_hidden_layers": 1000, "image_size": 32_768}, 10**6
EPSILON = {"vit": 1e-12, "clip": 1e-5, "siglip": 1e-6, "dinov2": 1e-6}
ACTIVATION = {"vit": "gelu", "clip": "quick_gelu", "siglip": "gelu_pytorch_tanh", "dinov2": "gelu"}


def config_of(values: Mapping[str, Any], source: str) -> ViTConfig:
    """Returns the sizes in a config.json.

    Raises:
        InputError: it is not of one of these models, or a size is missing or has no meaning here.
    """
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in MODEL_TYPES:
        raise InputError(f"{source}: model_type is {kind!r}; one of {', '.join(MODEL_TYPES)} can be loaded")
    form = MODEL_TYPES[kind]
    given = values.get("vision_config", {}) if kind in ("clip", "siglip") else values
    if not isinstance(given, dict):
        raise InputError(f"{source}: vision_config is {given!r}, expected an object")
    sizes: dict[str, Any] = {**_defaults(form), **given}
    if form == "dinov2" and sizes.get("use_swiglu_ffn"):
        raise InputError(f"{source}: use_swiglu_ffn is not supported (the giant DINOv2); take a smaller one")
    if str(sizes["hidden_act"]) not in ACTIVATIONS:
        raise InputError(f"{source}: hidden_act {sizes['hidden_act']!r} is not one of {', '.join(ACTIVATIONS)}")
    for name in SIZES:  # hidden_size comes first
        if sizes[name] is None and name == "intermediate_size":
            ratio = sizes.get("mlp_ratio", 4)
            known = isinstance(ratio, int | float) and math.isfinite(ratio)
            sizes[name] = int(sizes["hidden_size"] * ratio) if known else ratio
        most = MOST.get(name, MOST_OTHERS)
        if type(sizes[name]) is not int or not 1 <= sizes[name] <= most:
            raise InputError(f"{source}: {name} is {sizes[name]!r}, expected a whole number from 1 to {most:,}")
    if not isinstance(sizes["layer_norm_eps"], float) or not 0 <= sizes["layer_norm_eps"] < 1:
        raise InputError(f"{source}: layer_norm_eps is {sizes['layer_norm_eps']!r}, expected a number")
    if sizes["hidden_size"] % sizes["num_attention_heads"]:
        raise InputError(f"{source}: hidden_size is no multiple of num_attention_heads")
    return ViTConfig(
        form=form,
        activation=sizes["hidden_act"],
        epsilon=float(sizes["layer_norm_eps"]),
        qkv_bias=bool(sizes.get("qkv_bias", True)),
        **{ours: sizes[theirs] for theirs, ours in SIZES.items()},
    )


def _defaults(form: str) -> dict[str, Any]:
    """The sizes that transformers takes where a config.json does not say them."""
    base = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 224}
    patch, hidden = {"vit": (16, 3072), "clip": (32, 3072), "siglip": (16, 3072), "dinov2": (14, None)}[form]
    return base | {
        "patch_size": patch,
        "intermediate_size": hidden,
        "hidden_act": ACTIVATION[form],
        "layer_norm_eps": EPSILON[form],
    }


def convert(tensors: Mapping[str, np.ndarray], config: ViTConfig, source: str) -> dict[str, Any]:
    """Returns the parameters of `ViT(config)`. Raises InputError where the tensors do not fit."""
    plain = {PREFIX.sub("", name): value for name, value in tensors.items()}
    # CLIP applies post_layernorm only to the pooled token, which is not used here.
    ignored = f"{IGNORED}|^post_layernorm\\." if config.form == "clip" else IGNORED
    return fill(shapes_of(ViT(config), config.image_size), table(config), plain, source=source, ignored=ignored)


def table(config: ViTConfig) -> Table:
    """Returns which tensor is which parameter."""
    tower = config.form in ("clip", "siglip")
    out = _tower_ends(config) if tower else _ends()
    for k in range(config.layers):
        theirs = f"encoder.layers.{k}" if tower else f"encoder.layer.{k}"
        for ours, name in (TOWER_LAYER if tower else LAYERS[config.form]).items():
            kinds: tuple[str, ...] = ("scale", "bias") if ours.endswith("norm") else ("kernel", "bias")
            if ours in ("query", "key", "value") and not config.qkv_bias:
                kinds = ("kernel",)
            for kind in kinds:
                out[f"layer_{k}/{ours}/{kind}"] = f"{theirs}.{name}.{'bias' if kind == 'bias' else 'weight'}"
        if FORMS[config.form].layer_scale:
            out[f"layer_{k}/attention_scale"] = f"{theirs}.layer_scale1.lambda1"
            out[f"layer_{k}/mlp_scale"] = f"{theirs}.layer_scale2.lambda1"
    return out


# Our layers -> theirs, in one layer of the Transformer.
TOWER_LAYER = {
    "attention_norm": "layer_norm1",
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "output": "self_attn.out_proj",
    "mlp_norm": "layer_norm2",
    "mlp_in": "mlp.fc1",
    "mlp_out": "mlp.fc2",
}
ATTENTION = {name: f"attention.attention.{name}" for name in ("query", "key", "value")}
LAYERS = {
    "vit": {
        "attention_norm": "layernorm_before",
        **ATTENTION,
        "output": "attention.output.dense",
        "mlp_norm": "layernorm_after",
        "mlp_in": "intermediate.dense",
        "mlp_out": "output.dense",
    },
    "dinov2": {
        "attention_norm": "norm1",
        **ATTENTION,
        "output": "attention.output.dense",
        "mlp_norm": "norm2",
        "mlp_in": "mlp.fc1",
        "mlp_out": "mlp.fc2",
    },
}


def _ends() -> dict[str, str]:
    """What stands before and after the layers of ViT and DINOv2."""
    return {
        "patches/kernel": "embeddings.patch_embeddings.projection.weight",
        "patches/bias": "embeddings.patch_embeddings.projection.bias",
        "positions": "embeddings.position_embeddings",
        "class_token": "embeddings.cls_token",
        "last_norm/scale": "layernorm.weight",
        "last_norm/bias": "layernorm.bias",
    }


def _tower_ends(config: ViTConfig) -> dict[str, str]:
    """What stands before and after the layers of the image towers of CLIP and SigLIP."""
    form = FORMS[config.form]
    out = {
        "patches/kernel": "embeddings.patch_embedding.weight",
        "positions": "embeddings.position_embedding.weight",
    }
    if form.patch_bias:
        out["patches/bias"] = "embeddings.patch_embedding.bias"
    if form.class_token:
        out["class_token"] = "embeddings.class_embedding"
    for ours, name, there in (
        ("first_norm", "pre_layrnorm", form.first_norm),
        ("last_norm", "post_layernorm", form.last_norm),
    ):
        if there:
            out |= {f"{ours}/scale": f"{name}.weight", f"{ours}/bias": f"{name}.bias"}
    return out
