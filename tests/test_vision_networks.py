"""The networks and the readers of their weights: a strict table of names; the same numbers as transformers (parity)."""

import functools
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.images import SMALL, checkpoint, made_up

from itm_jax.errors import InputError
from itm_jax.pretrained.safetensors_files import read_safetensors
from itm_jax.vision import efficientnet, resnet, vit_weights
from itm_jax.vision.backbones import EFFICIENTNETS, load_backbone, region_features
from itm_jax.vision.torch_file import read_torch_file
from itm_jax.vision.vit import ViT
from itm_jax.vision.weights import fold_norms


@pytest.mark.parametrize("kind", ["vit", "clip_vision_model", "siglip_vision_model", "dinov2"])
def test_every_form_is_loaded_and_gives_a_map(tmp_path, rng, kind):
    values = {"mlp_ratio": 2, "intermediate_size": None} if kind == "dinov2" else {}
    checkpoint(tmp_path / "v", rng, kind, **values)
    backbone = load_backbone(f"vit:{tmp_path / 'v'}", (32, 48))
    pixels = [rng.integers(0, 256, (2, size, size, 3)).astype(np.uint8) for size in (32, 48)]
    boxes = np.tile(np.array([[0, 0, 1, 1], [0, 0, 0.5, 0.5]], np.float32), (2, 1, 1))
    features, labels = jax.jit(functools.partial(region_features, backbone))(
        {"network": backbone.params}, pixels, boxes
    )
    assert features.shape == (2, 2, 16)
    assert labels is None
    assert bool(jnp.isfinite(features).all())
    assert backbone.identity["preprocessing"]["sizes"] == [32, 48]


def test_a_checkpoint_that_does_not_fit_names_what_is_wrong(tmp_path, rng):
    config = checkpoint(tmp_path / "v", rng)
    tensors = made_up(config, rng)
    lost = {k: v for k, v in tensors.items() if k != "encoder.layer.1.output.dense.bias"}
    with pytest.raises(InputError, match=r"missing encoder\.layer\.1\.output\.dense\.bias"):
        vit_weights.convert(lost, config, "v")
    with pytest.raises(InputError, match=r"unexpected encoder\.layer\.9\.odd"):
        vit_weights.convert(tensors | {"encoder.layer.9.odd": np.zeros(1)}, config, "v")
    thin = tensors | {"layernorm.weight": np.zeros(7, np.float32)}
    with pytest.raises(InputError, match=r"layernorm\.weight has shape \(7,\)"):
        vit_weights.convert(thin, config, "v")
    swapped = tensors | {"encoder.layer.0.intermediate.dense.weight": np.zeros((16, 32), np.float32)}
    with pytest.raises(InputError, match="intermediate"):
        vit_weights.convert(swapped, config, "v")
    heads = {"classifier.weight": np.zeros((2, 16)), "pooler.dense.bias": np.zeros(16)}
    vit_weights.convert({f"vit.{k}": v for k, v in tensors.items()} | heads, config, "v")  # with a head: fine


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "swin"}, "model_type is 'swin'"),
        ({"model_type": "dinov2", "use_swiglu_ffn": True}, "use_swiglu_ffn"),
        ({"model_type": "vit", "hidden_act": "relu9"}, "hidden_act 'relu9'"),
        ({"model_type": "vit", "num_attention_heads": 7}, "no multiple of num_attention_heads"),
        ({"model_type": "vit", "hidden_size": "wide"}, "hidden_size is 'wide'"),
        ({"model_type": "dinov2", "hidden_size": "wide"}, "hidden_size is 'wide'"),
        ({"model_type": "clip", "vision_config": None}, "vision_config is None"),
        ({"model_type": ["vit"]}, "model_type is"),
        ({"model_type": "vit", "layer_norm_eps": "small"}, "layer_norm_eps"),
    ],
)
def test_a_config_that_is_not_supported_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        vit_weights.config_of(values, "config.json")


