"""Tables: from a file to runs, what is finished, mean and noise by hand, all forms, and the tables that come with the library."""

import csv
import io
import json
import os
import re
import shlex
import signal
import subprocess
import time
import types
from pathlib import Path

import numpy as np
import pytest
from support.paths import ROOT
from support.runs import shrunk

from itm_jax.bench.models import bench_plan
from itm_jax.config.derived import complete
from itm_jax.config.fields import to_json
from itm_jax.config.model_fields import idle_flags
from itm_jax.data.prepare import with_priors
from itm_jax.errors import InputError, TerminatedError
from itm_jax.metrics.retrieval import Ranks, protocol_metrics
from itm_jax.reproduce import failures
from itm_jax.runs.results import read_ranks, write_ranks
from itm_jax.structs import Split
from itm_jax.tables import board, changes, collect, content, cost, inputs, plan, process, render, runner, write
from itm_jax.tables.inputs import _inputs
from itm_jax.tables.published import IMAGES, published, published_beside, read_published
from itm_jax.tables.table import evaluated_on, load_table

TABLES = sorted(p for p in (ROOT / "configs" / "tables").glob("*.py") if p.stem not in ("bases", "fields"))
FILE = """
from itm_jax.tables import Base, Row, Table

def get_table():
    small = {"data.scenes.test": 4, "data.scenes.dev": 4, "data.scenes.train": 16, "train.epochs": 2.0}
    return Table(
        title="A & B", question="Which?", bases={"scenes": Base("QUICKSTART", small), "f30k": Base("QUICKSTART", small | {"data.name": "f30k"})},
        seeds=(0, 1), reference="A", field=("SCAN (T2I_AVE)",),
        rows=(
            Row("A", {"model.name": "afa"}, published="AFA"),
            Row("B", {"model.name": "vsepp"}, "others"),
            Row("A on more noise", {"data.scenes.noise": 3.0, "data.name": "noisy"}, "others", of="A"),
            Row("A + B", group="others", ensemble=("A", "B")),
        ),
    )
""".replace("QUICKSTART", str(ROOT / "configs" / "quickstart.py"))


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "small.py"
    file.write_text(FILE)
    return load_table(file)


def finish(cell, image_ranks, caption_ranks, *, data_ids=None, seconds=10.0, dev=300.0, protocol="full"):
    """Writes what a finished run leaves."""
    cell.workdir.mkdir(parents=True, exist_ok=True)
    images = len(image_ranks)
    split = Split(
        "test", np.zeros((images, 1, 1)), ["a"] * len(caption_ranks), len(caption_ranks) // images, [""] * images
    )
    ranks = {protocol: Ranks(np.array(image_ranks), np.array(caption_ranks))}
    write_ranks(cell.results, ranks, split)
    out = {
        "protocols": protocol_metrics(ranks, split.caption_image_index),
        "seconds": {"train": seconds},
        "batch": {"size": cell.config.data.batch_size, "negatives": 7},
        "split": "test",
        "dataset": cell.config.data.name,
        "counts": {"images": images, "captions": len(caption_ranks)},
        "devices": "a computer",
        "code": {"source": "abc"},
        "data": {split: {"id": x} for split, x in (data_ids or {}).items()},
        "selection": {"rsum": dev},
        "finished": True,
    }
    cell.results.write_text(json.dumps(out))


def plan_of(table, tmp_path, dataset="scenes", seeds=(0, 1), given=None):
    return plan.make_plan(table, dataset, seeds, given or {}, tmp_path / "work")


