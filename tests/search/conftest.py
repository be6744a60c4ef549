"""The runs and indices that the tests of search share."""

import pytest
from support.images import extracted_runs
from support.search import NAMES, SPLITS

import itm_jax
from itm_jax.hub import gallery as galleries
from itm_jax.search.build import build


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """(folder of the runs, folder of the images, {name: model}, {name: place of an index of all images})."""
    pytest.importorskip("lancedb", reason="pip install -e '.[search]'")
    root = tmp_path_factory.mktemp("search")
    images = extracted_runs(root, SPLITS, NAMES)
    models = {name: itm_jax.load(root / name) for name in NAMES}
    places = {name: str(root / f"index-{name}") for name in NAMES}
    for name, model in models.items():
        assert build(model, galleries.of_images(model, images), places[name], dtype="float32") == sum(SPLITS.values())
    return root, images, models, places
