"""The text side belongs to a run: what it began with is compared, kept in the workdir, and found in another place."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save, save_file
from support.checkpoint import write_checkpoint
from support.commands import command
from support.runs import fragment_config, lines, shrunk
from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer

from itm_jax.checks.run import check
from itm_jax.config.default import default_config
from itm_jax.config.fields import read_json
from itm_jax.data.text.fingerprints import of_tokenizer
from itm_jax.data.text.kept import read_kept
from itm_jax.data.text.text_input import SCENES_VOCAB, wordpiece_tokenizer
from itm_jax.errors import InputError
from itm_jax.evaluation.ensemble import evaluate_ensemble
from itm_jax.evaluation.evaluate import evaluate
from itm_jax.training import loop as training


def pretrained(place, *, make=shrunk, trainable=True, **changes):
    """A small config whose text encoder is the checkpoint at `place`."""
    config = make(data__max_tokens=12, data__token_buckets=(8, 12), train__epochs=1, **changes)
    config.model.text = default_config().model.text
    config.model.text.pretrained, config.model.text.trainable = str(place), trainable
    return config


def frozen(place, **changes):
    return pretrained(place, trainable=False, **changes)


def tuned(place, **changes):
    return pretrained(place, make=fragment_config, train__checkpoint_every=5, **changes)


def swap_weights(place):
    """Puts other weights of the same architecture under the same path."""
    tensors = load_file(place / "model.safetensors")
    save_file({name: 1.5 * x for name, x in tensors.items()}, place / "model.safetensors")


def swap_words(place):
    """Puts a vocabulary with the words in another order under the same path."""
    words = (place / "vocab.txt").read_text().splitlines()
    (place / "vocab.txt").write_text("\n".join([*words[:5], *words[:4:-1]]) + "\n")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A directory with a checkpoint `bert`, and runs that were trained on it: `frozen` and `tuned`."""
    root = tmp_path_factory.mktemp("trained")
    place = write_checkpoint(root / "bert")
    training.train(frozen(place), root / "frozen")
    training.train(tuned(place), root / "tuned")
    return root


@pytest.fixture
def here(trained):
    """The directory of `trained` itself, whose paths the runs know; what a test changes there is undone after it."""
    copy = shutil.copytree(trained, trained.with_name("copy"))
    yield trained
    shutil.rmtree(trained)
    copy.rename(trained)


def protocols(config, run):
    return evaluate(config, run)[0]["protocols"]


@pytest.mark.parametrize("swap", [swap_weights, swap_words])
def test_a_frozen_run_refuses_another_checkpoint_under_the_same_path(here, swap):
    config, run = frozen(here / "bert"), here / "frozen"
    if swap is swap_weights:
        assert set(evaluate(config, run)[0]["text"]) == {"tokenizer", "weights"}
        assert check(config, run)[0].lines == []
    swap(here / "bert")
    said = rf"bert: not the {'weights' if swap is swap_weights else 'tokenizer'} that .*frozen began with"
    with pytest.raises(InputError, match=said):
        evaluate(config, run)
    with pytest.raises(InputError, match=said):
        training.train(config, run)
    with pytest.raises(InputError, match=said):
        evaluate_ensemble(config, [run, here / "tuned"], here / "both")
    (defect,) = check(config, run)[0].lines
    assert "began with" in defect


def test_a_fine_tuned_run_needs_no_checkpoint_but_its_own(here):
    config, run = tuned(here / "bert"), here / "tuned"
    before, log = protocols(config, run), lines(run)
    swap_weights(here / "bert")
    swap_words(here / "bert")
    assert protocols(config, run) == before
    shutil.rmtree(here / "bert")
    moved = shutil.move(run, here / "moved")
    assert protocols(read_json(moved / "config.json"), moved) == before
    shutil.rmtree(max((moved / "checkpoints").iterdir(), key=lambda path: int(path.name)))
    training.train(config, moved)  # continues from the checkpoint before
    assert lines(moved) == log
    code, _, err = command(f"--run={moved}", f"--out={here / 'page'}", "--count=1", module="itm_jax.visualize")
    assert code == 0, err


def test_a_frozen_run_takes_the_same_checkpoint_from_any_path(here):
    config, run, other = frozen(here / "bert"), here / "frozen", here / "elsewhere"
    before, both = evaluate(config, run)[0], evaluate_ensemble(config, [run, here / "tuned"], here / "both")[0]
    (here / "bert").rename(other)
    with pytest.raises(
        InputError, match=r"bert: no such directory.*has moved, pass --config\.model\.text\.pretrained="
    ):
        evaluate(config, run)
    moved = frozen(other)
    again = evaluate(moved, run)[0]
    assert (again["protocols"], again["config_hash"]) == (before["protocols"], before["config_hash"])
    mixed = evaluate_ensemble(moved, [run, here / "tuned"], here / "again")[0]
    assert mixed["protocols"] == both["protocols"]
    training.train(moved, run)
    assert json.loads((run / "config.json").read_text())["model"]["text"]["pretrained"] == str(other)