def test_rows_become_runs(table, tmp_path):
    cells = plan_of(table, tmp_path, given={"train.epochs": 5.0})
    assert [(c.row.name, c.seed) for c in cells] == [
        *[(name, seed) for name in ("A", "B") for seed in (0, 1)],
        *[(name, seed) for name in ("A on more noise", "A + B") for seed in (0, 1)],
    ]
    first, evaluated, ensemble = cells[1], cells[5], cells[7]
    assert (first.config.train.epochs, first.config.seed, first.config.data.scenes.train) == (5.0, 1, 16)
    assert "--config.train.epochs=5.0" in first.arguments
    assert "--config.seed=1" in first.arguments
    assert evaluated.workdir == first.workdir
    assert evaluated.results.name == "results-noisy-test.json"
    assert evaluated.needs == (first,)
    assert ensemble.needs == (first, cells[3])
    assert f"--ensemble={first.workdir},{cells[3].workdir}" in ensemble.arguments
    assert all(c.command.startswith("python") for c in cells)
    again = plan_of(table, tmp_path, given={"train.epochs": 5.0, "eval.tile": 7})  # which changes no number
    assert [c.workdir for c in again] == [c.workdir for c in cells]
    assert all("--config.eval.tile=7" in c.arguments for c in again)  # evaluations and ensembles too
    assert plan_of(table, tmp_path)[0].workdir != cells[0].workdir


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("get_table", "table", "no function get_table"),
        ('"model.name": "vsepp"', '"model.nam": "vsepp"', "the nearest is model.name"),
        ('"model.name": "vsepp"', '"model.fusion.rounds": 2', "has no effect on config.model.name=afa"),
        ('"model.name": "vsepp"', '"model.width": 1', "row 'B'.*must be at least 2"),
        ('Row("B"', 'Row("A"', "two rows are named 'A'"),
        ('reference="A"', 'reference="C"', "reference='C'"),
        ('of="A"', 'of="A + B"', "no trained row"),
        ('"data.scenes.noise": 3.0', '"optim.lr": 3.0', "data fields"),
        (', "data.name": "noisy"', "", "a data.name or data.test_split of its own"),
        ("import Base, Row", "import Bass, Row", "ImportError"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path, old, new, message):
    file = tmp_path / "small.py"
    file.write_text(FILE.replace(old, new))
    with pytest.raises(InputError, match=message):
        plan_of(load_table(file), tmp_path)


def test_no_such_table_or_data_set(table, tmp_path):
    with pytest.raises(InputError, match="there are small"):
        load_table(tmp_path / "smal.py")
    with pytest.raises(InputError, match=r"nope: no such table .*; there are afa_ablation, "):
        load_table(Path("nope"))
    with pytest.raises(InputError, match="small is made on scenes, f30k"):
        plan_of(table, tmp_path, dataset="coco")


def test_states_of_runs(table, tmp_path):
    cells = plan_of(table, tmp_path)
    assert {c.state for c in cells} == {"missing"}
    cells[0].workdir.mkdir(parents=True)
    (cells[0].workdir / "config.json").write_text("{}")
    assert cells[0].state == "cut off"
    finish(cells[0], [0] * 4, [0] * 20)
    assert cells[0].state == "finished"
    read = json.loads(cells[0].results.read_text())
    cells[0].results.write_text(json.dumps(read | {"finished": False}))
    assert cells[0].state == "cut off"


def test_time_is_estimated_from_finished_runs_of_the_model(table, tmp_path):
    cells = plan_of(table, tmp_path)
    assert set(plan.estimate(cells, None).values()) == {plan.START_SECONDS, None}
    assert plan.estimate(cells, 4.0)["A, seed 0"] == 120  # 4 minutes are of two rows with one seed
    finish(cells[0], [0] * 4, [0] * 20, seconds=100.0)
    found = plan.estimate(cells, 4.0)
    assert "A, seed 0" not in found
    assert found["A, seed 1"] == found["B, seed 0"] == plan.START_SECONDS + 100
    cells[1].config.data.train_share = 0.5
    assert plan.estimate(cells, 4.0)["A, seed 1"] == plan.START_SECONDS + 50
    lines = list(board.plan_lines(cells, None))
    assert lines[0].startswith("finished   A, seed 0")
    assert lines[-1].startswith("8 runs: 1 finished, 7 to do, about ")


def ids_of(cell, *splits):
    data = json.dumps(cell.config.data.to_dict(), sort_keys=True)
    return {split: plan.fingerprint_of(data, split) for split in splits}


def test_other_data_are_never_mixed(table, tmp_path):
    """An evaluated row has the train and dev data of its run and another test split."""
    cells = plan_of(table, tmp_path)
    trained, evaluated = cells[0], cells[4]
    own = ids_of(trained, "train", "dev", "test")
    finish(trained, [0] * 4, [0] * 20, data_ids=own)
    finish(evaluated, [0] * 4, [0] * 20, data_ids=own | ids_of(evaluated, "test"))
    assert evaluated.state == "finished"
    plan.check_finished(cells)
    finish(evaluated, [0] * 4, [0] * 20, data_ids=own)
    with pytest.raises(InputError, match=r"results-noisy-test\.json: made from other data"):
        plan.check_finished(cells)
    finish(trained, [0] * 4, [0] * 20, data_ids=own | {"dev": "other"})
    with pytest.raises(InputError, match="split dev: other"):
        plan.check_finished(cells)


