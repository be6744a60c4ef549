"""An index that is open for questions: images by a text, by an image, or by another image of the gallery."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from itm_jax.config.fields import read_json
from itm_jax.errors import InputError
from itm_jax.hub.encodings import Encodings
from itm_jax.hub.folder import is_exported, own_code_of
from itm_jax.hub.load import load
from itm_jax.hub.matcher import Matcher
from itm_jax.hub.vectors import vectors_of
from itm_jax.search import stored
from itm_jax.search.approximate import check_approximate
from itm_jax.search.hits import Explanation, Hit, Search
from itm_jax.search.nearest import nearest
from itm_jax.search.table import Record, check_model, count_of, ids_of, open_table, quoted, readable
from itm_jax.viz.explain import FRAGMENTS, Matching

MOST = 10_000  # images that a question may ask for, or a shortlist may have
LITERAL = re.compile(r"'(?:[^']|'')*'")  # of SQL
PLACE_IN_LANCE = re.compile(r",? /\S+\.rs:\S*")  # where in its source an error comes from


@dataclasses.dataclass(frozen=True)
class Index:
    """An open index.

    Attributes:
        place: where it is.
        table: the table of LanceDB.
        record: what it says about itself.
        model: the model that it was built with.
    """

    place: str
    table: Any
    record: Record
    model: Matcher

    def __len__(self) -> int:
        """Returns the number of images."""
        return count_of(self.table, self.place)

    def query(self, text: str | None = None, *, image: Any = None, like: str | None = None, **how: Any) -> list[Hit]:
        """Returns the images that fit best, the best first.

        The search is exact for a model of one vector. For a model of fragments LanceDB makes a shortlist by the sum of
        the best cosines, exactly, and the model scores the shortlist again.

        Args:
            text: a caption; or
            image: a path, a PIL image or a uint8 array; or
            like: the id of an image of the gallery, which is not found itself.
            **how: `top=10`, `where=None`, `shortlist=200`, `approximate=False`; see `Search`.

        Raises:
            InputError: not one of text, image and like is passed, or it cannot be used; or `where` is no condition.
        """
        if sum(x is not None for x in (text, image, like)) != 1:
            raise InputError("query: pass one of text, image and like")
        if text is not None:
            return self.queries([text], **how)[0]
        search = self._checked(how)
        if image is not None:
            return self._hits(self.model.encode_images([image]), search)
        assert like is not None
        hits = self._hits(self.encodings_of(like), search._replace(top=search.top + 1))
        return [hit for hit in hits if hit.id != like][: search.top]

    def queries(self, texts: Sequence[str], **how: Any) -> list[list[Hit]]:
        """Returns for each text the images that fit best. All texts are encoded together.

        Args:
            texts: captions.
            **how: as for `query`.
        """
        if isinstance(texts, str):
            raise InputError("queries: expected a list of texts; pass one text to query")
        search = self._checked(how)
        captions = self.model.encode_captions(list(texts))
        return [self._hits(captions.item(k), search) for k in range(len(texts))]

    def answer(self, question: Encodings, **how: Any) -> list[Hit]:
        """Returns the images that fit one encoded caption or image best.

        Args:
            question: of the model of the index.
            **how: as for `query`.
        """
        return self._hits(question, self._checked(how))

    @property
    def explains(self) -> bool:
        """Whether `explain` can say why an image was found."""
        return self.record.fragments and self.model.config.model.name in FRAGMENTS

    def ids(self) -> set[str]:
        """Returns the ids of all images."""
        return ids_of(self.table, self.place)

    def encodings_of(self, name: str) -> Encodings:
        """Returns the stored encodings of an image.

        Raises:
            InputError: the index has no such image.
        """
        return self._encodings(self._row(name, [self.record.column]))

    def explain(self, name: str, text: str) -> Explanation:
        """Returns why a model of fragments gives an image of the gallery its score with a text.

        Raises:
            InputError: the index has no such image, or it keeps one vector of an image.
        """
        if not self.explains:
            raise InputError(
                f"{self.place}: what the index keeps does not say what decided; that is known for cpfean, late and scan"
            )
        row = self._row(name, ["vectors", "boxes", "thumbnail"])
        matching = self.model.explain(self._encodings(row), text)
        [boxes], [thumbnail] = row["boxes"].to_pylist(), row["thumbnail"].to_pylist()
        assert isinstance(matching, Matching)  # a model of fragments
        return Explanation(matching, None if boxes is None else np.array(boxes, np.float32), thumbnail)

    def nearest(self, query: Encodings, count: int, search: Search, columns: Sequence[str]) -> Any:
        """Returns the rows of the nearest images, by `nearest.nearest`."""
        return nearest(self.table, self.record, self.place, query, count, search, columns)

    def exact(self, query: Encodings, rows: Any) -> np.ndarray:
        """Returns the scores that the model gives to rows of the table with vectors.

        For an image as the question it is the cosine, or with fragments the mean of the best cosines of its regions.
        """
        if query.kind == "captions" and self.record.fragments:
            return self.model.score(self._encodings(rows), query)[:, 0]
        each = 1 if (mask := vectors_of(query).mask) is None else int(mask[0].sum())
        return 1 - np.array(rows["_distance"].to_pylist(), np.float32) / each

    def _hits(self, query: Encodings, search: Search) -> list[Hit]:
        shown = ["id", "thumbnail", *self.record.metadata]
        if self.record.fragments and query.kind == "captions":
            rows = self.nearest(query, max(search.shortlist, search.top), search, ["id", "vectors"])
        else:
            rows = self.nearest(query, search.top, search, shown)
        if not len(rows):
            return []
        scores = self.exact(query, rows)
        order = np.argsort(-scores, kind="stable")[: search.top]
        ids = rows["id"].take(order).to_pylist()
        if "thumbnail" not in rows.column_names:  # read for the best alone; one of them may be removed meanwhile
            rows = self._rows(ids, shown)
        found = {row["id"]: row for row in rows.to_pylist()}
        return [
            Hit(x, float(scores[k]), {name: found[x][name] for name in self.record.metadata}, found[x]["thumbnail"])
            for k, x in zip(order, ids, strict=True)
            if x in found
        ]

    def _checked(self, how: Mapping[str, Any]) -> Search:
        if unknown := how.keys() - set(Search._fields):
            raise TypeError(f"query: unknown {', '.join(sorted(unknown))}; known are {', '.join(Search._fields)}")
        search = Search(**how)
        if not (1 <= search.top <= MOST and 1 <= search.shortlist <= MOST):
            raise InputError(f"query: top={search.top}, shortlist={search.shortlist}: must be from 1 to {MOST:,}")
        if search.where is not None:
            self._check_where(search.where)
        if search.approximate:
            check_approximate(self.table, self.record, self.place)
        return search

    def _check_where(self, where: str) -> None:
        try:
            if ";" in LITERAL.sub("", where):  # LanceDB would ignore what follows
                raise ValueError("one condition alone, without ;")
            self.table.search().where(where).select(["id"]).limit(1).to_arrow()
        except Exception as e:  # LanceDB raises many kinds for a condition that it cannot read
            columns = ", ".join(("id", *self.record.metadata))
            reason = PLACE_IN_LANCE.sub("", " ".join(str(e).split()))[:160]
            raise InputError(f"{where!r}: no condition on the columns {columns} ({reason})") from None

    def _rows(self, names: Sequence[str], columns: Sequence[str]) -> Any:
        condition = f"id IN ({', '.join(quoted(name) for name in names)})"
        with readable(self.place):
            return self.table.search().where(condition).select(list(columns)).limit(len(names)).to_arrow()

    def _row(self, name: str, columns: Sequence[str]) -> Any:
        rows = self._rows([name], columns)
        if not len(rows):
            raise InputError(f"{self.place}: has no image {name}")
        return rows

    def _encodings(self, rows: Any) -> Encodings:
        return stored.encodings(rows, self.record, self.model, self.place)


def open_index(place: str | pathlib.Path, model: Matcher | str | None = None, *, backbone: str | None = None) -> Index:
    """Opens an index. A question sees what was written to the index before it.

    Args:
        place: its folder, or its address.
        model: the model that it was built with, or where that lies now; None: where it lay when the index was built.
        backbone: of the model's extractor, as for `itm_jax.load`.

    Raises:
        InputError: there is no index, its model cannot be loaded, or `model` is another one.
    """
    table, record = open_table(str(place))
    loaded = model if isinstance(model, Matcher) else load_model(record, model, backbone)
    check_model(loaded, record, str(place))
    return Index(str(place), table, record, loaded)


def load_model(record: Record, place: str | None = None, backbone: str | None = None) -> Matcher:
    """Loads the model of an index from where it lay when the index was built, or from another place.

    Raises:
        InputError: it cannot be loaded; the message says how to pass another place.
    """
    if place is None:
        _check_recorded(record.model)
    try:
        return load(place or record.model, backbone=backbone)
    except InputError as e:
        hint = "" if place else "; if the model of the index lies in another place now, pass it (--model=DIR)"
        raise InputError(f"{e}{hint}") from None


def _check_recorded(model: str) -> None:
    """Raises InputError where the index of somebody else could bring code: it says itself where its model is."""
    folder, hint = pathlib.Path(model), f"if you trust that model, pass it yourself (--model={model})"
    if os.path.exists(model) and not folder.is_absolute():
        raise InputError(f"{model}: the index names its model by a place in the present folder; {hint}")
    is_run = folder.is_absolute() and os.path.isfile(folder / "config.json") and not is_exported(folder)
    if is_run and (code := own_code_of(read_json(folder / "config.json"))):
        raise InputError(f"{model}: the model of the index runs Python code of its author, config.{code}; {hint}")
