"""The documentation: its example runs, its links and names are there."""

import dataclasses
import doctest
import importlib
import json
import os
import re
import shutil
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from support.paths import ROOT
from support.runs import lines, shrunk

from itm_jax.checks.run import check
from itm_jax.config.default import default_config
from itm_jax.config.derived import complete
from itm_jax.config.fields import flatten
from itm_jax.config.plugins import load
from itm_jax.config.sections import Loss, read_section
from itm_jax.config.validation import validate
from itm_jax.data.labels import label_indices
from itm_jax.data.prepare import complete_on
from itm_jax.data.splits import read_split
from itm_jax.errors import InputError
from itm_jax.evaluation.evaluate import evaluate
from itm_jax.losses.matching import matching_loss
from itm_jax.testing import check_model
from itm_jax.training import loop as training

PAGES = sorted([*ROOT.glob("*.md"), ROOT / "launch" / "README.md", *(ROOT / "docs").glob("*.md")])
WITH_EXAMPLES = sorted(p for p in (ROOT / "itm_jax").rglob("*.py") if "\n        >>> " in p.read_text())
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """The module that docs/extending.md writes, on the Python path."""
    page = (ROOT / "docs" / "extending.md").read_text()
    blocks = re.findall(r"<!-- file: mine.py -->\n```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 3
    directory = tmp_path_factory.mktemp("mine")
    (directory / "mine.py").write_text("\n\n".join(blocks))
    sys.path.insert(0, str(directory))
    yield directory
    sys.path.remove(str(directory))
    sys.modules.pop("mine", None)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda p: p.stem)
