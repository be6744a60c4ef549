"""A trained model for images and captions of your own."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from itm_jax.data.pipeline import TextSplit
from itm_jax.data.text.text_input import TextInput
from itm_jax.errors import InputError
from itm_jax.evaluation.encode import Encoded, Encoders, encode_items
from itm_jax.evaluation.open_run import OpenModel
from itm_jax.evaluation.rank import scores_of
from itm_jax.hub.encodings import Encodings
from itm_jax.hub.inputs import batch_of, blank_split, check_captions, check_regions, check_split, filled, with_text
from itm_jax.hub.pixels import PixelReader, load_reader, reads_pixels
from itm_jax.structs import Extractor, Regions, Split
from itm_jax.viz.explain import FRAGMENTS, Matching, Shares, explain, match, names_of_tokens


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Matcher:
    """A trained model: `itm_jax.load` returns one.

    Attributes:
        source: where it comes from.
        config: the completed config that it was trained with.
        text: its tokenizer and, for a frozen text encoder, the weights.
        model: the Linen module.
        mesh: the devices.
        encoders: the compiled functions.
        variables: `{"params", "batch_stats"}`.
        shape: regions of an image and width of a feature, [r f], as in its training.
        fingerprint: a hash of the config of the model, the text side and all variables.
        extractor: what extracted its training features; None where nothing says that.
        results: the content of results.json; empty where the model was not evaluated.
        backbone: the name of the extractor's backbone, where its weights lie in another place than in its training.
        about: what a model card says besides: `origin`, `license`, `rounded`, `batch_dependent_results` (`hub.card`).
    """

    source: str
    config: Any
    text: TextInput
    model: Any
    mesh: Any
    encoders: Encoders
    variables: Any
    shape: tuple[int, int]
    fingerprint: str
    extractor: Extractor | None = None
    results: dict[str, Any] = dataclasses.field(default_factory=dict)
    backbone: str | None = None
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        """Returns the recipe of the model, in a few lines."""
        c = self.config
        text = f"{c.model.text.pretrained or c.model.text.encoder}, {'trained' if c.model.text.trainable else 'frozen'}"
        lines = [
            f"{c.model.name} of {self.source} ({self.fingerprint})",
            f"  trained on {c.data.name}: {self.shape[0]} regions, {self.shape[1]} wide; joint width {c.model.width}",
            f"  text encoder: {text}",
            f"  images: {self._images_from()}",
        ]
        if rsum := self.results.get("protocols", {}).get("full", {}).get("rsum"):
            lines.append(f"  rSum {rsum:.1f} on {self.results['dataset']} {self.results['split']}")
        return "\n".join(lines)

    def _images_from(self) -> str:
        if self.extractor is None:
            return "regions only (no extractor.json: nothing says how its features were extracted)"
        if not reads_pixels(self.extractor):
            return "regions only (the boxes of its training come from a file, which new images are not in)"
        return f"pixels by {self.extractor.record['source']['backbone']}, or regions"

    @functools.cached_property
    def reader(self) -> PixelReader:
        """What turns pixels into regions. Raises InputError where nothing says what extracted the features."""
        if self.extractor is None:
            raise InputError(
                f"{self.source}: nothing says what extracted its features (no extractor.json), so that it cannot read "
                "images; pass regions (itm_jax.structs.Regions)"
            )
        return load_reader(self.extractor, self.backbone)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The label names that the model knows; `Regions.labels` are indices into them."""
        return tuple(self.text.labels) or tuple(self.config.model.regions.label_names or ())

    def encode_images(self, images: Sequence[Any] | Regions | Split) -> Encodings:
        """Encodes images.

        Args:
            images: paths, PIL images or [h w 3] uint8 arrays; or `Regions` [n r ...] with features of the extractor;
                or a split of a data set.

        Raises:
            InputError: an image cannot be used, or the regions are not those that the model takes.
        """
        if isinstance(images, Regions):
            names, width = self.label_names, self.shape[1]
            regions, constants = check_regions(
                images, self.config, self.text, width=width, names=names, source=self.source
            )
            read = lambda items: jax.tree.map(lambda x: np.asarray(x)[items], regions)  # noqa: E731
            return self._encoded("images", read, np.arange(len(regions.features)), constants)
        if isinstance(images, Split):
            check_split(images, self.shape[1], self.extractor, self.source)
        elif not isinstance(images, list | tuple) or not images:  # a single path would be read letter by letter
            raise InputError("encode_images: expected a list of images, with at least one")
        else:
            images = self.reader.split(images)
        data = self._with_text(images)
        return self._encoded("images", data.regions, np.arange(images.num_images), data.constants)

    def encode_captions(self, captions: Sequence[Any]) -> Encodings:
        """Encodes captions of any length; tokens beyond `config.data.max_tokens` are cut.

        Raises:
            InputError: a caption is empty or too long, or the model needs dependency edges.
        """
        check_captions(captions, self.config, self.source)
        data = self._with_text(blank_split(self.config, self.shape, self.label_names), captions)
        order = np.argsort(data.table.lengths, kind="stable")
        return self._encoded("captions", data.tokens, order, data.constants)

    def score(self, images: Any, captions: Any) -> Float[np.ndarray, "i t"]:
        """Returns the score of every image with every caption, float32.

        Args:
            images: from `encode_images`, or what that takes.
            captions: from `encode_captions`, or what that takes.

        Raises:
            InputError: the encodings are of another model, or of the other side.
        """
        images = images if isinstance(images, Encodings) else self.encode_images(images)
        captions = captions if isinstance(captions, Encodings) else self.encode_captions(captions)
        images.check("images", self.fingerprint, self.source)
        captions.check("captions", self.fingerprint, self.source)
        tile, first = self.config.eval.tile, len(captions)
        [(_, rows)] = images.parts
        parts = []
        for index, part in captions.parts:
            part, more = filled(part, tile)
            parts.append((np.concatenate([index, first + np.arange(more)]), part))
            first += more
        encoded = Encoded(filled(rows, tile)[0], parts)
        scores = scores_of(self.encoders, self.variables, encoded, tile=tile, mesh=self.mesh)
        return scores[: len(images), : len(captions)]

    def explain(self, image: Any, caption: str) -> Matching | Shares:
        """Returns what the model sees in an image and a caption: words, their regions, and weights.

        Args:
            image: a path, a PIL image or a [h w 3] uint8 array; or its regions, from `reader.split([image])`; or for a
                model of fragments its encodings.
            caption: any text.

        Raises:
            InputError: the image or the caption cannot be used, or the model keeps one vector per item.
        """
        check_captions([caption], self.config, self.source)
        if isinstance(image, Encodings):
            return self._explain_encoded(image, caption)
        split = image if isinstance(image, Split) else self.reader.split([image])
        split = dataclasses.replace(split, captions_per_image=1)
        data = self._with_text(split, [caption])
        opened = OpenModel(self.config, data, self.mesh, self.encoders, self.variables, self.text, self.model)
        return explain(opened, np.array([0]))[0]

    def _explain_encoded(self, image: Encodings, caption: str) -> Matching:
        if self.config.model.name not in FRAGMENTS:
            raise InputError(
                f"explain: encodings of {self.config.model.name} do not say what decided (only cpfean, late and scan "
                "do); pass the image itself"
            )
        if len(image) != 1:
            raise InputError(f"explain: encodings of {len(image):,} images; pass those of one, with item(k)")
        image.check("images", self.fingerprint, self.source)
        data = self._with_text(blank_split(self.config, self.shape, self.label_names), [caption])
        tokens = data.tokens(np.zeros(1, int))
        [(_, words)] = self._encoded("captions", data.tokens, np.zeros(1, int), data.constants).parts
        names = names_of_tokens(self.text, tokens, np.asarray(words.mask[0]))
        [(_, regions)] = image.item(0).parts
        return match(self.model, self.variables, self.config.model, regions, words, names)

    def save(
        self,
        folder: str | pathlib.Path,
        *,
        dtype: str = "float32",
        license: str | None = None,
        name: str | None = None,
    ) -> None:
        """Writes the model to a folder that `itm_jax.load` reads on any machine (`hub.folder`).

        The scores of the loaded model are the same, bit for bit. Its README.md is a model card.

        Args:
            folder: where it is written. Other files there stay; an earlier export is replaced.
            dtype: `float32`; or `bfloat16` for half the size, which changes the scores a little.
            license: an identifier of a licence as the hub knows it, such as `apache-2.0`, for the model card.
            name: by which the model card loads the model; the name of the folder if it is not set.

        Raises:
            InputError: the folder belongs to a run, it cannot be written, or `dtype` is neither of the two.
        """
        from itm_jax.hub.save import save

        save(self, pathlib.Path(folder).expanduser(), dtype=dtype, license_name=license, name=name)

    def _encoded(self, kind: str, read: Any, order: np.ndarray, constants: Any) -> Encodings:
        encode = self.encoders.images if kind == "images" else self.encoders.captions
        batch = batch_of(len(order), self.config.data.eval_batch_size)
        parts = encode_items(encode, self.variables | constants, read, order, batch, self.mesh)
        return Encodings(kind, parts, self.fingerprint, self.source)

    def _with_text(self, split: Split, captions: Sequence[str] = ()) -> TextSplit:
        return with_text(self.config, self.text, dataclasses.replace(split, captions=list(captions)))
