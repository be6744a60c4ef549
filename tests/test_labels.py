"""Label and box priors, dependency edges and the corpus prior on their way from the data to the model."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.runs import fragment_config, lines, run_of

from itm_jax.config.fields import read_json, set_field
from itm_jax.data.labels import label_bank, label_indices
from itm_jax.data.prepare import check_priors, complete_on, prepare
from itm_jax.data.scenes import world as scenes
from itm_jax.data.statistics import word_prior
from itm_jax.data.text.tokens import pad_edges, tokenize
from itm_jax.errors import InputError
from itm_jax.evaluation.evaluate import evaluate
from itm_jax.training import loop as training
from itm_jax.training.augment import AugmentConstants, touch_words
from itm_jax.training.build import build_run

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model__words__graph": "sparse"},
        pytest.param({"model__fusion__gate": "feature"}, marks=pytest.mark.slow),
        pytest.param({"model__name": "scan"}, marks=pytest.mark.slow),
        pytest.param({"model__name": "vseinf"}, marks=pytest.mark.slow),
    ],
    ids=lambda c: "-".join(map(str, c.values())) or "cpfean",
)
def test_every_model_trains_evaluates_and_continues(tmp_path, changes):
    config = fragment_config(train__epochs=1, **changes)
    training.train(config, tmp_path)
    out, _ = evaluate(read_json(tmp_path / "config.json"), tmp_path)
    assert out["model"] == config.model.name
    losses = [x["loss"] for x in lines(tmp_path) if x["split"] == "train"]
    assert len(losses) == 10
    assert np.isfinite(losses).all()
    [dev] = [x for x in lines(tmp_path) if x["split"] == "dev"]
    assert out["step"] == dev["step"] == 10


def test_a_stopped_run_of_cpfean_ends_as_a_whole_one(tmp_path):
    whole = fragment_config(train__epochs=1, model__alignment__gamma=0.5)
    training.train(whole, tmp_path / "whole")
    cut = fragment_config(train__epochs=1, model__alignment__gamma=0.5, train__checkpoint_every=4)
    with pytest.MonkeyPatch.context() as patch:
        original, calls = training.put_part, []

        def stop(batch, mesh):
            calls.append(1)
            if len(calls) == 7:
                raise KeyboardInterrupt
            return original(batch, mesh)

        patch.setattr(training, "put_part", stop)
        with pytest.raises(KeyboardInterrupt):
            training.train(cut, tmp_path / "cut")
    training.train(cut, tmp_path / "cut")
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")


def test_what_the_data_has_is_used_and_kept_in_config_json(tmp_path):
    split = scenes.make_split(fragment_config().data.scenes, "train")
    regions = complete_on(fragment_config(), [split]).config.model.regions
    assert regions.boxes is True
    assert regions.labels is True
    assert regions.label_names == split.label_names
    bare = dataclasses.replace(split, boxes=None, labels=None, label_names=())
    regions = complete_on(fragment_config(), [bare]).config.model.regions
    assert (regions.boxes, regions.labels) == (False, False)
    config = fragment_config()
    config.model.regions.boxes = True
    with pytest.raises(InputError, match=r"regions\.boxes=True: .* has no boxes"):
        complete_on(config, [bare])
    trained = complete_on(config, [split]).config
    with pytest.raises(InputError, match="scenes train: has no boxes"):
        check_priors(trained, bare)
    evaluated = prepare(fragment_config(), ["dev"], trained=trained).config
    assert evaluated.model.regions == trained.model.regions


def test_a_directory_without_boxes_and_labels_trains(tmp_path, rng):
    directory = tmp_path / "data"
    directory.mkdir()
    for split, n in (("train", 16), ("dev", 4), ("test", 4)):
        np.save(directory / f"{split}_ims.npy", rng.standard_normal((n, 6, 12)).astype(np.float32))
        (directory / f"{split}_caps.txt").write_text("".join(f"a red circle and {k}\n" for k in range(5 * n)))
    from itm_jax.data.text.text_input import SCENES_VOCAB

    config = fragment_config(data__source="precomp", data__dir=str(directory), train__epochs=1)
    config.model.text.vocab = str(SCENES_VOCAB)
    training.train(config, tmp_path / "run")
    kept = read_json(tmp_path / "run" / "config.json").model.regions
    assert (kept.boxes, kept.labels, tuple(kept.label_names)) == (False, False, ())
    config.model.words.graph = "sparse"
    with pytest.raises(InputError, match=r"train_dependencies\.json"):
        training.train(config, tmp_path / "sparse")


def test_names_that_the_train_split_has_not_share_row_zero():
    split = scenes.make_split(fragment_config().data.scenes, "train")
    config = fragment_config()
    config.model.regions.label_names = split.label_names[1:]
    rows = label_indices(config, split)
    assert (rows == split.labels).all()  # names 1.. are rows 1..
    config.model.regions.label_names = split.label_names
    assert (label_indices(config, split) == split.labels + 1).all()


def test_the_bank_is_the_mean_over_a_names_pieces_real_data(minilm, tmp_path):
    config = fragment_config(data__cache_dir=str(tmp_path))
    config.model.text.pretrained, config.model.text.trainable = minilm, False
    for name, value in (
        ("hidden_size", 256),
        ("num_layers", 4),
        ("num_heads", 4),
        ("intermediate_size", 1024),
        ("max_positions", 128),
    ):
        set_field(config, f"model.text.{name}", value)  # back to the defaults, that the checkpoint may fill them in
    split = scenes.make_split(config.data.scenes, "train")
    split = dataclasses.replace(split, label_names=("traffic light", *split.label_names[1:]))
    prepared = complete_on(config, [split])
    config, text = prepared.config, prepared.text
    bank = label_bank(config, split, text)
    assert bank.shape == (len(split.label_names), 384)
    from itm_jax.modules.bert import Bert

    ids = jnp.array([text.tokenizer.encode("traffic light").ids])
    states = Bert(text.bert).apply({"params": text.params}, ids, jnp.ones(ids.shape, bool))
    np.testing.assert_allclose(bank[0], states[0, 1:-1].mean(axis=0), atol=5e-3)  # kept as float16
    assert list(tmp_path.glob("states-*.npy"))
    run = build_run(config, text, prepared.with_text(split))
    assert "labels" in run.state.params["region_embedding"]
    assert "label_table" not in run.state.params["region_embedding"]


def test_edges_follow_their_captions_and_survive_deletions():
    config = fragment_config(model__words__graph="sparse")
    prepared = prepare(config, ["train"])
    [split], text = prepared.splits, prepared.text
    tokens = prepared.with_text(split).tokens(np.array([7, 3]))
    for row, caption in zip(tokens.edges, (7, 3), strict=True):
        kept = [tuple(e) for e in row.tolist() if e[0] >= 0]
        assert kept == [tuple(e) for e in split.edges[caption]]
    rates = config.data.augment
    rates.word_touch, rates.word_mask, rates.word_random, rates.word_delete = 0.5, 0.0, 0.0, 1.0
    touched = touch_words(
        jax.random.key(0),
        jax.tree.map(jnp.asarray, tokens),
        AugmentConstants(text.mask_id, jnp.array(text.replacements)),
        rates,
    )
    assert np.array_equal(touched.edges, tokens.edges)  # an edge names words, and a word keeps its number
    assert set(np.asarray(touched.word_ids[0]).tolist()) < set(tokens.word_ids[0].tolist())


def test_padded_edges_by_hand():
    assert pad_edges([[[1, 0]], [], [[2, 1], [2, 0]]]).tolist() == [
        [[1, 0], [-1, -1]], [[-1, -1], [-1, -1]], [[2, 1], [2, 0]],
    ]  # fmt: skip
    assert pad_edges([[], []]).shape == (2, 1, 2)


def test_word_prior_by_hand():
    # two images of two captions: piece 1 in both captions of image 0 and in one of image 1; 2 twice in one caption
    ids, lengths = np.array([1, 2, 2, 1, 1, 3]), np.array([3, 1, 1, 1])
    # counted: 1 of 2, 0 of 1, 0 of 1; their mean is 1/6
    expected = [1 / 6, (1 + 1 / 6) / 3, 1 / 12, 1 / 12, 1 / 6]
    owner = np.array([0, 0, 1, 1])
    np.testing.assert_allclose(word_prior(ids, lengths, owner, 5, prior="agreement"), expected, atol=1e-6)
    # piece 1: in 3 of 4 captions; of the 3 other captions 2 have it too; with one more by chance (2 + 3/4) / (3 + 1)
    lift = np.log1p([(2 + 3 / 4) / 4 / (3 / 4), (1 / 4) / 2 / (1 / 4), (1 / 4) / 2 / (1 / 4)])
    expected = [lift.mean(), *lift, lift.mean()]
    np.testing.assert_allclose(word_prior(ids, lengths, owner, 5, prior="lift", least=1), expected, atol=1e-6)


def test_a_piece_in_just_enough_captions_counts():
    """In a number of captions for which 10 / T · T is below 10 in floating point."""
    captions = 1245
    ids = np.concatenate([np.ones(captions, int), np.full(10, 2), np.full(9, 3)])
    owner, order = np.arange(captions) // 5, np.argsort([*range(captions), *range(10), *range(9)], kind="stable")
    lengths = np.bincount([*range(captions), *range(10), *range(9)], minlength=captions)
    _, one, ten, nine = word_prior(ids[order], lengths, owner, 4, prior="lift")
    assert ten > 4
    assert nine == pytest.approx(np.mean([one, ten]))


def test_lift_is_low_for_words_that_tell_no_image_from_another():
    """Of 40 images, all have "a" (1) in every caption, half a "dog" (2), two a "kite" (3); "oh" (4) comes by chance.

    One image has a misspelt word (5) in two captions; 6 does not occur.
    """
    rng = np.random.default_rng(0)
    captions = [
        [1] + [2] * (image % 2) + [3] * (image in (7, 8)) + [4] * int(rng.random() < 0.3) + [5] * (image == 9 and k < 2)
        for image in range(40)
        for k in range(5)
    ]
    ids, lengths = np.concatenate(captions), np.array([len(c) for c in captions])
    prior = lambda kind: word_prior(ids, lengths, np.repeat(np.arange(40), 5), 7, prior=kind)  # noqa: E731
    unseen, a, dog, kite, chance, misspelt, never = prior("lift")
    assert misspelt == never == unseen == pytest.approx(np.mean([a, dog, kite, chance]))
    assert abs(a - np.log(2)) < 0.01
    assert abs(chance - np.log(2)) < 0.2
    assert dog > 1.05
    assert kite > 2.5
    assert prior("agreement")[1] > 0.95  # the other prior takes "a" for the best of all words


def test_the_corpus_prior_is_counted_on_train_and_kept(tmp_path):
    config = fragment_config(train__epochs=0.1, model__alignment__gamma=1.0, model__alignment__prior="agreement")
    run, data = run_of(config)
    text = run.text
    prior = np.asarray(run.state.batch_stats["word_prior"])
    table = tokenize(data.split.captions, text.tokenizer)
    assert prior.shape == (text.tokenizer.get_vocab_size(),)
    assert prior[table.ids[0]] > 0.95  # [CLS] is in every caption
    assert 0 < prior.min() < 0.5
    training.train(config, tmp_path)
    from itm_jax.runs import restore as restoring

    like = {"params": run.state.params, "batch_stats": run.state.batch_stats}
    variables, _ = restoring.restore_variables(tmp_path, like)
    assert np.array_equal(variables["batch_stats"]["word_prior"], prior)
    assert json.loads((tmp_path / "config.json").read_text())["model"]["alignment"]["gamma"] == 1.0
