"""Measures search in galleries of random vectors: an index of LanceDB, exact and approximate, beside brute force."""

import pathlib
import tempfile
import time
from collections.abc import Callable

import numpy as np

from itm_jax.bench.measure import seconds_of, summary
from itm_jax.errors import InputError
from itm_jax.hub.encodings import Encodings
from itm_jax.hub.gallery import Gallery
from itm_jax.search.approximate import FEWEST, build_approximate
from itm_jax.search.build import write_index
from itm_jax.search.hits import Search
from itm_jax.search.nearest import nearest
from itm_jax.search.table import Record, open_table
from itm_jax.structs import Fragments
from itm_jax.terminal import say

TOP = 10  # images of an answer
WORDS = 12  # of a question, where an image has several vectors
BLOCK = 1000  # images whose vectors are made at a time, and compared at a time


def bench_search(images: int, *, regions: int, width: int, repeats: int) -> dict:
    """Returns seconds of a question, of the building, and bytes on disk.

    Args:
        images: in the gallery.
        regions: vectors of an image; 1 for a model of one vector.
        width: of a vector.
        repeats: questions.

    Raises:
        InputError: LanceDB or FAISS is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise InputError("bench search needs FAISS; pip install 'itm_jax[search,vectors]'") from None
    rng = np.random.default_rng(0)
    record = Record("random", "random", regions > 1, width, "float16", 0, {})
    questions = [_question(_unit(rng, (WORDS if regions > 1 else 1, width)), regions) for _ in range(repeats)]
    with tempfile.TemporaryDirectory(prefix="itm_jax_bench_") as folder:
        place = str(pathlib.Path(folder) / "index")
        names = [f"{k:09}.jpg" for k in range(images)]
        say(f"{images:,} images of random vectors are made, and then written")
        blocks = [np.arange(k, min(k + BLOCK, images)) for k in range(0, images, BLOCK)]
        vectors = np.concatenate([_rows(block, record, regions) for block in blocks])
        gallery = Gallery("images", names, lambda items: (_made(vectors[items], record), None))
        began = time.perf_counter()
        write_index(record, gallery, place)
        out: dict = {"build_seconds": time.perf_counter() - began}
        out["bytes_on_disk"] = sum(path.stat().st_size for path in pathlib.Path(place).rglob("*") if path.is_file())
        table, _ = open_table(place)

        def asked(question: Encodings, how: Search) -> list[str]:
            return nearest(table, record, place, question, TOP, how, ["id"])["id"].to_pylist()

        ways: dict[str, Callable[[Encodings], list[str]]] = {
            "exact": lambda question: asked(question, Search()),
            "numpy": lambda question: [gallery.ids[k] for k in _brute_force(vectors, question)],
        }
        if regions == 1:
            flat = faiss.IndexFlatIP(width)
            flat.add(vectors)
            ways["faiss_flat"] = lambda question: [
                gallery.ids[k] for k in flat.search(np.asarray(question.parts[0][1]), TOP)[1][0]
            ]
        if images * regions >= FEWEST:
            out["approximate_build_seconds"] = build_approximate(table, record, place)
            ways["approximate"] = lambda question: asked(question, Search(approximate=True))
        found = {name: [way(question) for question in questions] for name, way in ways.items()}
        # Each call takes the next question.
        turns = {name: iter(questions) for name in ways}
        calls = [lambda name=name: ways[name](next(turns[name])) for name in ways]
        for name, laps in zip(ways, seconds_of(*calls, repeats=repeats), strict=True):
            out |= {f"{name}_{key}": value for key, value in summary(laps).items()}
            share = [len(set(a) & set(b)) / TOP for a, b in zip(found[name], found["numpy"], strict=True)]
            out[f"{name}_recall_at_{TOP}"] = float(np.mean(share))
    return out | {"bytes_of_vectors": images * regions * width * 2}


def _unit(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    rows = rng.standard_normal(shape, np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def _rows(items: np.ndarray, record: Record, regions: int) -> np.ndarray:
    """The vectors of images, [n d] or [n r d]; those of image k depend on k alone."""
    shape = (record.width,) if regions == 1 else (regions, record.width)
    return np.stack([_unit(np.random.default_rng(int(k)), shape) for k in items])


def _made(rows: np.ndarray, record: Record) -> Encodings:
    part = rows if rows.ndim == 2 else Fragments(rows, np.ones(rows.shape[:2], bool))
    return Encodings("images", [(np.arange(len(rows)), part)], record.fingerprint, "random")


def _question(rows: np.ndarray, regions: int) -> Encodings:
    part = rows if regions == 1 else Fragments(rows[None], np.ones((1, len(rows)), bool))
    return Encodings("captions", [(np.arange(1), part)], "random", "random")


def _brute_force(vectors: np.ndarray, question: Encodings) -> np.ndarray:
    """The images with the largest cosine, or with the largest sum over the words of the largest cosine."""
    part = question.parts[0][1]
    if isinstance(part, np.ndarray):
        scores = vectors @ part[0]
    else:
        words = np.asarray(part.rows[0]).T
        blocks = [vectors[k : k + BLOCK] @ words for k in range(0, len(vectors), BLOCK)]
        scores = np.concatenate([block.max(axis=1).sum(axis=1) for block in blocks])
    best = np.argpartition(-scores, min(TOP, len(scores)) - 1)[:TOP]
    return best[np.argsort(-scores[best])]
