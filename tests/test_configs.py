"""Config files load and validate; mistakes in fields are named."""

import json

import pytest
from support.paths import ROOT
from support.runs import load

from itm_jax.config.default import default_config
from itm_jax.config.derived import complete
from itm_jax.config.fields import differences, flatten, read_json, set_field, to_json
from itm_jax.config.model_fields import idle_flags
from itm_jax.config.ranges import RANGES
from itm_jax.config.validation import OPTIONAL, validate
from itm_jax.errors import InputError

FILES = sorted((ROOT / "configs").glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_config_validates_and_opens_with_its_command(path):
    module = load(path)
    config = module.get_config()
    config.data.dir = config.data.dir or "somewhere"
    validate(config)
    assert f"--config=configs/{path.name}" in module.__doc__


def test_json_round_trip(tmp_path):
    config = default_config()
    config.data.dir = "x"
    config.optim.decay_epochs = (3, 5)
    (tmp_path / "config.json").write_text(to_json(config))
    again = read_json(tmp_path / "config.json")
    assert differences(config, again) == []
    assert again.optim.decay_epochs == (3, 5)
    again.seed = 4
    again.train.log_every = 99  # of no effect on numbers
    assert differences(again, config) == ["seed: 0 -> 4"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data.source", "hdf5", "must be one of scenes, precomp"),
        ("model.selection", "median", "max, mean, gpo"),
        ("seed", -1, "must lie in"),
        ("data.batch_size", 1, "at least 2"),
        ("data.max_tokens", 2, "at least 3"),
        ("model.width", 1, "at least 2"),
        ("data.scenes.features", 0, "at least 1"),
        ("model.text.dropout", 1.0, "must lie in"),
        ("model.text.num_heads", 3, "not a multiple of num_heads=3"),
        ("model.text.activation", "foo", "must be one of gelu"),
        ("data.dev_split", "testall", "a split that reports"),
        ("data.batch_size", 0, "at least 2"),
        ("train.epochs", float("inf"), "a finite number"),
        ("loss.margin", float("nan"), "a finite number"),
        ("optim.decay_factor", -0.1, "greater than 0"),
        ("optim.decay_epochs", (0,), "greater than 0"),
        ("data.scenes.noise", -1.0, "must not be negative"),
        ("data.scenes.regions", 101, r"\[1, 100\]"),
        ("data.name", "a/b", "part of file names"),
        ("loss.margin", -0.1, "must not be negative"),
        ("data.augment.region_drop", 1.2, r"\[0, 1\]"),
        ("data.augment.word_mask", 0.9, "must be 1"),
        ("model.aggregation.ratio", 0.8, r"\[0, 0.5\]"),
        ("model.text.trainable", False, "pretrained"),
        ("data.token_buckets", (32, 16), "increasing"),
        ("data.dir", None, "--config.data.dir"),
    ],
)
def test_bad_values_are_named(field, value, message):
    config = default_config()
    config.data.dir = "x"
    set_field(config, field, value)
    with pytest.raises(InputError, match=message) as e:
        validate(config)
    assert field.rsplit(".", 1)[0] in str(e.value)


def test_unknown_and_missing_fields():
    config = default_config()
    config.data.dir = "x"
    with config.unlocked():
        config.data.batchsize = 3
    with pytest.raises(
        InputError, match=r"data\.batchsize: no such field; the nearest known one is config\.data\.batch_size"
    ):
        validate(config)
    del config.data.batchsize
    with config.unlocked():
        del config.optim.lr
    with pytest.raises(InputError, match=r"optim\.lr: missing"):
        validate(config)


def test_wrong_type_is_an_input_error():
    with pytest.raises(InputError, match=r"config\.seed"):
        set_field(default_config(), "seed", "three")


def test_config_json_of_nothing(tmp_path):
    with pytest.raises(InputError, match="is this the workdir of a run"):
        read_json(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        read_json(tmp_path / "config.json")


def test_every_number_field_has_a_range():
    """A new number field without one would take NaN."""
    numbers = {
        name
        for name, value in flatten(default_config()).items()
        if isinstance(OPTIONAL.get(name, value), int | float) and not isinstance(OPTIONAL.get(name, value), bool)
    }
    assert numbers == set(RANGES)


def test_a_run_of_an_earlier_version_keeps_the_form_of_its_mixed_negatives(tmp_path):
    """Its config.json does not name the field, and it was trained with the only form there was."""
    config = complete(default_config())
    values = json.loads(to_json(config))
    assert values["loss"].pop("normalize_mix") is False
    (tmp_path / "config.json").write_text(json.dumps(values))
    earlier = read_json(tmp_path / "config.json")
    assert earlier.loss.normalize_mix is True
    assert differences(config, earlier) == ["loss.normalize_mix: True -> False"]
    values["loss"]["soft_negatives"] = "none"  # it has no mixed negatives
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert read_json(tmp_path / "config.json").loss.normalize_mix is False


def test_a_run_of_an_earlier_version_keeps_its_prior_and_its_start(tmp_path):
    config = default_config()
    config.model.variant = "official"
    config.model.alignment.gamma = 1.0
    values = json.loads(to_json(complete(config)))
    assert values["model"]["alignment"].pop("prior") == "lift"
    assert values["model"]["enhancement"].pop("init") == "authors"
    (tmp_path / "config.json").write_text(json.dumps(values))
    earlier = read_json(tmp_path / "config.json")
    assert (earlier.model.alignment.prior, earlier.model.enhancement.init) == ("agreement", "lecun")


@pytest.mark.parametrize(
    ("name", "layers", "changed"),
    [
        ("afa", 1, []),
        ("vsepp", 1, []),
        ("late", 1, []),
        ("cpfean", 0, []),
        ("cpfean", 1, ["model.words.scale: 1.0 -> 0.1"]),
    ],
)
def test_a_run_without_the_new_fields_is_that_of_its_config_where_they_change_nothing(tmp_path, name, layers, changed):
    config = default_config()
    config.model.name = name
    config.model.words.layers = layers
    config = complete(config)
    values = json.loads(to_json(config))
    del values["model"]["alignment"]["prior"], values["model"]["enhancement"]["init"], values["model"]["words"]["scale"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert differences(config, read_json(tmp_path / "config.json")) == changed


@pytest.mark.parametrize(
    ("fields", "flag", "setting"),
    [
        ({"loss.soft_negatives": "hardest"}, "loss.stop_gradient", "loss.soft_negatives=hardest"),
        ({"loss.soft_negatives": "none"}, "loss.tau", "loss.soft_negatives=none"),
        ({"model.variant": "official"}, "loss.fold", "loss.soft_negatives=hinge"),
        ({"model.name": "vsepp"}, "loss.normalize_mix", "loss.soft_negatives=none"),
        ({"model.aggregation.enabled": False}, "model.aggregation.ratio", "model.aggregation.enabled=False"),
    ],
)
def test_fields_of_a_part_that_is_off_are_refused(fields, flag, setting):
    config = default_config()
    assert list(idle_flags(config, [flag])) == [] or "model.name" in fields
    for name, value in fields.items():
        set_field(config, name, value)
    assert list(idle_flags(config, [*fields, flag])) == [
        f"config.{flag}: has no effect on config.{setting}; leave it out"
    ]
    if "model.name" in fields:
        config.loss.soft_negatives = "mixup"
        assert list(idle_flags(config, [flag])) == []
