"""What the parts of a model do, in numbers: hand-computed cases, and that a user sees them."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from support.models import awake
from support.runs import run_of, shrunk
from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer

from itm_jax.data.text.kinds import Kind, kind_of, kinds
from itm_jax.devices.mesh import make_mesh
from itm_jax.evaluation.encode import make_encoders
from itm_jax.evaluation.evaluate import evaluate
from itm_jax.evaluation.mechanism import mechanism, perplexity
from itm_jax.evaluation.rank import Scorer
from itm_jax.training import loop as training
from itm_jax.viz.describe import describe_mechanism


def scorer_of(**fields):
    """A scorer of a model with moved parameters, on 8 images of `scenes`, whose captions have several padded lengths."""
    fields = {"data__scenes__train": 8, "data__token_buckets": (12, 16, 20, 24, 32)} | fields
    run, data = run_of(shrunk(**fields))
    state = jax.tree.map(np.asarray, {"params": run.state.params, "batch_stats": run.state.batch_stats})
    variables = {"params": awake(state["params"]), "batch_stats": state["batch_stats"]}
    mesh = make_mesh(8, jax.devices()[:1])
    return Scorer(run.config, data, mesh, make_encoders(run.model, mesh), variables), run


def test_kinds_of_pieces():
    pieces = {"the": Kind.FUNCTION, "With": Kind.FUNCTION, ",": Kind.PUNCTUATION, "##ing": Kind.CONTENT}
    assert {piece: kind_of(piece) for piece in pieces} == pieces
    words = BertWordPieceTokenizer({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "dog": 5, ".": 6})
    assert kinds(Tokenizer.from_str(words.to_str()))[4:].tolist() == [Kind.FUNCTION, Kind.CONTENT, Kind.PUNCTUATION]


def test_perplexity_by_hand():
    np.testing.assert_allclose(perplexity(np.array([[0.25] * 4, [0.5, 0.25, 0.25, 0]])), [4, 2**1.5], rtol=1e-6)


@pytest.mark.parametrize(("graph", "gate"), [("dense", "region"), ("dense", "feature"), ("sparse", "region")])
def test_numbers_of_cpfean_are_those_of_its_pairs(graph, gate):
    scorer, run = scorer_of(model__name="cpfean", model__words__graph=graph, model__fusion__gate=gate)
    encoded = scorer.encode()
    assert len(encoded.captions) > 1
    numbers = mechanism(scorer, encoded)
    data, variables = scorer.data, scorer.variables | scorer.data.constants
    gates, logs, share, words = {0: [], 1: []}, [], dict.fromkeys(Kind, 0.0), []
    captions = data.split.caption_starts[:-1]

    @jax.jit
    def pair(regions, tokens):
        images = run.model.apply(variables, regions, train=False, method="encode_images")
        texts = run.model.apply(variables, tokens, train=False, method="encode_captions")
        return images, texts, run.model.apply(variables, images, texts, method="fuse")

    for k, caption in enumerate(captions):
        for shift in (0, 1):
            other = captions[(k - shift) % len(captions)]
            regions, tokens = data.regions(np.array([k])), data.tokens(np.array([other]))
            images, texts, fused = pair(regions, tokens)
            gate = np.asarray(fused.gate[0, :, 0])[np.asarray(images.mask[0])]
            gates[shift].append(gate.mean())
            if shift:
                continue
            weight = gate / gate.sum()
            logs.append(np.exp(-(weight * np.log(weight)).sum()))
            written = data.split.captions[caption].split()
            valid = np.flatnonzero(texts.mask[0])
            for at in valid:
                p = weight[np.asarray(fused.chosen[0, :, 0]) == at].sum()
                name = written[at] if graph == "sparse" else run.text.tokenizer.id_to_token(int(tokens.ids[0, at]))
                share[kind_of(name)] += (1 + len(valid) * p) / (2 * len(valid)) / len(captions)
            words.append(np.mean([kind_of(word) == Kind.CONTENT for word in written]))
    np.testing.assert_allclose(numbers["gate_right"], np.mean(gates[0]), rtol=1e-4)
    np.testing.assert_allclose(numbers["gate_wrong"], np.mean(gates[1]), rtol=1e-4)
    np.testing.assert_allclose(numbers["region_perplexity"], np.mean(logs), rtol=1e-4)
    assert numbers["regions"] == scorer.config.data.scenes.regions
    for kind in Kind:
        np.testing.assert_allclose(numbers[f"prominence_{kind.name.lower()}"], 100 * share[kind], atol=1e-2)
    if graph == "sparse":
        np.testing.assert_allclose(numbers["pieces_content"], 100 * np.mean(words), atol=1e-3)


def test_a_model_has_the_numbers_of_the_parts_that_it_has():
    scorer, _ = scorer_of(model__name="cpfean", model__fusion__rounds=0)
    assert set(mechanism(scorer, scorer.encode())) == {
        *(f"prominence_{k.name.lower()}" for k in Kind),
        "pieces_content",
    }
    scorer, _ = scorer_of(model__name="cpfean", model__alignment__sides="regions")
    assert set(mechanism(scorer, scorer.encode())) == {"gate_right", "gate_wrong", "region_perplexity", "regions"}
    scorer, _ = scorer_of(model__name="cpfean", model__alignment__sides="regions")
    one = scorer.encode()
    one = one._replace(images=jax.tree.map(lambda x: x[:1], one.images))
    split = dataclasses.replace(
        scorer.data.split, features=scorer.data.split.features[:1], captions=scorer.data.split.captions[:5], ids=["a"]
    )
    single = dataclasses.replace(scorer, data=dataclasses.replace(scorer.data, split=split))
    assert set(mechanism(single, one)) == {"gate_right", "region_perplexity", "regions"}  # there is no other image
    scorer, _ = scorer_of(model__name="cpfean", model__alignment__kind="cross_attention")
    assert set(mechanism(scorer, scorer.encode())) == {"gate_right", "gate_wrong"}
    scorer, _ = scorer_of(model__name="vsepp")
    assert mechanism(scorer, scorer.encode()) == {}


def test_even_weights_are_the_baseline():
    """With weights that are all alike, content words have just the weight of their number."""
    scorer, _ = scorer_of(model__name="cpfean", model__alignment__beta=0.0)
    numbers = mechanism(scorer, scorer.encode())
    assert numbers["prominence_content"] == pytest.approx(numbers["pieces_content"], abs=1e-3)


def test_merged_rows_of_afa_by_hand():
    scorer, _ = scorer_of(model__aggregation__ratio=0.25, data__scenes__regions=8)
    numbers = mechanism(scorer, scorer.encode())
    lengths = np.minimum(scorer.data.table.lengths, scorer.config.data.max_tokens)[::5]
    assert numbers["merged_regions"] == 2
    assert numbers["merged_pieces"] == pytest.approx(np.mean(np.floor(lengths * 0.25)))


def test_the_report_says_when_a_part_sleeps():
    asleep = {
        "gate_right": 0.0012, "gate_wrong": 0.0011, "region_perplexity": 32.0, "regions": 36.0,
        "prominence_content": 34.0, "prominence_function": 37.0, "prominence_punctuation": 29.0, "pieces_content": 52.0,
    }  # fmt: skip
    rows, notes = describe_mechanism(asleep)
    assert ("weight of content words, function words, punctuation", "34% / 37% / 29%") in rows
    assert len(notes) == 3
    assert "take up almost nothing" in notes[0]
    awake_values = {"gate_right": 0.3, "gate_wrong": 0.1, "region_perplexity": 9.0, "prominence_content": 80.0}
    assert describe_mechanism(asleep | awake_values)[1] == []
    alike = describe_mechanism(asleep | awake_values | {"gate_wrong": 0.28})[1]
    assert len(alike) == 1
    assert "hardly tell" in alike[0]
    rows, notes = describe_mechanism({"merged_regions": 0.0, "merged_pieces": 0.4})
    assert rows[0] == ("regions merged away in an image", "0.0")
    assert len(notes) == 1
    assert "merges no regions" in notes[0]


def test_a_user_sees_them(tmp_path):
    config = shrunk(model__name="cpfean", train__epochs=1)
    training.train(config, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    on_dev = [line for line in lines if line["split"] == "dev"]
    assert on_dev
    assert all(0 < line["gate_right"] < 1 and line["region_perplexity"] > 1 for line in on_dev)
    content, _ = evaluate(config, tmp_path)
    parts = content["mechanism"]
    total = sum(parts[f"prominence_{kind.name.lower()}"] for kind in Kind)
    assert total == pytest.approx(100, abs=0.01)