def test_a_run_of_another_config_is_refused(table, tmp_path):
    """A default that a later version changed, say: the address of the run does not tell."""
    cell = plan_of(table, tmp_path)[0]
    cell.workdir.mkdir(parents=True)
    as_run = to_json(complete(cell.config))
    (cell.workdir / "config.json").write_text(as_run)
    plan.check_finished([cell])
    (cell.workdir / "config.json").write_text(as_run.replace('"margin": 0.2', '"margin": 0.3'))
    with pytest.raises(InputError, match=r"loss.margin is 0.3, the table wants 0.2"):
        plan.check_finished([cell])
    (cell.workdir / "config.json").write_text(as_run.replace('"init": "lecun"', '"init": "authors"'))
    with pytest.raises(
        InputError, match=r"init is 'authors', the table wants 'lecun'"
    ):  # a field that the table leaves open
        plan.check_finished([cell])


def test_what_was_made_of_a_run_is_made_again_when_the_run_is(table, tmp_path):
    cells = {(c.row.name, c.seed): c for c in plan_of(table, tmp_path)}
    names = ("A", "B", "A on more noise", "A + B")
    for name in names:
        finish(cells[name, 0], [0] * 4, [0] * 20)
    assert {cells[name, 0].state for name in names} == {"finished"}
    later = cells["A + B", 0].results.stat().st_mtime + 10
    os.utime(cells["A", 0].results, (later, later))
    assert (cells["A on more noise", 0].state, cells["A + B", 0].state) == ("missing", "missing")


def test_flags_that_rows_differ_in_or_do_not_read(table, tmp_path):
    with pytest.raises(InputError, match=r"--config\.model\.name: rows of this table differ in it"):
        plan_of(table, tmp_path, given={"model.name": "scan"})
    cells = plan_of(table, tmp_path, given={"model.aggregation.ratio": 0.2})  # of A alone
    assert "--config.model.aggregation.ratio=0.2" in cells[0].arguments
    assert not any("aggregation" in a for a in cells[2].arguments)
    with pytest.raises(InputError, match=r"--config\.model\.graph\.layers: no row of small reads it"):
        plan_of(table, tmp_path, given={"model.graph.layers": 1})


def test_checkpoints_of_one_name_are_different_runs(table, tmp_path):
    first, second = (plan_of(table, tmp_path, given={"model.text.pretrained": f"/{x}/model"})[0] for x in "ab")
    assert first.workdir != second.workdir


def test_on_coco_only_afa_has_the_small_learning_rate(tmp_path):
    cells = plan.make_plan(
        load_table(ROOT / "configs/tables/cpfean_main.py"), "coco", (0,), {"data.dir": "x"}, tmp_path
    )
    rates = {c.config.model.name: c.config.optim.lr for c in cells if not c.needs}
    assert rates.pop("afa") == 5e-6
    assert set(rates.values()) == {5e-4}


def test_every_training_belongs_to_one_shard(table, tmp_path):
    cells = plan_of(table, tmp_path)
    parts = [runner.of_shard(cells, i, 2) for i in range(2)]
    found = [c.results for part in parts for c in part]
    assert len(set(found)) == len(found) == len(cells)  # each in one
    assert {c.name for c in parts[0]} == {"A, seed 0", "B, seed 0", "A on more noise, seed 0", "A + B, seed 0"}
    assert len(runner.of_shard(cells, 0, 1)) == len(cells)


def test_mean_spread_and_noise_by_hand(table, tmp_path):
    """A finds every image's caption first with both seeds; B one of two with one seed, none with the other."""
    cells = {(c.row.name, c.seed): c for c in plan_of(table, tmp_path)}
    for seed in (0, 1):
        finish(cells["A", seed], [0, 0], [0, 0, 0, 0])
    finish(cells["B", 0], [0, 99], [0, 0, 99, 99], dev=100)
    finish(cells["B", 1], [99, 99], [99] * 4, dev=50)
    a, b = collect.collect(table, list(cells.values()), "full")
    assert (a.mean["rsum"], a.sd["rsum"], a.ci, a.difference) == (600, 0, (600, 600), None)
    assert (b.mean["i2t_r1"], b.mean["rsum"], b.dev) == (25, 150, 75)
    assert b.sd["rsum"] == pytest.approx(np.std([300, 0], ddof=1))
    assert b.per_image.tolist() == [[50] * 6, [0] * 6]
    assert b.difference == -450
    # pooled over both lines: sqrt((0 + 212²) / 2) = 150, of each mean 106, of the difference 150, known with 2 degrees of
    # freedom; queries add 106: 184, with 2 (184 / 150)^4 = 4.5 degrees, of whose t 97.5% are below 2.66
    assert b.noise
    assert not collect.is_noise(-490.0, b.per_image, a.per_image, paired=True, of_seeds=150.0**2, freedom=2)
    assert collect.is_noise(-486.0, b.per_image, a.per_image, paired=True, of_seeds=150.0**2, freedom=2)


