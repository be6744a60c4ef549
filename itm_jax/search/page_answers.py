"""What the search page answers: the images that were found, and why. No browser is needed here."""

import base64
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from itm_jax.errors import InputError
from itm_jax.search.hits import Hit
from itm_jax.search.index import Index
from itm_jax.search.results_page import caption_of_hit, explained
from itm_jax.viz import page
from itm_jax.web.sentences import answered, caption_of, text_of
from itm_jax.web.uploads import kept

COUNTS = (12, 24, 48)  # images that a question may ask for


class Answer(NamedTuple):
    """The answer to a question.

    Attributes:
        message: above the images, as HTML.
        grid: the images that were found, as HTML.
        text: the caption of the question; "" for an image.
        why: the place of explanations, which becomes empty.
    """

    message: str
    grid: str
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

    def search(self, text: Any, files: Any, where: Any, count: Any) -> Answer:
        """Returns what fits a caption, or an image that was sent.

        Args:
            text: the caption.
            files: the image, as `web.uploads.kept` takes it.
            where: a condition on the columns of metadata; may be empty.
            count: one of `COUNTS`.
        """

        def answer() -> Answer:
            if not files:
                caption = caption_of(text)
                return self._found(f"“{caption}”", self._ask(where, count, text=caption), caption)
            if text_of(text).strip():
                raise InputError("a text and an image: ask with one of them, and delete the other")
            with kept(files) as uploads:
                if len(uploads) != 1:
                    raise InputError("choose one image alone")
                [upload] = uploads
                return self._found(f"like {upload.name}", self._ask(where, count, image=upload.path))

        return self._answered(answer, text, where)

    def like(self, name: Any, where: Any, count: Any) -> Answer:
        """Returns what is like an image of the gallery; the arguments are as for `search`."""
        return self._answered(
            lambda: self._found(f"like {text_of(name)}", self._ask(where, count, like=text_of(name))), name, where
        )

    def why(self, name: Any, text: Any) -> str:
        """Returns, as HTML, why an image of the gallery has its score with a caption."""

        def answer() -> str:
            words = caption_of(text)
            title = f"<h3>{page.text(text_of(name))}: what decided</h3>"
            return title + explained(self.index.explain(text_of(name), words), words)

        return answered(answer, str, self.index.place, self.index.record.model, keep=(name, text))

    def _ask(self, where: Any, count: Any, **question: Any) -> list[Hit]:
        if count not in COUNTS:
            raise InputError(f"choose {', '.join(map(str, COUNTS))} images")
        condition = text_of(where).strip() or None
        how = {"top": count, "where": condition, "shortlist": self.shortlist, "approximate": self.approximate}
        return self.index.query(**question, **how)

    def _found(self, question: str, hits: Sequence[Hit], text: str = "") -> Answer:
        message = f"<p><b>{page.text(question)}</b>: {len(hits)} of {len(self.index):,} images</p>"
        explains = bool(text) and self.index.explains
        figures = "".join(_figure(hit, rank, explains) for rank, hit in enumerate(hits, 1))
        return Answer(message, f'<div class="found">{figures}</div>', text)

    def _answered(self, answer: Callable[[], Answer], *sent: Any) -> Answer:
        known = (self.index.place, self.index.record.model)
        return answered(answer, lambda sentence: Answer(sentence, "", ""), *known, keep=sent)


def _figure(hit: Hit, rank: int, explains: bool) -> str:
    """An image of the grid with its buttons. All of it is escaped here: Gradio runs what it fills into a template."""
    name, image = page.text(hit.id), "<p>no picture</p>"
    if hit.thumbnail:
        image = f'<img src="data:image/jpeg;base64,{base64.b64encode(hit.thumbnail).decode()}" alt="image {name}">'
    buttons = f'<button data-do="like" data-id="{name}">more like this</button>'
    if explains:
        buttons += f'<button data-do="why" data-id="{name}">what decided</button>'
    return f"<figure>{image}<figcaption>{caption_of_hit(hit, rank)}</figcaption>{buttons}</figure>"
