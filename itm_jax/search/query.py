"""The command `query`: questions -> ranked tables in the terminal, JSON lines, or a page."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from itm_jax.errors import InputError
from itm_jax.hub.gallery import lines_of
from itm_jax.search.hits import Asked
from itm_jax.search.index import Index
from itm_jax.terminal import print_table

TOGETHER = 64  # texts that are encoded at a time


class Questions(NamedTuple):
    """What the flags ask for.

    Attributes:
        text: a caption.
        image: an image file.
        like: the id of an image of the gallery.
        file: with a caption in each line.
    """

    text: str | None
    image: str | None
    like: str | None
    file: str | None


def answer_questions(
    open_index: Callable[[], Index], questions: Questions, how: Mapping[str, Any], *, as_json: bool, html: str | None
) -> None:
    """Answers questions and prints the answers.

    Args:
        open_index: opens the index; it is called when the questions have been read.
        questions: of the user.
        how: as for `Index.query`.
        as_json: whether each answer is printed as a JSON object in a line.
        html: a file for a page of all answers.

    Raises:
        InputError: there is no question, or one of them cannot be used.
    """
    texts = [questions.text] if questions.text is not None else []
    texts += lines_of(pathlib.Path(questions.file).expanduser()) if questions.file else []
    if not texts and questions.image is None and questions.like is None:
        raise InputError("--text, --image, --like, --queries: pass at least one of them, what to search for")
    page = _page(html)
    index = open_index()
    answers = []
    for answer in _answers(index, texts, questions, how):
        _print(answer, len(index), as_json)
        if page:
            answers.append(answer)
    if page:
        from itm_jax.search.results_page import write_results

        write_results(index, answers, page)


def _answers(index: Index, texts: Sequence[str], questions: Questions, how: Mapping[str, Any]) -> Iterator[Asked]:
    for start in range(0, len(texts), TOGETHER):
        part = texts[start : start + TOGETHER]
        for text, hits in zip(part, index.queries(part, **how), strict=True):
            yield Asked(text, "text", hits)
    for kind, value in (("image", questions.image), ("like", questions.like)):
        if value is not None:
            yield Asked(value, kind, index.query(**{kind: value}, **how))


def _page(name: str | None) -> pathlib.Path | None:
    if name is None:
        return None
    path = pathlib.Path(name).expanduser()
    if path.suffix not in (".html", ".htm"):
        raise InputError(f"--html={name}: must end in .html")
    if not path.absolute().parent.is_dir():
        raise InputError(f"--html={name}: {path.absolute().parent} is no directory; make it first")
    return path


def _print(answer: Asked, images: int, as_json: bool) -> None:
    if as_json:
        hits = [{k: v for k, v in dataclasses.asdict(hit).items() if k != "thumbnail"} for hit in answer.hits]
        print(json.dumps({"query": answer.words, "hits": hits}, ensure_ascii=False), flush=True)
        return
    names = list(answer.hits[0].metadata) if answer.hits else []
    rows = [
        (
            str(rank),
            f"{hit.score:.3f}",
            hit.id,
            *("" if (v := hit.metadata[name]) is None else str(v) for name in names),
        )
        for rank, hit in enumerate(answer.hits, 1)
    ]
    print_table(f"{answer.words}: {len(rows)} of {images:,} images", ("rank", "score", "image", *names), rows)
