"""The text side belongs to a run: what it began with is compared, kept in the workdir, and found in another place."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.commands import command
from support.runs import fragment_config, lines, shrunk

from itm_jax.checks.run import check
from itm_jax.config.fields import read_json
from itm_jax.data.text.fingerprints import of_tokenizer
from itm_jax.data.text.text_input import SCENES_VOCAB, wordpiece_tokenizer
from itm_jax.errors import InputError
from itm_jax.evaluation.ensemble import evaluate_ensemble
from itm_jax.evaluation.evaluate import evaluate
from itm_jax.training import loop as training

pytestmark = pytest.mark.usefixtures("one_device")


def pretrained(place, *, make=shrunk, **changes):
    """A small config whose text encoder is the checkpoint at `place`; its own sizes of a BERT are left out."""
    config = make(data__max_tokens=12, data__token_buckets=(8, 12), train__epochs=1, **changes)
    from itm_jax.config.default import default_config

    config.model.text = default_config().model.text
    config.model.text.pretrained = str(place)
    for name, value in changes.items():
        if name.startswith("model__text__"):
            config.model.text[name.removeprefix("model__text__")] = value
    return config


def swap_weights(place):
    """Puts other weights of the same architecture under the same path."""
    tensors = load_file(place / "model.safetensors")
    save_file({name: 1.5 * x for name, x in tensors.items()}, place / "model.safetensors")


def swap_words(place):
    """Puts a vocabulary with the words in another order under the same path."""
    words = (place / "vocab.txt").read_text().splitlines()
    (place / "vocab.txt").write_text("\n".join([*words[:5], *words[:4:-1]]) + "\n")


@pytest.fixture
def place(tmp_path, checkpoint):
    """The tiny checkpoint in a directory of its own, which can be moved."""
    directory = tmp_path / "bert"
    directory.mkdir()
    for name in ("config.json", "vocab.txt", "model.safetensors"):
        (checkpoint / name).rename(directory / name)
    return directory


def protocols(config, run):
    return evaluate(config, run)[0]["protocols"]


@pytest.mark.parametrize("swap", [swap_weights, swap_words])
def test_a_frozen_run_refuses_another_checkpoint_under_the_same_path(tmp_path, place, swap):
    config, run = pretrained(place, model__text__trainable=False), tmp_path / "run"
    training.train(config, run)
    content, _ = evaluate(config, run)
    assert set(content["text"]) == {"tokenizer", "weights"}
    assert check(config, run)[0].lines == []
    swap(place)
    what = {swap_weights: "weights", swap_words: "tokenizer"}[swap]
    said = rf"bert: not the {what} that .*run began with"
    with pytest.raises(InputError, match=said):
        evaluate(config, run)
    with pytest.raises(InputError, match=said):
        training.train(config, run)
    with pytest.raises(InputError, match=said):
        evaluate_ensemble(config, [run, shutil.copytree(run, tmp_path / "copy")], tmp_path / "both")
    (defect,) = check(config, run)[0].lines
    assert "began with" in defect


def test_a_fine_tuned_run_needs_no_checkpoint_but_its_own(tmp_path, place):
    config, run = pretrained(place, make=fragment_config, train__checkpoint_every=5), tmp_path / "run"
    training.train(config, run)
    before, log = protocols(config, run), lines(run)
    swap_weights(place)
    swap_words(place)
    assert protocols(config, run) == before
    shutil.rmtree(place)
    moved = shutil.move(run, tmp_path / "moved")
    assert protocols(config, moved) == before
    assert protocols(read_json(moved / "config.json"), moved) == before
    newest = max((moved / "checkpoints").iterdir(), key=lambda path: int(path.name))
    shutil.rmtree(newest)
    training.train(config, moved)  # continues from the checkpoint before
    assert lines(moved) == log
    code, out, err = command(f"--run={moved}", f"--out={tmp_path / 'page'}", "--count=1", module="itm_jax.visualize")
    assert (code, err) == (0, []), out


def test_a_frozen_run_takes_the_same_checkpoint_from_any_path(tmp_path, place):
    config = pretrained(place, model__text__trainable=False)
    first, second = tmp_path / "first", tmp_path / "second"
    training.train(config, first)
    training.train(pretrained(place, model__text__trainable=False, seed=1), second)
    before, other = protocols(config, first), tmp_path / "elsewhere"
    both = evaluate_ensemble(config, [first, second], tmp_path / "both")[0]
    place.rename(other)
    with pytest.raises(
        InputError, match=r"bert: no such directory.*has moved, pass --config\.model\.text\.pretrained="
    ):
        evaluate(config, first)
    moved = pretrained(other, model__text__trainable=False)
    assert protocols(moved, first) == before
    assert evaluate(moved, first)[0]["config_hash"] == evaluate(moved, first)[0]["config_hash"]
    again = evaluate_ensemble(moved, [first, second], tmp_path / "again")[0]
    assert again["protocols"] == both["protocols"]
    training.train(moved, first)
    assert json.loads((first / "config.json").read_text())["model"]["text"]["pretrained"] == str(other)
    assert protocols(read_json(first / "config.json"), first) == before


def test_a_path_that_is_given_anew_is_compared(tmp_path, place):
    config, run = pretrained(place), tmp_path / "run"
    training.train(config, run)
    other = shutil.copytree(place, tmp_path / "other")
    assert protocols(pretrained(other), run) == protocols(config, run)
    swap_weights(other)
    with pytest.raises(InputError, match=r"other: not the weights that .*run began with"):
        evaluate(pretrained(other), run)


def test_a_vocabulary_file_may_change_or_be_lost(tmp_path):
    vocab = tmp_path / "vocab.txt"
    shutil.copy(SCENES_VOCAB, vocab)
    config, run = shrunk(model__text__vocab=str(vocab), train__epochs=1), tmp_path / "run"
    training.train(config, run)
    before = protocols(config, run)
    swap_words(tmp_path)
    assert protocols(config, run) == before
    given = shrunk(model__text__vocab=str(shutil.copy(vocab, tmp_path / "other.txt")), train__epochs=1)
    with pytest.raises(InputError, match=r"other\.txt: not the tokenizer that"):
        evaluate(given, run)
    vocab.unlink()
    assert protocols(config, run) == before
    kept = run / "text" / "tokenizer.json"
    kept.write_text(kept.read_text().replace('"red":', '"rad":'))
    with pytest.raises(InputError, match=r"not the tokenizer that .*run began with"):
        evaluate(config, run)
    kept.write_text("{")
    with pytest.raises(InputError, match=r"text/tokenizer\.json: cannot be read"):
        evaluate(config, run)


def test_init_from_needs_the_same_tokenizer(tmp_path, place):
    training.train(pretrained(place), tmp_path / "run")
    swap_words(place)
    with pytest.raises(InputError, match=r"run: its tokenizer is not that of config\.model\.text"):
        training.train(pretrained(place, init_from=str(tmp_path / "run")), tmp_path / "next")


def test_label_names_that_the_run_does_not_keep_need_the_checkpoint(tmp_path, place):
    config, run = pretrained(place, make=fragment_config), tmp_path / "run"
    training.train(config, run)
    before = protocols(config, run)
    labels = run / "text" / "labels.npz"
    with np.load(labels) as kept:
        names, encodings = kept["names"], kept["encodings"]
    np.savez(labels, names=names[1:], encodings=encodings[1:])
    assert protocols(config, run) == before
    swap_weights(place)
    with pytest.raises(InputError, match="bert: not the weights that the run began with"):
        evaluate(config, run)


def test_a_tokenizers_fingerprint_is_of_what_it_does():
    ours = wordpiece_tokenizer(SCENES_VOCAB)
    cut = wordpiece_tokenizer(SCENES_VOCAB)
    cut.enable_truncation(4)
    cut.enable_padding(length=9)
    assert of_tokenizer(cut) == of_tokenizer(ours)
    from tokenizers import Tokenizer
    from tokenizers.implementations import BertWordPieceTokenizer

    cased = Tokenizer.from_str(BertWordPieceTokenizer(str(SCENES_VOCAB), lowercase=False).to_str())
    assert cased.get_vocab() == ours.get_vocab()
    assert of_tokenizer(cased) != of_tokenizer(ours)
