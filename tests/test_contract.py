"""Every model keeps the contract of `itm_jax.testing`; a model that breaks a clause is found out."""

import pytest
from support.runs import shrunk

from itm_jax.testing import check_model, check_resume

pytestmark = pytest.mark.usefixtures("one_device")

INDEPENDENT = ["padding", "batch", "order"]
CLAUSES = ["shapes", *INDEPENDENT, "tile", "nothing valid", "gradients", "bfloat16"]
MODELS = {
    "afa": {"model__aggregation__ratio": 0.3},
    "afa, mean": {"model__selection": "mean", "model__aggregation__pairing": "random"},
    "afa, gpo": {"model__selection": "gpo", "model__aggregation__shuffle": False},
    "afa, official": {"model__variant": "official"},
    "vsepp": {"model__name": "vsepp"},
    "vseinf": {"model__name": "vseinf"},
    "cpfean": {"model__name": "cpfean"},
    "cpfean, sparse": {"model__name": "cpfean", "model__words__graph": "sparse", "model__alignment__gamma": 1.0},
    "cpfean, feature gate": {"model__name": "cpfean", "model__fusion__gate": "feature", "model__graph__filter": True},
    "cpfean, attention": {"model__name": "cpfean", "model__alignment__kind": "cross_attention"},
    "scan": {"model__name": "scan"},
    "scan, i2t": {"model__name": "scan", "model__attention__direction": "i2t"},
    "late": {"model__name": "late"},
    "late, gru": {"model__name": "late", "model__text__encoder": "gru"},
}


# Each of these has parts that no other model in the list has; the others are slow tests.
DEFAULT = ("afa", "afa, official", "vsepp", "cpfean, sparse", "cpfean, feature gate", "scan", "late, gru")


@pytest.mark.parametrize(
    "name", [name if name in DEFAULT else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]
)
def test_a_model_keeps_the_contract(name):
    checked = check_model(shrunk(**MODELS[name]), tolerance=1e-5)
    assert checked == [c for c in CLAUSES if name != "afa, official" or c not in INDEPENDENT]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["afa", "afa, official", "vseinf", "cpfean, sparse", "scan", "late, gru"])
def test_a_run_of_a_model_of_each_kind_can_be_cut_off(name, tmp_path):
    check_resume(shrunk(**MODELS[name]), tmp_path)


BROKEN = """
import jax
import jax.numpy as jnp

from itm_jax.config.model_fields import ModelFields
from itm_jax.models.baselines import VSE, LateInteraction


class Padding(VSE):
    def encode_images(self, regions, *, train):
        return super().encode_images(regions.replace(mask=jnp.ones_like(regions.mask)), train=train)


class Batch(VSE):
    def score(self, images, captions):
        return super().score(images - images.mean(0, keepdims=True), captions)


class Half(LateInteraction):
    def score(self, images, captions):
        return super().score(images, captions).astype(jnp.bfloat16)


class Nothing(VSE):
    def score(self, images, captions):
        return super().score(images, captions) + 1.0


class Stopped(VSE):
    def encode_captions(self, tokens, *, train):
        return jax.lax.stop_gradient(super().encode_captions(tokens, train=train))


class Tile(VSE):
    def score(self, images, captions):
        return super().score(images, captions) / len(captions)


class OwnTile(Tile):
    model_fields = ModelFields(batch_dependent=lambda model: True)


class HalfParameter(VSE):
    def setup(self):
        super().setup()
        self.scale = self.param("scale", jax.nn.initializers.ones, (), self.dtype)

    def score(self, images, captions):
        return super().score(images, captions) * self.scale.astype(jnp.float32)


class Constant(VSE):
    def score(self, images, captions):
        return 0 * super().score(images, captions)
"""


@pytest.mark.parametrize(
    ("name", "clause"),
    [
        ("Padding", "padding: invalid rows"),
        ("Batch", "batch: a score depends on the other items"),
        ("Half", "shapes: the scores are bfloat16"),
        ("Nothing", "nothing valid: an image without regions scores 1"),
        ("Stopped", "gradients: none reaches the text encoder"),
        ("Tile", "batch: a score depends"),
        ("OwnTile", "tile: a score depends"),
        ("HalfParameter", r"bfloat16: the parameter \['scale'\] is bfloat16"),
        ("Constant", "shapes: all scores are the same"),
    ],
)
def test_a_model_that_breaks_a_clause_is_found_out(name, clause, tmp_path, monkeypatch):
    (tmp_path / "broken_models.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = shrunk(model__name=f"broken_models:{name}", model__selection="mean")
    with pytest.raises(AssertionError, match=clause):
        check_model(config)
