"""What the page answers, as HTML: a score with the alignment picture, or a ranking. No browser is needed here."""

import dataclasses
import functools
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from itm_jax.errors import InputError
from itm_jax.hub.matcher import Matcher
from itm_jax.hub.pixels import FEW
from itm_jax.viz import page
from itm_jax.viz.alignment import draw_matching
from itm_jax.viz.describe import explanations, pair_table
from itm_jax.viz.explain import Matching, Shares
from itm_jax.web.limits import MOST_ITEMS
from itm_jax.web.sentences import answered, caption_of, text_of, without_paths
from itm_jax.web.uploads import Upload, kept

THUMBNAIL = 220  # pixels
ONE_VECTOR = (
    "This model makes one vector of the image and one of the caption. It does not keep which word goes with which "
    "region, so there is no picture to show."
)


@dataclasses.dataclass(frozen=True)
class Answers:
    """The functions behind the page. They keep nothing between requests.

    Attributes:
        model: the model.
        explains: whether the model says which word goes with which region.
    """

    model: Matcher
    explains: bool

    @functools.cached_property
    def facts(self) -> list[str]:
        """Lines about the model: its recipe, its data, its rSum; without paths."""
        return [self._clean(line.strip()) for line in repr(self.model).splitlines()]

    def match(self, files: Any, caption: Any, before: float | None = None) -> tuple[str, float | None]:
        """Returns the HTML for an image and a caption, and the score; None in place of the score after a mistake.

        Args:
            files: the image, as `uploads.kept` takes it.
            caption: the caption.
            before: the score of the request before this one, which is shown beside the new one.
        """
        return self._answered(lambda: self._match(files, caption_of(caption), before), None)

    def rank(self, files: Any, captions: Any) -> str:
        """Returns the HTML for an image with captions, one in a line, or for a caption with images: the best first."""
        return self._answered(lambda: (self._rank(files, _captions(captions)), None), None)[0]

    def _match(self, files: Any, caption: str, before: float | None) -> tuple[str, float]:
        with kept(files) as uploads:
            if len(uploads) != 1:
                raise InputError("choose an image" if not uploads else "choose one image alone")
            [image] = uploads
            if not self.explains:
                score = float(self.model.score([image.path], [caption])[0, 0])
                return _score(score, before) + page.note(ONE_VECTOR) + _thumbnail(image), score
            regions = self.model.reader.split([image.path])
            seen = self.model.explain(regions, caption)
            assert regions.boxes is not None  # an extractor has boxes
            return _score(seen.score, before) + self._explained(image, regions.boxes[0], caption, seen), seen.score

    def _explained(self, image: Upload, boxes: np.ndarray, caption: str, seen: Matching | Shares) -> str:
        with tempfile.TemporaryDirectory(prefix="itm_jax_demo_") as folder:
            file = pathlib.Path(folder) / "pair.png"
            draw_matching(file, image.pixels, boxes, caption, seen)
            words = "; ".join(f"{row[0]} in region {row[1]}" for row in pair_table(seen).rows)
            picture = page.drawing(file, f"the words and their regions: {words}")
        said = "".join(page.note(sentence) for sentence in explanations([seen]))
        longest = self.model.config.data.max_tokens
        if longest and len(seen.words) >= longest:
            said = page.note(f"The model reads {longest} tokens of a caption. What comes after them is cut.") + said
        table = pair_table(seen)
        return f"{picture}{said}<details><summary>The numbers</summary>{page.table(*table)}</details>"

    def _rank(self, files: Any, captions: list[str]) -> str:
        with kept(files) as uploads:
            if not uploads:
                raise InputError("choose an image")
            if len(uploads) > 1 and len(captions) > 1:
                raise InputError(
                    f"{len(uploads)} images and {len(captions)} captions; send one image with captions, or one caption "
                    "with images"
                )
            scores = self._scores([upload.path for upload in uploads], captions)
            order = [int(k) for k in np.argsort(-scores, kind="stable")]
            if len(uploads) == 1:
                rows = [(place, f"{scores[k]:.3f}", captions[k]) for place, k in enumerate(order, 1)]
                table = page.table(("rank", "score", "caption"), rows)
                return f'<div class="query">{_thumbnail(uploads[0])}{table}</div>'
            figures = [_thumbnail(uploads[k], f"{place}. {scores[k]:.3f} ") for place, k in enumerate(order, 1)]
            return f'<p><b>{page.text(captions[0])}</b></p><div class="answers">{"".join(figures)}</div>'

    def _scores(self, images: list[pathlib.Path], captions: list[str]) -> np.ndarray:
        """The scores of an image with captions, or of images with a caption; few images at a time take one program."""
        encoded = self.model.encode_captions(captions)
        parts = [self.model.score(images[k : k + FEW], encoded) for k in range(0, len(images), FEW)]
        return np.concatenate(parts).ravel()

    def _answered(self, answer: Callable[[], tuple[str, Any]], otherwise: Any) -> tuple[str, Any]:
        return answered(answer, lambda sentence: (sentence, otherwise), self.model.source)

    def _clean(self, text: str) -> str:
        return without_paths(text, self.model.source)


def answers_of(model: Matcher) -> Answers:
    """Returns the functions behind the page, after a first pair, which compiles what a request needs.

    Raises:
        InputError: the model cannot read images, or cannot score a single pair.
    """
    if model.extractor is None:
        raise InputError(
            f"{model.source}: nothing says what extracted its features (no extractor.json), so that it cannot read "
            "images; extract features with python -m itm_jax.extract, train on them, and pass that run"
        )
    grey = Image.new("RGB", (64, 64), "grey")
    model.score([grey], ["a"])
    try:
        model.explain(grey, "a")
    except InputError:
        return Answers(model, explains=False)  # what else could be wrong with the pair, the score has met before
    return Answers(model, explains=True)


def _captions(text: Any) -> list[str]:
    """The captions of a text, one in a line; empty lines do not count."""
    lines = [line for line in text_of(text).splitlines() if line.strip()]
    if not lines:
        raise InputError("there is no caption; write at least one")
    if len(lines) > MOST_ITEMS:
        raise InputError(f"{len(lines):,} captions; write at most {MOST_ITEMS}, one in a line")
    return [caption_of(line) for line in lines]


def _score(score: float, before: float | None) -> str:
    change = "" if before is None else f' <span class="before">before: {before:.3f}</span>'
    return f'<p class="score">score <b>{score:.3f}</b>{change}</p>'


def _thumbnail(upload: Upload, before: str = "") -> str:
    image = page.photograph(upload.pixels, upload.name, THUMBNAIL)
    return f"<figure>{image}<figcaption>{page.text(before + upload.name)}</figcaption></figure>"
