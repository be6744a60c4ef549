"""An index that is open for questions: images by a text, by an image, or by another image of the gallery."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from itm_jax.errors import InputError
from itm_jax.hub.load import load
from itm_jax.hub.matcher import Encodings, Matcher
from itm_jax.hub.vectors import Vectors, vectors_of
from itm_jax.search.table import OURS, Record, check_model, open_table, quoted, readable
from itm_jax.structs import Fragments

SHORTLIST = 200  # images that a model of fragments scores again


@dataclasses.dataclass(frozen=True)
class Hit:
    """An image that was found.

    Attributes:
        id: of the image.
        score: of the model for a text; for an image the cosine, or with fragments the mean of the best cosines of its
            regions.
        metadata: the further columns of the index.
        thumbnail: a small JPEG; None where the index has none.
    """

    id: str
    score: float
    metadata: Mapping[str, Any]
    thumbnail: bytes | None = dataclasses.field(default=None, repr=False)


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
        return self.table.count_rows()

    def query(
        self,
        text: str | None = None,
        *,
        image: Any = None,
        like: str | None = None,
        top: int = 10,
        where: str | None = None,
        shortlist: int = SHORTLIST,
    ) -> list[Hit]:
        """Returns the images that fit best, the best first.

        The search is exact for a model of one vector. For a model of fragments LanceDB makes a shortlist by the sum of
        the best cosines, exactly, and the model scores the shortlist again.

        Args:
            text: a caption; or
            image: a path, a PIL image or a uint8 array; or
            like: the id of an image of the gallery, which is not found itself.
            top: how many images.
            where: a condition in SQL on the columns of metadata, such as `year >= 2020 AND place = 'Oslo'`.
            shortlist: images that a model of fragments scores again, at least `top`.

        Raises:
            InputError: not one of text, image and like is passed, or it cannot be used; or `where` is no condition.
        """
        if sum(x is not None for x in (text, image, like)) != 1:
            raise InputError("query: pass one of text, image and like")
        if top < 1 or shortlist < 1:
            raise InputError(f"query: top={top}, shortlist={shortlist}: must be at least 1")
        if text is not None:
            captions = self.model.encode_captions([text])
            return self._hits(_first(vectors_of(captions)), top, where, shortlist, captions)
        if image is not None:
            encoded = self.model.encode_images([image])
            return self._hits(_first(vectors_of(encoded)), top, where, shortlist, None)
        assert like is not None
        hits = self._hits(self._stored(like), top + 1, where, shortlist, None)
        return [hit for hit in hits if hit.id != like][:top]

    def _stored(self, name: str) -> np.ndarray:
        with readable(self.place):
            rows = self.table.search().where(f"id = {quoted(name)}").select([self.record.column]).to_arrow()
        if not len(rows):
            raise InputError(f"{self.place}: has no image {name}")
        return np.array(rows[self.record.column][0].as_py(), np.float32)

    def _hits(
        self, query: np.ndarray, top: int, where: str | None, shortlist: int, captions: Encodings | None
    ) -> list[Hit]:
        again = self.record.fragments and captions is not None
        nearest = self._nearest(query, max(shortlist, top) if again else top, where)
        if not len(nearest):
            return []
        if again:
            assert captions is not None
            scores = self.model.score(self._encodings(nearest), captions)[:, 0]
        else:
            # LanceDB sums the distances over the vectors of the query.
            each = len(query) if self.record.fragments else 1
            scores = 1 - np.array(nearest["_distance"].to_pylist(), np.float32) / each
        order = np.argsort(-scores, kind="stable")[:top]
        columns = [name for name in nearest.column_names if name not in (*OURS, "_distance")]
        rows = nearest.drop_columns([self.record.column]).take(order).to_pylist()
        return [
            Hit(row["id"], float(scores[k]), {name: row[name] for name in columns}, row.get("thumbnail"))
            for k, row in zip(order, rows, strict=True)
        ]

    def _nearest(self, query: np.ndarray, count: int, where: str | None) -> Any:
        with readable(self.place):
            search = self.table.search(query.tolist(), vector_column_name=self.record.column)
            search = search.distance_type("cosine").limit(count)
            if where is not None:
                self._check_where(where)
                search = search.where(where, prefilter=True)
            return search.to_arrow()

    def _check_where(self, where: str) -> None:
        try:
            if ";" in where:
                raise ValueError("one condition alone, without ;")
            self.table.search().where(where).select(["id"]).limit(1).to_arrow()
        except Exception as e:  # LanceDB raises many kinds for a condition that it cannot read
            columns = ", ".join(("id", *self.record.metadata))
            reason = " ".join(str(e).split())[:120]
            raise InputError(f"{where!r}: no condition on the columns {columns} ({reason})") from None

    def _encodings(self, rows_of_table: Any) -> Encodings:
        """Returns the stored vectors of images as the model's encodings."""
        lists = rows_of_table["vectors"].combine_chunks()
        counts = np.diff(lists.offsets.to_numpy())
        flat = (
            lists.flatten().flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, self.record.width)
        )
        most = max(self.model.shape[0], int(counts.max()))  # a data set may have more regions than the training had
        mask = np.arange(most)[None] < counts[:, None]
        rows = np.zeros((len(counts), most, self.record.width), np.float32)
        rows[mask] = flat
        images = Fragments(rows, mask)
        return Encodings("images", [(np.arange(len(counts)), images)], self.model.fingerprint, self.place)


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
    if isinstance(model, Matcher):
        loaded = model
    else:
        try:
            loaded = load(model or record.model, backbone=backbone)
        except InputError as e:
            hint = "" if model else "; if the model of the index lies in another place now, pass it (--model=DIR)"
            raise InputError(f"{e}{hint}") from None
    check_model(loaded, record, str(place))
    return Index(str(place), table, record, loaded)


def _first(vectors: Vectors) -> np.ndarray:
    """Returns the vector of the first item, [d]; or its valid ones, [k d]."""
    return vectors.rows[0] if vectors.mask is None else vectors.rows[0][vectors.mask[0]]