def test_a_path_that_is_given_anew_is_compared(here):
    other = shutil.copytree(here / "bert", here / "other")
    assert protocols(tuned(other), here / "tuned") == protocols(tuned(here / "bert"), here / "tuned")
    swap_weights(other)
    with pytest.raises(InputError, match=r"other: not the weights that .*tuned began with"):
        evaluate(tuned(other), here / "tuned")


@pytest.mark.parametrize(("swap", "what"), [(swap_words, "tokenizer"), (swap_weights, "weights")])
def test_init_from_needs_the_same_text_side(here, swap, what):
    swap(here / "bert")
    with pytest.raises(InputError, match=rf"frozen: the {what} of its text encoder is not that of config\.model\.text"):
        training.train(frozen(here / "bert", init_from=str(here / "frozen")), here / "next")


def test_a_run_of_an_earlier_version_takes_only_the_path_it_knows(here):
    """It keeps no fingerprints, so that nothing else tells whether another path has the same content."""
    config, run, other = tuned(here / "bert"), here / "tuned", here / "other"
    before = protocols(config, run)
    shutil.rmtree(run / "text")
    shutil.copytree(here / "bert", other)
    assert protocols(config, run) == before
    with pytest.raises(InputError, match=r"earlier version, .* by its path alone \(model\.text\.pretrained: '.*bert'"):
        evaluate(tuned(other), run)
    with pytest.raises(InputError, match=r"belongs to a run with another config \(model\.text\.pretrained: "):
        training.train(tuned(other), run)


def test_label_names_that_the_run_does_not_keep_need_the_checkpoint(here):
    config, run = tuned(here / "bert"), here / "tuned"
    before, labels = protocols(config, run), run / "text" / "labels.safetensors"
    kept = read_kept(run).labels
    labels.unlink()  # a run of an earlier version
    np.savez(labels.with_name("labels.npz"), names=np.array(list(kept)), encodings=np.stack(list(kept.values())))
    assert list(read_kept(run).labels) == list(kept)
    assert protocols(config, run) == before
    names, encodings = list(kept)[1:], np.stack(list(kept.values()))[1:]
    labels.write_bytes(save({"encodings": encodings}, {"names": json.dumps(names)}))
    assert protocols(config, run) == before
    labels.write_bytes(save({"encodings": encodings}, {"names": json.dumps(names[1:])}))
    with pytest.raises(
        InputError, match=rf"labels\.safetensors: cannot be read \({len(names) - 1} names, and encodings"
    ):
        evaluate(config, run)
    labels.write_bytes(save({"encodings": encodings}, {"names": json.dumps(names)}))
    swap_weights(here / "bert")
    with pytest.raises(InputError, match="bert: not the weights that the run began with"):
        evaluate(config, run)


def test_a_vocabulary_file_may_change_or_be_lost(tmp_path):
    vocab = tmp_path / "vocab.txt"
    shutil.copy(SCENES_VOCAB, vocab)
    config, run = shrunk(model__text__vocab=str(vocab), train__epochs=0.3), tmp_path / "run"
    training.train(config, run)
    before = protocols(config, run)
    swap_words(tmp_path)
    given = shrunk(model__text__vocab=str(shutil.copy(vocab, tmp_path / "other.txt")), train__epochs=0.3)
    with pytest.raises(InputError, match=r"other\.txt: not the tokenizer that"):
        evaluate(given, run)
    assert protocols(config, run) == before
    vocab.unlink()
    assert protocols(config, run) == before
    kept = run / "text" / "tokenizer.json"
    kept.write_text(kept.read_text().replace('"red":', '"rad":'))
    with pytest.raises(InputError, match=r"not the tokenizer that .*run began with"):
        evaluate(config, run)
    kept.write_text("{")
    with pytest.raises(InputError, match=r"text/tokenizer\.json: cannot be read"):
        evaluate(config, run)


def test_a_tokenizers_fingerprint_is_of_what_it_does():
    ours, cut = wordpiece_tokenizer(SCENES_VOCAB), wordpiece_tokenizer(SCENES_VOCAB)
    cut.enable_truncation(4)
    cut.enable_padding(length=9)
    assert of_tokenizer(cut) == of_tokenizer(ours)
    cased = Tokenizer.from_str(BertWordPieceTokenizer(str(SCENES_VOCAB), lowercase=False).to_str())
    assert cased.get_vocab() == ours.get_vocab()
    assert of_tokenizer(cased) != of_tokenizer(ours)
