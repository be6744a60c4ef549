"""Search in a gallery of images: an index of a model's encodings in LanceDB, and questions to it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from itm_jax.search.index import open_index as open

__all__ = ["open"]


def __getattr__(name: str) -> Any:
    if name != "open":
        raise AttributeError(f"module 'itm_jax.search' has no attribute {name!r}")
    from itm_jax.search.index import open_index

    return open_index