def test_recalls_by_the_number_of_objects(table, tmp_path):
    cell = plan_of(table, tmp_path)[0]
    finish(cell, [0, 0, 99, 99], [0] * 4)
    arrays = read_ranks(cell.results)
    np.savez(cell.workdir / "ranks.npz", **arrays, objects=np.array([1, 1, 5, 6]))
    line = collect.collect(table, [cell], "full")[0]
    found = collect.by_objects(line, parts=2)
    assert [(group.name, group.images, list(group.recalls)) for group in found] == [
        ("1 objects", 2, [100] * 6),
        ("5 to 6 objects", 2, [0, 0, 0, 100, 100, 100]),
    ]
    block = content.objects(table, "scenes", "full", [line])
    assert block.rows[0][:2] == ("1 objects", "2")


def test_all_forms_of_a_table(table, tmp_path, monkeypatch):
    monkeypatch.setitem(IMAGES, "f30k", 2)
    cells = plan_of(table, tmp_path, dataset="f30k", seeds=(0,))
    cells = [c for c in cells if not c.needs]
    finish(cells[0], [0, 3], [0] * 10)
    finish(cells[1], [0, 0], [0, 7] * 5)
    files = {f.suffix: f for f in write.write_table(table, cells, tmp_path)}
    assert set(files) == {".md", ".tex", ".csv", ".json", ".png"}
    text = files[".md"].read_text()
    assert "| SCAN (T2I_AVE) (BUTD region, GRU (not stated)) | 61.8 | 87.5 |" in text  # published, above ours
    assert "| A | 50.0 | **100.0** |" in text
    assert "510.9" in text  # AFA's published number beside our row
    assert "Published, not measured by us: SCAN (T2I_AVE) (BUTD region, GRU (not stated)): " in text
    assert "*others*" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
    assert re.search(r"Batches: \d+ pairs, 7 of them negatives of a query\.", text)
    tex = files[".tex"].read_text()
    assert r"A \& B" in tex
    assert tex.count(r"\toprule") == tex.count(r"\begin{tabular}") == 1
    assert r"\textbf{100.0}" in tex
    found = list(csv.DictReader(io.StringIO(files[".csv"].read_text())))
    scan, b = found[0], found[-1]
    assert (scan["row"], scan["from"], scan["i2t_r1"]) == (
        "SCAN (T2I_AVE) (BUTD region, GRU (not stated))",
        "published",
        "61.8",
    )
    assert (b["row"], b["from"], float(b["t2i_r5"]), b["rsum_sd"]) == ("B", "measured", 50, "")
    assert float(found[-2]["published_rsum"]) == 510.9
    data = json.loads(files[".json"].read_text())
    assert data["published"]["full"][0]["rsum"] == 446.2
    assert data["protocols"]["full"][0]["published"]["rsum"] == 510.9
    assert [line["row"] for line in data["protocols"]["full"]] == ["A", "B"]
    assert data["protocols"]["full"][1]["mean"]["t2i_r5"] == 50
    assert files[".png"].read_bytes()[:4] == b"\x89PNG"


def test_published_numbers_stand_beside_the_data_that_they_are_of_alone(table, tmp_path):
    """Not beside another gallery under the same name, another split, or other data."""
    for given, stem, images in (
        ({}, "f30k", 4),
        ({"data.test_split": "dev"}, "f30k-dev", 1000),
        ({"data.name": "mine"}, "mine", 1000),
    ):
        cells = [c for c in plan_of(table, tmp_path / stem, "f30k", (0,), given) if not c.needs]
        finish(cells[0], [0] * images, [0] * images)
        if given:
            content = json.loads(cells[0].results.read_text()) | {"split": given.get("data.test_split", "test")}
            cells[0].results.write_text(json.dumps(content))
        files = write.write_table(table, cells, tmp_path)
        assert files[0].name == f"small-{stem}.md"
        assert "510.9" not in files[0].read_text()
        assert "ublished" not in files[0].read_text()