def test_the_examples_in_docstrings_are_true(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


def test_a_model_of_ones_own_trains_and_is_evaluated(mine, tmp_path):
    config = shrunk(model__name="mine:MeanPooling", train__epochs=3)
    validate(config)
    training.train(config, tmp_path)
    content, _ = evaluate(config, tmp_path)
    assert content["model"] == "mine:MeanPooling"
    losses = [x["loss"] for x in lines(tmp_path) if x.get("loss") is not None]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_a_model_of_ones_own_keeps_the_contract(mine):
    assert check_model(shrunk(model__name="mine:MeanPooling"))[-1] == "bfloat16"


def test_a_loss_of_ones_own_by_hand(mine):
    config = complete(shrunk(loss__function="mine:contrastive", loss__margin=4.0, loss__soft_negatives="none"))
    config = read_section(Loss, config.loss)
    scores, pairs = jnp.array([[1.0, 0.0], [0.0, 2.0]]), jnp.eye(2, dtype=bool)
    loss, plateau = matching_loss(None, scores, None, None, pairs, warmup=jnp.array(False), config=config)
    expected = 2 * sum(np.log(1 + np.exp(-x)) for x in (1.0, 2.0))
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(plateau) == pytest.approx(4 * np.log(2), rel=1e-5)


def test_a_data_set_of_ones_own_with_model_and_loss(mine, tmp_path):
    fields = {
        "data__source": "mine:colours", "data__name": "colours", "model__name": "mine:MeanPooling",
        "loss__function": "mine:contrastive", "model__text__encoder": "gru", "model__text__min_count": 1, "train__epochs": 2,
        "data__augment__word_touch": 0.0, "data__augment__region_drop": 0.0, "optim__lr": 0.01,
    }  # fmt: skip
    config = shrunk(**fields)
    assert read_split(config, "dev").num_images == 12
    training.train(config, tmp_path)
    content, _ = evaluate(config, tmp_path)
    # three images of a colour among twelve: all six captions of the colour tie or nearly do, so at 10 nearly all are found
    assert content["protocols"]["full"]["t2i_r10"] > 95


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model__name": "nowhere:Model"}, "no module nowhere on the Python path"),
        ({"model__name": "mine:Nothing"}, "mine has no Nothing"),
        ({"data__source": "mine:nothing"}, "config.data.source=mine:nothing: mine has no nothing"),
        ({"model__name": ":Model"}, "must be MODULE:NAME"),
    ],
)
def test_names_of_nothing(mine, tmp_path, fields, message):
    with pytest.raises(InputError, match=message):
        training.train(shrunk(**fields), tmp_path / "run")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model__name": "math:pi"}, "has no from_config"),
        ({"data__source": "own_number:gives_a_number"}, "returned int for train; a data source returns"),
    ],
)
def test_what_is_named_and_does_not_serve_is_refused(tmp_path, monkeypatch, fields, message):
    (tmp_path / "own_number.py").write_text("def gives_a_number(data, name):\n    return 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=message):
        training.train(shrunk(**fields), tmp_path / "run")


def test_check_looks_for_a_loss_of_the_user():
    defects, _ = check(shrunk(loss__function="math:no_such_loss"), None)
    assert [(d.path.split("=")[0], d.text.split(";")[0]) for d in defects.records] == [
        ("config.loss.function", "math has no no_such_loss")
    ]


def test_a_mistake_in_ones_own_module_is_its_own(mine, tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("import numpy as np\n\nx = np.no_such\n\n\nclass Model:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(AttributeError, match="no_such"):
        load("broken:Model", "model.name")


def test_a_model_of_ones_own_gets_the_labels_of_the_train_split(mine):
    """Whatever the order of names in another split; 0 for a name that train has not."""
    config = shrunk(model__name="mine:MeanPooling")
    train, dev = read_split(config, "train"), read_split(config, "dev")
    config = complete_on(config, [train]).config
    backwards = dataclasses.replace(
        dev,
        label_names=(*dev.label_names[::-1], "new"),
        labels=np.where(dev.labels == 0, len(dev.label_names), len(dev.label_names) - 1 - dev.labels),
    )
    expected = np.where(dev.labels == 0, 0, dev.labels + 1)
    np.testing.assert_array_equal(label_indices(config, backwards), expected)


def test_a_function_must_be_named_whole():
    with pytest.raises(InputError, match="must be MODULE:FUNCTION"):
        validate(shrunk(loss__function="contrastive"))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.parent.name + "/" + p.name)
def test_links_and_fields_of_a_page(page):
    """Files that it links to are there; config fields and functions that it names are known."""
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
    known = set(flatten(default_config()))
    sections = {name.rsplit(".", n)[0] for name in known for n in (1, 2)}
    for name in re.findall(r"--config\.([a-z_.]+)=", text):
        assert name in known or name in ("FIELD", ""), name
    for name in re.findall(r"`(?!model\.safetensors)((?:data|model|loss|optim|train|eval)\.[a-z_.]+)`", text):
        module = importlib.util.find_spec(f"itm_jax.{name.rsplit('.', 1)[0]}") if name.startswith("data.") else None
        assert name in known or name in sections or module, name
    for name in re.findall(r"`((?:modules|losses|models|scoring|metrics)\.[a-z_]+)\.([A-Za-z_]+)", text):
        assert hasattr(importlib.import_module(f"itm_jax.{name[0]}"), name[1]), name


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_kept_without_outputs_and_install_first(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert "pip" in "".join(code[0]["source"])
    assert cells[0]["cell_type"] == "markdown"


def test_the_address_of_the_repository_is_written_into_every_notebook(tmp_path):
    for folder in ("notebooks", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    command = [sys.executable, tmp_path / "notebooks" / "address.py"]
    without_badges = lambda text: re.sub(r"\[!\[Open in Colab.*\n\n", "", text)  # noqa: E731
    before = without_badges((tmp_path / "docs" / "notebooks.md").read_text())
    for name in ("some-one/itm_jax", "other/fork"):
        done = subprocess.run([*command, name], capture_output=True, text=True, check=True)
        assert len(done.stdout.splitlines()) == len(NOTEBOOKS) + 1
    assert subprocess.run([*command, name], capture_output=True, check=True).stdout == b""  # nothing changes twice
    for path in NOTEBOOKS:
        cells = json.loads((tmp_path / "notebooks" / path.name).read_text())["cells"]
        title, install = ("".join(cell["source"]) for cell in cells[:2])
        link = f"https://colab.research.google.com/github/other/fork/blob/main/notebooks/{path.name}"
        assert title.count(link) == title.count("Open in Colab") == 1
        assert 'SOURCE = "git+https://github.com/other/fork@main"' in install
    page = (tmp_path / "docs" / "notebooks.md").read_text()
    assert page.count("Open in Colab](") == len(NOTEBOOKS)
    assert without_badges(page) == before
    assert subprocess.run([*command, "no-name"], capture_output=True, check=False).returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs_from_top_to_bottom(notebook, tmp_path):
    """Where the extra `notebooks` is installed."""
    pytest.importorskip("nbclient", reason="pip install -e '.[notebooks]'")
    script = (
        "import sys, nbformat, nbclient\n"
        "book = nbformat.read(sys.argv[1], as_version=4)\n"
        "nbclient.NotebookClient(book, timeout=600, resources={'metadata': {'path': sys.argv[2]}}).execute()\n"
        "nbformat.write(book, sys.argv[2] + '/run.ipynb')\n"
    )
    environment = os.environ | {"XLA_FLAGS": ""}  # as a user has it: one device, optimised programs
    command = [sys.executable, "-c", script, str(notebook), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    cells = json.loads((tmp_path / "run.ipynb").read_text())["cells"]
    said = json.dumps([cell.get("outputs") for cell in cells])
    assert "Traceback" not in said
    assert "not found" not in said
    assert "{sys." not in said
    if notebook.stem == "bring_your_own_data":
        assert "error: 2 defects" in said
    assert "image/png" in said or notebook.stem in ("ablation_walkthrough", "bring_your_own_data")
