"""`convert dependencies`: spaCy's edges over whitespace words; skipped where spaCy is not installed."""

import json

import numpy as np
import pytest
from support.commands import command

from itm_jax.data.precomp.dependencies import edges_of, load_parser, write_dependencies
from itm_jax.data.precomp.reader import read_split
from itm_jax.errors import InputError


@pytest.fixture
def directory(tmp_path):
    """Two images of two captions."""
    np.save(tmp_path / "train_ims.npy", np.arange(1, 25, dtype=np.float32).reshape(2, 3, 4))
    (tmp_path / "train_caps.txt").write_text("a red dog's ball\nrun\nthe dog , runs\ntwo dogs\n")
    return tmp_path


def chain(spacy):
    """A blank English pipeline that hangs every word on the one before it."""
    parser = spacy.blank("en")

    @spacy.Language.component("chain")
    def add(doc):
        for token in doc:
            token.head, token.dep_ = doc[max(token.i - 1, 0)], "dep" if token.i else "ROOT"
        return doc

    parser.add_pipe("chain")
    return parser


def test_edges_are_over_whitespace_words_and_are_read_back(directory):
    spacy = pytest.importorskip("spacy", reason="pip install -e '.[spacy]'")
    [path] = write_dependencies(str(directory), None, chain(spacy))
    expected = [[[0, 1], [1, 2], [2, 3]], [], [[0, 1], [1, 2], [2, 3]], [[0, 1]]]
    assert json.loads(path.read_text()) == expected
    assert read_split(str(directory), "train").edges == expected


def test_a_pipeline_without_parser_is_named():
    spacy = pytest.importorskip("spacy", reason="pip install -e '.[spacy]'")
    with pytest.raises(InputError, match="no dependency parser"):
        list(edges_of(["a red dog"], spacy.blank("en")))
    with pytest.raises(InputError, match="spacy download en_none"):
        load_parser("en_none")


def test_the_command_says_what_is_missing(directory):
    code, _, err = command("dependencies", f"--precomp={directory}", "--parser=en_none", module="itm_jax.convert")
    assert code == 2
    assert err[-1].startswith("error: ")
    assert "spacy" in err[-1].lower()
    assert not list(directory.glob("*dependencies*"))