def test_what_the_command_line_changes_is_said(table, tmp_path):
    """In captions, notes, JSON and file names: a short run must not look like the table, nor overwrite it."""
    given = {"train.epochs": 1.0, "data.scenes.train": 32, "eval.tile": 7}
    whole, short = plan_of(table, tmp_path, seeds=(0,)), plan_of(table, tmp_path, seeds=(0,), given=given)
    for cell in (whole[0], short[0]):
        finish(cell, [0, 0], [0] * 10)
    usual = {f.suffix: f for f in write.write_table(table, whole, tmp_path)}
    files = {f.suffix: f for f in write.write_table(table, short, tmp_path)}
    assert [f.name for f in (usual[".md"], files[".md"])] == [
        "small-scenes.md",
        "small-scenes-scenes.train32-epochs1.md",
    ]
    caption = "A & B: scenes, with data.scenes.train=32, train.epochs=1, full"
    assert f"**{caption}**" in files[".md"].read_text()
    note = (
        "This table differs from its file: data.scenes.train is 32, not 16; train.epochs is 1, not 2. "
        "The runs are shorter, or see fewer data, than the file asks for (train.epochs)."
    )
    assert f"- {note}\n" in files[".md"].read_text()
    assert "A \\& B: scenes, with data.scenes.train=32" in files[".tex"].read_text()
    said = json.loads(files[".json"].read_text())["changed"]
    assert said["train.epochs"] == {"usual": [2.0], "given": 1.0}
    assert "with" not in usual[".md"].read_text().splitlines()[0]
    assert json.loads(usual[".json"].read_text())["changed"] == {}
    same = plan_of(table, tmp_path, seeds=(0,), given={"train.epochs": 2.0})  # as the table has it
    assert changes.changes_of(same) == {}
    long = changes.suffix({f"model.text.field{n}": ([0], n) for n in range(9)})
    assert len(long) == 9


def test_default_tables_need_no_download():
    """On `scenes` no row has a pretrained text encoder, so that every table can be made without network."""
    for file in TABLES:
        table = load_table(file)
        cells = plan.make_plan(table, next(iter(table.bases)), (0,), {}, Path("nowhere"))
        assert {(c.config.data.source, c.config.model.text.pretrained or None) for c in cells} == {("scenes", None)}


def test_data_and_text_encoder_are_looked_at_once_before_the_first_run(tmp_path, monkeypatch):
    table, asked = load_table(Path("cpfean_main")), []
    with pytest.raises(
        InputError, match=r"no such directory.* \(needed by 'VSE\+\+ \(mean\)', 'VSE∞ \(GPO\)', 'AFA' \.\.\.\)"
    ):
        inputs.check_inputs(plan.make_plan(table, "f8k", (0,), {"data.dir": str(tmp_path / "none")}, tmp_path))

    def refuse(self, name, **_):
        asked.append(name)
        raise OSError("no network " + "x" * 900)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    cells = plan.make_plan(table, "f30k", (0,), {"data.dir": str(tmp_path)}, tmp_path)
    monkeypatch.setattr(inputs, "read_unaltered", lambda *_: None)
    with pytest.raises(InputError, match=r"bert-base-uncased: not a local directory, .*\(no network") as e:
        inputs.check_inputs(cells)
    assert asked == ["google-bert/bert-base-uncased"]
    assert len(str(e.value)) < 500


def test_a_problem_of_several_runs_is_said_once():
    line = failures({"A, seed 0": "exit code 2: x", "B, seed 0": "exit code 2: x", "C, seed 1": "diverged: y"})
    assert line == (
        "3 runs failed: A, seed 0; B, seed 0: exit code 2: x; C, seed 1: diverged: y; the logs are in logs/ of the "
        "workdir"
    )
    many = failures({f"row {n}": "x" for n in range(20)})
    assert many.startswith("20 runs failed: row 0; row 1; row 2 and 17 more: x; ")


def test_nothing_finished_nothing_written(table, tmp_path):
    assert write.write_table(table, plan_of(table, tmp_path), tmp_path) == []


def test_latex_escapes():
    block = content.Content("50% of a_b", ("", "x"), (("β & ~^\\", "1"),), ("",), frozenset(), ())
    out = render.latex([block])
    assert r"50\% of a\_b" in out
    assert r"$\beta$ \& \textasciitilde{}\textasciicircum{}\textbackslash{} & 1 \\" in out