def test_a_resnet_of_another_kind_is_refused():
    assert resnet.config_of({"model_type": "resnet"}, "r").depths == (3, 4, 6, 3)
    for values in ({"model_type": "vit"}, {"model_type": "resnet", "layer_type": "basic"}):
        with pytest.raises(InputError, match="can be loaded"):
            resnet.config_of(values, "r")
    with pytest.raises(InputError, match="make no network"):
        resnet.config_of({"model_type": "resnet", "depths": 3}, "r")


def test_a_folder_without_safetensors_says_what_to_do(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(InputError, match="save it as safetensors"):
        read_safetensors(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not safetensors at all")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        read_safetensors(tmp_path)


def test_a_folded_batch_norm_gives_the_same_numbers(rng):
    kernel = rng.standard_normal((4, 3, 1, 1)).astype(np.float32)
    norm = {k: rng.random(4).astype(np.float32) + 0.5 for k in ("weight", "bias", "running_mean", "running_var")}
    x = rng.standard_normal((5, 3)).astype(np.float32)
    direct = (x @ kernel[:, :, 0, 0].T - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-3)
    direct = direct * norm["weight"] + norm["bias"]
    folded = fold_norms({"c.weight": kernel} | {f"n.{k}": v for k, v in norm.items()}, {"c": "n"}, 1e-3)
    assert set(folded) == {"c.kernel", "c.bias"}
    np.testing.assert_allclose(x @ folded["c.kernel"][:, :, 0, 0].T + folded["c.bias"], direct, atol=1e-5)


def test_a_file_of_weights_with_another_checksum_is_not_opened(tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(b"\x80\x02cposix\nsystem\n.")  # a pickle that would run a command
    with pytest.raises(InputError, match="SHA-256"):
        read_torch_file(path, "0" * 64)
    with pytest.raises(InputError, match="cannot be read"):
        read_torch_file(tmp_path / "none.pth", "0" * 64)


def test_an_unknown_backbone_is_named():
    with pytest.raises(InputError, match="efficientnet-lite0"):
        load_backbone("vgg16")
    with pytest.raises(InputError, match="no such directory"):
        load_backbone("vit:./nowhere")


@pytest.mark.parametrize("name", EFFICIENTNETS)
def test_the_published_efficientnets(name):
    """All tensors are used, and the classes of a plain image have numbers. Needs the extra `images`."""
    pytest.importorskip(EFFICIENTNETS[name].package, reason="needs the extra `images`")
    backbone = load_backbone(name, (64,))
    assert len(backbone.classes) == 1000
    assert backbone.classes[207] == "golden retriever"
    assert len(set(map(str.lower, backbone.classes))) == 1000
    params = {"network": backbone.params, "classifier": backbone.classifier}
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    compute = jax.jit(functools.partial(region_features, backbone))
    features, classes = compute(params, [images], np.tile(np.array([[[0, 0, 1, 1]]], np.float32), (2, 1, 1)))
    assert features.shape == (2, 1, 1280)
    logits = features[:, 0] @ backbone.classifier["kernel"] + backbone.classifier["bias"][None]
    np.testing.assert_array_equal(classes[:, 0], logits.argmax(axis=1))


def test_the_mean_over_two_sizes_of_normalised_pixels(tmp_path, rng):
    """Against the network alone, on pixels that are normalised by hand, with the checkpoint's own mean and deviation."""
    config = checkpoint(tmp_path / "v", rng)
    values = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}
    (tmp_path / "v" / "preprocessor_config.json").write_text(json.dumps(values))
    backbone = load_backbone(f"vit:{tmp_path / 'v'}", (32, 48))
    pixels = [rng.integers(0, 256, (1, size, size, 3)).astype(np.uint8) for size in (32, 48)]
    whole = np.array([[[0, 0, 1, 1]]], np.float32)
    features, _ = region_features(backbone, {"network": backbone.params}, pixels, whole)
    by_hand = []
    for image in pixels:
        normal = (image / 255 - np.array(values["image_mean"])) / np.array(values["image_std"])
        by_hand.append(ViT(config).apply({"params": backbone.params}, np.float32(normal)).mean((1, 2)))
    np.testing.assert_allclose(features[:, 0], np.mean(by_hand, axis=0), atol=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected an object"),
        ('{"image_mean": [1, 2], "image_std": [1, 1, 1]}', "three numbers each"),
        ('{"image_mean": [0, 0, 0], "image_std": [1, 0, 1]}', "above 0"),
    ],
)
def test_a_wrong_preprocessor_config_is_named(tmp_path, rng, text, message):
    checkpoint(tmp_path / "v", rng)
    path = tmp_path / "v" / "preprocessor_config.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_backbone(f"vit:{tmp_path / 'v'}")
    path.write_text('{"do_normalize": false}')
    assert load_backbone(f"vit:{tmp_path / 'v'}").std == (1, 1, 1)


def test_the_identity_does_not_depend_on_where_the_checkpoint_lies(tmp_path, rng):
    checkpoint(tmp_path / "v", rng)
    shutil.copytree(tmp_path / "v", tmp_path / "w")
    one, other = (load_backbone(f"vit:{tmp_path / name}") for name in "vw")
    assert one.identity == other.identity
    assert one.source != other.source
    values = json.loads((tmp_path / "w" / "config.json").read_text()) | {"hidden_act": "quick_gelu"}
    (tmp_path / "w" / "config.json").write_text(json.dumps(values))
    assert load_backbone(f"vit:{tmp_path / 'w'}").identity != one.identity


def torch_parts():
    torch = pytest.importorskip("torch", reason="needs the extra `parity`")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    return torch, transformers


def shaken(torch, model):
    """A model whose parameters and statistics are all away from where they start."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.03)
        for name, value in model.named_buffers():
            if name.endswith("running_mean"):
                value.add_(torch.randn_like(value) * 0.1)
            elif name.endswith("running_var"):
                value.mul_(torch.rand_like(value) + 0.5)
    return model.eval()


PUBLISHED = {  # model_type -> sizes of a published checkpoint
    "vit": {"patch_size": 16, "image_size": 224},  # ViT-B/16
    "clip_vision_model": {"patch_size": 32, "image_size": 224},  # CLIP ViT-B/32
    "siglip_vision_model": {"patch_size": 16, "image_size": 224},  # SigLIP B/16
    "dinov2": {"patch_size": 14, "image_size": 518, "hidden_size": 384, "num_attention_heads": 6},  # DINOv2 S/14
}


@pytest.mark.parity
@pytest.mark.parametrize("kind", PUBLISHED)
@pytest.mark.parametrize("shape", ["small", "published"])
def test_vits_equal_transformers(tmp_path, rng, kind, shape):
    torch, transformers = torch_parts()
    sizes = SMALL if shape == "small" else {"num_hidden_layers": 12} | PUBLISHED[kind]
    if kind == "dinov2":
        sizes = {k: v for k, v in sizes.items() if k != "intermediate_size"}
    names = {"vit": "ViT", "clip_vision_model": "CLIPVision", "siglip_vision_model": "SiglipVision", "dinov2": "Dinov2"}
    config = getattr(transformers, f"{names[kind]}Config")(**sizes)
    model = shaken(torch, getattr(transformers, f"{names[kind]}Model")(config))
    model.save_pretrained(tmp_path)
    ours = vit_weights.config_of(json.loads((tmp_path / "config.json").read_text()), "x")
    params = vit_weights.convert(read_safetensors(tmp_path), ours, "x")
    for size in (ours.image_size, ours.patch * (ours.grid + 2 if shape == "small" else 16)):
        images = rng.standard_normal((1, size, size, 3)).astype(np.float32)
        other = {} if size == ours.image_size or kind == "dinov2" else {"interpolate_pos_encoding": True}
        with torch.no_grad():
            theirs = model(torch.tensor(images.transpose(0, 3, 1, 2)), **other).last_hidden_state.numpy()
        theirs = theirs[:, theirs.shape[1] - (size // ours.patch) ** 2 :].reshape(1, size // ours.patch, -1, ours.width)
        found = jax.jit(ViT(ours).apply)({"params": params}, images)
        print(kind, shape, size, "max abs difference", np.abs(found - theirs).max())
        np.testing.assert_allclose(found, theirs, atol=1e-4)


@pytest.mark.parity
@pytest.mark.parametrize("shape", ["small", "published"])
def test_resnets_equal_transformers(tmp_path, rng, shape):
    torch, transformers = torch_parts()
    sizes = {"depths": [2, 1, 1], "hidden_sizes": [32, 64, 128]} if shape == "small" else {}
    model = shaken(
        torch,
        transformers.ResNetForImageClassification(
            transformers.ResNetConfig(**sizes, id2label={0: "cat, kitten", 1: "dog", 2: "bird"})
        ),
    )
    with torch.no_grad():  # keep the numbers of the deep network near 1, as those of a trained one are
        for name, p in model.named_parameters():
            if name.endswith("layer.2.normalization.weight"):
                p.mul_(0.3)
    model.save_pretrained(tmp_path)
    backbone = load_backbone(f"resnet:{tmp_path}", (96,))
    images = rng.standard_normal((1, 96, 96, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = (
            model.resnet(torch.tensor(images.transpose(0, 3, 1, 2))).last_hidden_state.numpy().transpose(0, 2, 3, 1)
        )
        logits = model(torch.tensor(images.transpose(0, 3, 1, 2))).logits.numpy()
    found = jax.jit(backbone.network.apply)({"params": backbone.params}, images)
    scale = np.abs(theirs).max()
    print("resnet", shape, "max abs difference", np.abs(found - theirs).max(), "of at most", scale)
    np.testing.assert_allclose(found, theirs, atol=1e-4 * max(1, scale))
    classifier = backbone.classifier
    assert backbone.classes == ("cat", "dog", "bird")
    np.testing.assert_allclose(found.mean((1, 2)) @ classifier["kernel"] + classifier["bias"][None], logits, atol=1e-3)


@pytest.mark.parity
@pytest.mark.parametrize("name", EFFICIENTNETS)
def test_efficientnets_equal_pytorch(rng, name):
    """The published file, read and computed by PyTorch's functions alone, with BatchNorm where it stands."""
    torch, _ = torch_parts()
    known = EFFICIENTNETS[name]
    package = pytest.importorskip(known.package, reason="needs the extra `images`")
    path = pathlib.Path(package.__file__).parent / known.file
    assert {k: v.shape for k, v in read_torch_file(path, known.sha256).items()} == {
        k: tuple(v.shape) for k, v in torch.load(path, weights_only=True).items()
    }
    weights = torch.load(path, weights_only=True)
    images = rng.uniform(-1, 1, (2, 96, 96, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = by_pytorch(torch, weights, known, torch.tensor(images.transpose(0, 3, 1, 2))).numpy()
    params = efficientnet.convert(read_torch_file(path, known.sha256), known.width, known.depth, "x")
    network = efficientnet.EfficientNetLite(known.width, known.depth)
    found = jax.jit(network.apply)({"params": {k: v for k, v in params.items() if k != "classifier"}}, images)
    print(name, "max abs difference", np.abs(found - theirs.transpose(0, 2, 3, 1)).max())
    np.testing.assert_allclose(found, theirs.transpose(0, 2, 3, 1), atol=1e-4)


def by_pytorch(torch, weights, known, x):
    F = torch.nn.functional

    def conv(x, conv, norm, stride=1, groups=1, active=True):
        w = weights[f"{conv}.weight"]
        side, size = w.shape[-1], x.shape[-1]
        total = max((-(-size // stride) - 1) * stride + side - size, 0)
        x = F.conv2d(F.pad(x, [total // 2, total - total // 2] * 2), w, stride=stride, groups=groups)
        parts = [weights[f"{norm}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
        x = F.batch_norm(x, *parts, eps=1e-3)
        return F.relu6(x) if active else x

    x = conv(x, "_conv_stem", "_bn0", 2)
    for k, block in enumerate(efficientnet.blocks(known.width, known.depth)):
        before, b = x, f"_blocks.{k}."
        if block.expansion > 1:
            x = conv(x, f"{b}_expand_conv", f"{b}_bn0")
        x = conv(x, f"{b}_depthwise_conv", f"{b}_bn1", block.stride, x.shape[1])
        x = conv(x, f"{b}_project_conv", f"{b}_bn2", active=False)
        x = x + before if block.residual else x
    return conv(x, "_conv_head", "_bn1")
