"""What the search page answers: the images that were found, and why. No browser is needed here."""

import base64
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from itm_jax.errors import InputError
from itm_jax.search.hits import Hit
from itm_jax.search.index import Index
from itm_jax.search.results_page import explained
from itm_jax.viz import page
from itm_jax.web.sentences import answered, caption_of, text_of
from itm_jax.web.uploads import kept

COUNTS = (12, 24, 48)  # images that a question may ask for


class Found(NamedTuple):
    """The answer to a question.

    Attributes:
        message: above the images, as HTML.
        images: that were found, as the page's grid takes them.
        text: the caption of the question; "" for an image.
        why: the place of explanations, which becomes empty.
    """

    message: str
    images: list[dict[str, Any]]
    text: str
    why: str = ""


@dataclasses.dataclass(frozen=True)
class PageAnswers:
    """The functions behind the page. They keep nothing between requests.

    Attributes:
        index: that is searched.
        shortlist: images that a model of fragments scores again.
        approximate: whether the approximate index is used.
    """

    index: Index
    shortlist: int
    approximate: bool

    def search(self, text: Any, files: Any, where: Any, count: Any) -> Found:
        """Returns what fits a caption, or an image that was sent.

        Args:
            text: the caption.
            files: the image, as `web.uploads.kept` takes it.
            where: a condition on the columns of metadata; may be empty.
            count: one of `COUNTS`.
        """

        def answer() -> Found:
            if not files:
                caption = caption_of(text)
                return self._found(f"“{caption}”", self._ask(where, count, text=caption), caption)
            if text_of(text).strip():
                raise InputError("a text and an image: take one of them out, a question is one or the other")
            with kept(files) as uploads:
                if len(uploads) != 1:
                    raise InputError("choose one image alone")
                [upload] = uploads
                return self._found(f"like {upload.name}", self._ask(where, count, image=upload.path))

        return self._answered(answer)

    def like(self, name: Any, where: Any, count: Any) -> Found:
        """Returns what is like an image of the gallery; the arguments are as for `search`."""
        return self._answered(lambda: self._found(f"like {text_of(name)}", self._ask(where, count, like=text_of(name))))

    def why(self, name: Any, text: Any) -> str:
        """Returns, as HTML, why an image of the gallery has its score with a caption."""

        def answer() -> str:
            words = caption_of(text)
            title = f"<h3>{page.text(text_of(name))}: what decided</h3>"
            return title + explained(self.index.explain(text_of(name), words), words)

        return answered(answer, str, self.index.place, self.index.record.model)

    def _ask(self, where: Any, count: Any, **question: Any) -> list[Hit]:
        if count not in COUNTS:
            raise InputError(f"choose {', '.join(map(str, COUNTS))} images")
        condition = text_of(where).strip() or None
        how = {"top": count, "where": condition, "shortlist": self.shortlist, "approximate": self.approximate}
        return self.index.query(**question, **how)

    def _found(self, question: str, hits: Sequence[Hit], text: str = "") -> Found:
        message = f"<p><b>{page.text(question)}</b>: {len(hits)} of {len(self.index):,} images</p>"
        explains = bool(text) and self.index.record.fragments
        return Found(message, [_shown(hit, rank, explains) for rank, hit in enumerate(hits, 1)], text)

    def _answered(self, answer: Callable[[], Found]) -> Found:
        known = (self.index.place, self.index.record.model)
        return answered(answer, lambda sentence: Found(sentence, [], ""), *known)


def _shown(hit: Hit, rank: int, explains: bool) -> dict[str, Any]:
    image = f"data:image/jpeg;base64,{base64.b64encode(hit.thumbnail).decode()}" if hit.thumbnail else ""
    facts = [f"{name}: {value}" for name, value in hit.metadata.items() if value is not None]
    return {
        "id": hit.id,
        "title": f"{rank}. {hit.score:.3f}",
        "image": image,
        "facts": facts,
        "why": explains,
    }
