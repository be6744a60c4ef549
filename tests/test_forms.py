"""A data set gives the same scores in every form that its files may have, with every model."""

import json
import shutil

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.data_sets import EACH, IMAGES, REGIONS, config_for, write_all
from support.models import awake

from itm_jax.data.prepare import prepare
from itm_jax.devices.mesh import make_mesh
from itm_jax.evaluation.encode import make_encoders
from itm_jax.evaluation.rank import Scorer
from itm_jax.training.build import build_run

MODELS = {
    "afa": {"model__aggregation__ratio": 0.4},
    "afa, official": {"model__variant": "official"},
    "vsepp": {},
    "vseinf": {},
    "cpfean": {"model__graph__heads": 2, "model__graph__iou": 0.0},
    "cpfean, sparse": {"model__graph__heads": 2, "model__words__graph": "sparse", "model__graph__filter": True},
    "scan": {},
    "scan, i2t": {"model__attention__direction": "i2t"},
    "late": {},
}
ZEROS = 2  # rows of zeros that a padded form has


def config_of(directory, name, **changes):
    fields = {"model__name": name.split(",")[0], "data__eval_batch_size": 8, **MODELS[name], **changes}
    return config_for(directory, **fields)


def rewrite(directory, *, repeats, zeros, garbage, captions, rows):
    """Rewrites the split `test`: rows repeated, padded with zeros or garbage, captions and rows in another order."""
    path = lambda name: directory / f"test_{name}"  # noqa: E731
    features, boxes = np.load(path("ims.npy")), np.load(path("boxes.npy"))
    ids = path("ids.txt").read_text().split()
    if zeros:
        features, boxes = (np.pad(x, ((0, 0), (0, ZEROS), (0, 0))) for x in (features, boxes))
        if garbage:  # then a file says how many regions there are
            features[:, REGIONS:] = 7.0
            np.save(path("num_regions.npy"), np.full(IMAGES, REGIONS, np.int64))
    labels = json.loads(path("labels.json").read_text())
    again = np.repeat(rows, repeats)
    np.save(path("ims.npy"), features[again])
    np.save(path("boxes.npy"), boxes[again])
    path("labels.json").write_text(json.dumps([labels[i] for i in again]))
    lines = path("caps.txt").read_text().splitlines()
    path("caps.txt").write_text("".join(lines[c] + "\n" for c in captions))
    edges = json.loads(path("dependencies.json").read_text())
    path("dependencies.json").write_text(json.dumps([edges[c] for c in captions]))
    path("ids.txt").write_text("".join(ids[c // EACH] + "\n" for c in captions))
    path("image_ids.txt").write_text("".join(ids[i] + "\n" for i in again))


class Trained:
    """A model with parameters that are no longer those of its start, and its scores of a data set as written."""

    def __init__(self, name, directory):
        self.name, self.directory = name, directory
        write_all(directory)
        prepared = prepare(config_of(directory, name), ["train", "test"])
        mesh = make_mesh(8, jax.devices()[:1])
        run = build_run(prepared.config, prepared.text, prepared.with_text(prepared.splits[0]))
        state = jax.tree.map(np.asarray, {"params": run.state.params, "batch_stats": run.state.batch_stats})
        self.variables = {"params": awake(state["params"]), "batch_stats": state["batch_stats"]}
        self.mesh, self.encoders = mesh, make_encoders(run.model, mesh)
        self.expected = self.scores(directory)

    def scores(self, directory, **changes):
        """{(id, caption): score}."""
        prepared = prepare(config_of(directory, self.name, **changes), ["train", "test"])
        data = prepared.with_text(prepared.splits[1])
        scored = Scorer(prepared.config, data, self.mesh, self.encoders, self.variables).scores().scores
        return {
            (name, caption): scored[i, c]
            for i, name in enumerate(data.split.ids)
            for c, caption in enumerate(data.split.captions)
        }


@pytest.fixture(scope="module", params=MODELS)
def trained(request, tmp_path_factory):
    return Trained(request.param, tmp_path_factory.mktemp("data"))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(data=st.data(), repeats=st.integers(1, 10), zeros=st.booleans(), garbage=st.booleans(), by_ids=st.booleans())
def test_scores_do_not_depend_on_the_form_of_the_files(
    trained, tmp_path_factory, data, repeats, zeros, garbage, by_ids
):
    directory = tmp_path_factory.mktemp("form") / "another place"
    shutil.copytree(trained.directory, directory)
    captions, rows = np.arange(IMAGES * EACH), np.arange(IMAGES)
    if by_ids and trained.name != "afa, official":  # whose embeddings depend on the batches by design
        captions = np.array(data.draw(st.permutations(range(IMAGES * EACH))))
        rows = np.array(data.draw(st.permutations(range(IMAGES))))
    rewrite(directory, repeats=repeats, zeros=zeros, garbage=garbage, captions=captions, rows=rows)
    got = trained.scores(directory, data__pairing="ids" if by_ids else "order")
    assert got.keys() == trained.expected.keys()
    for pair, score in trained.expected.items():
        assert got[pair] == pytest.approx(score, abs=1e-5), pair
    assert np.ptp(list(got.values())) > 1e-3