def test_published_totals_are_those_of_their_recalls():
    """Where a source prints another total its row says so."""
    rows = [p for found in read_published().values() for p in found]
    assert len(rows) == 403
    for p in rows:
        if None not in (*p.recalls, p.rsum) and abs(sum(p.recalls) - p.rsum) > 0.11:
            assert f"sum to {sum(p.recalls):.1f}" in p.source, p
        assert p.source


def test_one_published_number_stands_beside_a_row():
    """A single model with BERT-base where there is one, not the ensembles and other features of the same method."""
    assert len(published("f30k", "full", ("VSE_infty (GPO)",))) >= 2
    assert published_beside("f30k", "full", "VSE_infty (GPO)").rsum == 513.5
    assert published_beside("f30k", "full", "SCAN (T2I_AVE)").rsum == 446.2
    assert published_beside("scenes", "full", "AFA") is None


def test_published_rows_that_cannot_be_compared_say_why():
    [found] = published("f30k", "full", ("HREM + VSD†",))
    assert found.name == (
        "HREM + VSD† (BUTD region + generated text, BERT-base, images come with descriptions by a language model)"
    )
    rows = [p for found in read_published().values() for p in found]
    assert {p.remark for p in rows if p.method == "D2S-VSE"} == {"the checkpoint is selected on test"}
    assert not any(p.remark for p in rows if p.method in ("AFA", "CPFEAN", "SCAN (T2I_AVE)"))


def test_published_rows_of_a_method():
    assert [p.rsum for p in published("f30k", "full", ("AFA", "CPFEAN"))] == [510.9, 534.7]
    assert [p.rsum for p in published("coco", "full", ("CPFEAN",))] == [452.0]
    assert published("scenes", "full", ("AFA",)) == []


def test_a_row_leaves_out_the_fields_of_its_model_that_it_makes_idle(tmp_path):
    table = load_table(ROOT / "configs" / "tables" / "cpfean_ablation.py")
    cells = {c.row.name: c for c in plan.make_plan(table, "scenes", (0,), {}, tmp_path)}
    usual, attention = cells["CPFEAN"], cells["cross-attention (SCAN t2i) in its place"]
    assert "--config.model.alignment.gamma=1.0" in usual.arguments
    assert not [a for a in attention.arguments if "gamma" in a or "beta" in a]
    assert (attention.config.model.alignment.gamma, usual.config.model.alignment.gamma) == (0.0, 1.0)
    given = {"model.alignment.kind": "cross_attention"}  # the command line can make them idle too
    main_table = load_table(ROOT / "configs" / "tables" / "cpfean_main.py")
    attentive = [c for c in plan.make_plan(main_table, "scenes", (0,), given, tmp_path) if c.row.name == "CPFEAN"]
    for cell in [*cells.values(), *attentive]:  # no command is refused
        fields = [a.partition("=")[0].removeprefix("--config.") for a in cell.arguments if a.startswith("--config.")]
        assert list(idle_flags(cell.config, fields)) == []


def test_every_model_has_the_same_trials(tmp_path):
    table = load_table(ROOT / "configs" / "tables" / "recipes.py")
    cells = plan.make_plan(table, "scenes", (), {}, tmp_path)
    of_model: dict[str, set] = {}
    for cell in cells:
        assert cell.trial
        assert "--mode=train" in cell.arguments
        of_model.setdefault(cell.row.group, set()).add((cell.config.model.width, cell.config.optim.lr))
    f8k = plan.make_plan(table, "f8k", (), {"data.dir": "somewhere"}, tmp_path)
    assert not [key for cell in f8k for key, _ in _inputs(cell) if key[-1] == "test"]  # they need no test split
    assert len(of_model) == 6
    assert len(set(map(frozenset, of_model.values()))) == 1


@pytest.mark.parametrize("file", TABLES, ids=lambda p: p.stem)
def test_the_tables_of_the_library_can_be_planned(file, tmp_path):
    table = load_table(file)
    assert list(table.bases) == ["scenes", "scenes_minilm", "f8k", "f30k", "coco"]
    for dataset in table.bases:
        cells = plan.make_plan(table, dataset, table.seeds, {"data.dir": str(tmp_path)}, tmp_path)
        assert cells
        assert len({(c.row.name, c.seed) for c in cells}) == len(cells)
        known = {p.method for rows in read_published().values() for p in rows}
        assert {row.published for row in table.rows} - {""} <= known
        assert set(table.field) <= known


def test_costs_are_measured_again_when_the_rows_change(tmp_path, monkeypatch):
    """The figures know the configs that they are of; the table is rendered from them alone."""
    table = load_table(ROOT / "configs" / "tables" / "complexity.py")

    def make(**given):
        given = {name.replace("__", "."): value for name, value in given.items()}
        return plan.make_plan(table, "scenes", (), given, tmp_path)

    asked = []

    def bench(command, **_):
        asked.append(json.loads(Path(command[-3].split("=", 1)[1]).read_text()))
        models = {name: {key: 1.0 + k for key, _, _, _ in cost.COLUMNS.values()} for k, name in enumerate(asked[-1])}
        models["AFA"]["gflop_of_a_step_by_hand"] = None
        machine = {"devices": "1 x cpu", "gflops_of_a_matrix_product": 100.0, "regions": 16, "width": 128, "tokens": 24}
        machine |= {"pairs": 10000, "gallery": 1000, "queries": 32, "repeats": 5}
        Path(command[-2].split("=", 1)[1]).write_text(json.dumps({"machine": machine, "models": models}))
        return types.SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(cost.subprocess, "run", bench)
    path = cost.figures_path(table, "scenes", make(), tmp_path)
    assert not cost.is_measured(make(), path)
    cost.measure(make(), path, repeats=5)
    assert cost.is_measured(make(), path)
    assert not cost.is_measured(make(data__scenes__regions=36), path)
    assert cost.is_measured(make(data__cache_dir=str(tmp_path)), path)  # not what the figures depend on
    assert asked[0]["CPFEAN"]["model"]["graph"]["layers"] == 1
    earlier = json.loads(path.read_text())
    del earlier["models"]["CPFEAN"]["score_seconds_median"]
    (tmp_path / "earlier.json").write_text(json.dumps(earlier))
    assert not cost.is_measured(make(), tmp_path / "earlier.json")
    files = {f.suffix: f for f in write.write_costs(table, "scenes", make(), path)}
    text = files[".md"].read_text()
    assert "| **0.00** |" in text  # the fewest parameters are best
    assert "*one vector per item*" in text
    assert files[".png"].stat().st_size > 1000
    path.write_text("{")
    with pytest.raises(InputError, match="remove it to measure again"):
        cost.is_measured(make(), path)


@pytest.mark.slow
def test_cost_of_two_models_measured(tmp_path):
    """The measurement itself, on tiny models."""
    configs = {"AFA": shrunk(), "late": shrunk(model__name="late")}
    (tmp_path / "plan.json").write_text(json.dumps({k: c.to_dict() for k, c in configs.items()}, default=list))
    found = bench_plan(tmp_path / "plan.json", repeats=2, gallery=20, queries=3)
    assert list(found["models"]) == ["AFA", "late"]
    for of in found["models"].values():
        assert all(of[key] is None or of[key] > 0 for key, _, _, _ in cost.COLUMNS.values())
    assert found["models"]["AFA"]["steps_of_an_epoch"] == 10
    assert found["models"]["late"]["gflop_of_a_step_by_hand"] is None
    with pytest.raises(InputError, match=r"cannot be read .*--plan"):
        bench_plan(tmp_path / "none.json", repeats=1)


def completed_without_text(config):
    """The config completed on data without boxes and labels, without reading its text encoder."""
    return with_priors(complete(config), Split("train", np.zeros((2, 36, 4)), ["a"] * 10, 5, ["x", "y"]))


def test_rows_of_a_table_differ_on_data_without_boxes_and_labels(tmp_path):
    """SCAN's files of Flickr30K and COCO have neither; no row may turn out to be another one there."""
    for file in TABLES:
        table = load_table(file)
        for dataset in ("f30k", "coco"):
            cells = plan.make_plan(table, dataset, (0,), {"data.dir": str(tmp_path)}, tmp_path)
            seen = {}
            for cell in [c for c in cells if not c.needs]:
                bare = completed_without_text(cell.config)
                assert seen.setdefault(to_json(bare), cell.row.name) == cell.row.name


def test_rows_on_other_data(table, tmp_path):
    small = evaluated_on(table, {"mine": "/there", "coco": "/coco"})
    assert [row.name for row in small.rows][:4] == ["A", "A on mine", "A on coco", "B"]
    cell = next(c for c in plan_of(small, tmp_path, given={"data.dir": "/here"}) if c.row.name == "A on coco")
    assert {"--config.data.dir=/coco", "--config.data.test_split=testall"} <= set(cell.arguments)
    assert cell.results.name == "results-coco-testall.json"
    curves = load_table(ROOT / "configs" / "tables" / "negatives.py")
    with pytest.raises(InputError, match="has no place for rows on other data"):
        evaluated_on(curves, {"mine": "/there"})


def test_a_row_cannot_say_none_where_the_config_says_something(table, tmp_path):
    """No flag says None, so that the run would have the config's value under the row's name."""
    file = tmp_path / "small.py"
    file.write_text(FILE.replace('{"model.name": "vsepp"}', '{"model.name": "vsepp", "model.text.vocab_size": None}'))
    with pytest.raises(InputError, match="cannot pass None"):
        plan_of(load_table(file), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('question="Which?"', "asks=3"), "get_table.*TypeError"),
        (("return Table(", "return None and Table("), "must return an itm_jax.tables.Table"),
        ((str(ROOT / "configs" / "quickstart.py"), "nowhere.py"), "base nowhere.py: FileNotFoundError"),
        (
            ('"others"),\n            Row("A on', '"others", datasets=("f30k",)),\n            Row("A on'),
            "'B' is no trained row on scenes",
        ),
        (('of="A"', 'of="C"'), "'C' is no trained row"),
    ],
)
def test_a_table_file_with_a_mistake(tmp_path, change, message):
    assert change[0] in FILE
    file = tmp_path / "small.py"
    file.write_text(FILE.replace(*change))
    with pytest.raises(InputError, match=message):
        plan_of(load_table(file), tmp_path)


def test_commands_can_be_pasted(table, tmp_path):
    cell = plan_of(table, tmp_path, given={"data.cache_dir": "R&D; it's"})[0]
    assert "--config.data.cache_dir=R&D; it's" in shlex.split(cell.command)


def test_each_of_the_runs_at_a_time_has_its_gpus(monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3,5")
    assert [share.gpus for share in process.shares(2)] == [("2",), ("3",)]  # as many for each
    assert [share.gpus for share in process.shares(1)] == [()]  # all
    with pytest.raises(InputError, match=r"--jobs=4: more parallel runs than accelerators \(GPUs: 3\)"):
        process.shares(4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [share.gpus for share in process.shares(2)] == [(), ()]


def test_signals_that_stop_wait_for_the_end_of_a_block():
    before = signal.getsignal(signal.SIGTERM)
    done = []

    def work():
        with process.stopping([]) as stops:
            with stops.deferred():
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.05)
                done.append("the block")
            done.append("never")

    with pytest.raises(TerminatedError):
        work()
    assert done == ["the block"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_rows_on_other_data_are_noise_where_their_seeds_disagree(table, tmp_path):
    """On the same images A loses 50 and gains 25 with two seeds: the mean of -12.5 says nothing."""
    cells = {(c.row.name, c.seed): c for c in plan_of(table, tmp_path)}
    for seed, ranks in ((0, [0] * 12), (1, [0] * 11 + [99])):
        finish(cells["A", seed], ranks, [0] * 12)
    for seed, ranks in ((0, [0] * 10 + [99] * 2), (1, [0] * 12)):
        finish(cells["A on more noise", seed], ranks, [0] * 12)
    a, other = collect.collect(table, list(cells.values()), "full")
    assert other.difference == pytest.approx(-12.5)
    assert other.noise
    block = content.recalls(table, "scenes", "full", [a, other])
    [note] = [note for note in block.notes if note.startswith("Differences")]
    assert note.startswith("Differences are of a row on other data to the row that it evaluates. ")


def test_what_another_command_finished_is_not_run_again(table, tmp_path, monkeypatch):
    cells = [c for c in plan_of(table, tmp_path, seeds=(0,)) if not c.needs]
    started = []

    def start(cell, *_):
        started.append(cell.name)
        for each in cells:  # the other command has finished both meanwhile
            finish(each, [0] * 4, [0] * 20)
        gone = object.__new__(subprocess.Popen)  # a process that has ended
        gone.returncode, gone.poll = 0, lambda: 0
        log = tmp_path / "log"
        log.touch()
        return process.Running(cell, gone, log, time.monotonic(), process.Share(), 0)

    monkeypatch.setattr(runner, "start", start)
    assert runner.run_cells(cells, tmp_path, shard=(0, 1), jobs=1, minutes=None) == {}
    assert started == ["A, seed 0"]


def test_a_closed_terminal_that_is_ignored_stays_ignored():
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with process.stopping([]):
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.05)
    finally:
        signal.signal(signal.SIGHUP, before)
