"""What results.json says of where its numbers come from, and ensembles that do not mix what does not go together."""

import json
import shutil

import numpy as np
import pytest
from support.commands import command
from support.precomp import write
from support.runs import shrunk

from itm_jax.checks.run import check
from itm_jax.config.fields import read_json, set_field, to_json
from itm_jax.data.precomp.reader import read_split
from itm_jax.data.scenes.world import make_split
from itm_jax.errors import InputError
from itm_jax.evaluation.ensemble import evaluate_ensemble
from itm_jax.evaluation.evaluate import evaluate
from itm_jax.evaluation.open_run import open_run
from itm_jax.metrics.retrieval import retrieval_metrics
from itm_jax.models.variables import count_params
from itm_jax.runs.provenance import code_version, config_hash, fingerprint
from itm_jax.training import loop as training

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two finished runs of different seeds on the same data."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        training.train(shrunk(seed=seed, train__epochs=1), folder / f"seed{seed}")
    return [folder / "seed0", folder / "seed1"]


def copy_with(run, to, **changes):
    """A copy of a run whose config.json says something else."""
    shutil.copytree(run, to)
    config = read_json(to / "config.json")
    for name, value in changes.items():
        set_field(config, name.replace("__", "."), value)
    (to / "config.json").write_text(to_json(config))
    return to


def test_results_say_where_they_come_from(runs):
    config = shrunk(train__epochs=1)
    content, _ = evaluate(config, runs[0])
    assert set(content["data"]) == {"train", "dev", "test"}
    assert content["data"]["test"]["id"] == fingerprint(make_split(config.data.scenes, "test"))["id"]
    assert content["selection"]["split"] == content["selected_on"] == "dev"
    assert content["selection"]["step"] == content["step"]
    dev = [json.loads(x) for x in (runs[0] / "metrics.jsonl").read_text().splitlines()]
    assert content["selection"]["rsum"] == max(x["rsum"] for x in dev if x["split"] == "dev")
    assert content["finished"] is True
    assert content["code"] == code_version()
    assert content["trained_by"] == [code_version()["source"]]
    assert content["variant"] == "paper"
    other, _ = evaluate(shrunk(train__epochs=1, seed=1), runs[1])
    assert content["config_hash"] != other["config_hash"]
    assert content["data"] == other["data"]


def test_metrics_are_the_same_without_the_matrix(runs):
    config = shrunk(train__epochs=1)
    whole, _ = evaluate(config, runs[0])
    reduced, _ = evaluate(shrunk(train__epochs=1, eval__matrix_gb=0.0, eval__tile=7), runs[0])
    assert reduced["protocols"] == whole["protocols"]


def test_config_hash_follows_what_decides_the_numbers():
    text = {"tokenizer": "a", "weights": "b"}
    base = config_hash(shrunk(), text)
    assert base == config_hash(shrunk(train__log_every=77, eval__tile=5), text)
    moved = config_hash(shrunk(model__text__vocab="/another/place"), text)
    assert moved == base
    others = [config_hash(shrunk(seed=1), text), config_hash(shrunk(loss__margin=0.3), text)]
    assert len({base, *others, config_hash(shrunk(), text | {"weights": "c"})}) == 4


def test_a_fingerprint_is_that_of_the_content(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b" / "precomp", repeats=5, ids="row")
    a, b = (fingerprint(read_split(str(tmp_path / name), "train")) for name in "ab")
    assert a == b  # the same images and captions, stored in another form at another place
    ims = tmp_path / "a" / "train_ims.npy"
    features = np.load(ims)
    features[3, 2, 1] += 1e-3
    np.save(ims, features)
    changed = fingerprint(read_split(str(tmp_path / "a"), "train"))
    assert {k for k in a if a[k] != changed[k]} == {"features", "id"}
    labels = tmp_path / "a" / "train_labels.json"
    labels.write_text(labels.read_text().replace("label1", "label9"))
    caps = tmp_path / "a" / "train_caps.txt"
    caps.write_text(caps.read_text().replace("image 2", "picture 2"))
    changed = fingerprint(read_split(str(tmp_path / "a"), "train"))
    assert {k for k in a if a[k] != changed[k]} == {"features", "captions", "companions", "id"}


def test_a_run_refuses_data_that_changed_under_it(runs, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(runs[0], workdir)
    data = json.loads((workdir / "data.json").read_text())
    data["train"]["captions"] = "0" * 16
    (workdir / "data.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"scenes train: its captions changed since the run in .*run began"):
        training.train(shrunk(train__epochs=1), workdir)


def test_an_ensemble_averages_the_scores(runs, tmp_path):
    config = shrunk(train__epochs=1)
    content, path = evaluate_ensemble(config, runs, tmp_path / "both")
    assert path == tmp_path / "both" / "results.json"
    assert json.loads(path.read_text()) == content
    members = [open_run(read_json(run / "config.json"), run) for run in runs]
    mean = (members[0].scores().scores + members[1].scores().scores) / 2
    assert content["protocols"]["full"] == retrieval_metrics(mean, members[0].data.split.caption_image_index)
    assert [m["seed"] for m in content["members"]] == [0, 1]
    assert content["model"] == "ensemble"
    assert content["counts"]["params"] == 2 * count_params(members[0].variables["params"])
    elsewhere, path = evaluate_ensemble(shrunk(train__epochs=1, data__test_split="dev"), runs, tmp_path / "dev")
    assert path.name == "results-scenes-dev.json"
    assert elsewhere["split"] == "dev"
    moved = shrunk(train__epochs=1, data__dir="/where/the/data/are/now")
    assert evaluate_ensemble(moved, runs, tmp_path / "moved")[1].name == "results.json"


def test_results_may_go_to_another_directory_and_the_run_stays_untouched(runs, tmp_path):
    everything = lambda: {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(runs[0].rglob("*"))}  # noqa: E731
    before = everything()
    content, path = evaluate(shrunk(train__epochs=1), runs[0], out=tmp_path / "out")
    assert path == tmp_path / "out" / "results.json"
    assert {p.name for p in path.parent.iterdir()} == {"results.json", "ranks.npz"}
    assert everything() == before
    code, _, err = command("--mode=evaluate", f"--workdir={runs[0]}", f"--out={tmp_path / 'again'}")
    assert code == 0, err
    assert json.loads((tmp_path / "again" / "results.json").read_text())["protocols"] == content["protocols"]
    assert everything() == before
    for arguments, message in (
        (["--mode=evaluate", f"--out={runs[1]}"], "holds a run; give the results a directory of their own"),
        ([f"--out={tmp_path}", "--config=quickstart"], "add --mode=evaluate"),
        (["--mode=evaluate", "--out=ftp://bucket/x"], "ftp:// is not known; pass gs://"),
    ):
        code, _, err = command(f"--workdir={runs[0]}", *arguments)
        assert code == 2
        assert message in err[-1]


def test_a_run_that_cannot_be_written_says_out(runs, tmp_path, monkeypatch):
    def denied(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("itm_jax.runs.lock._open_locked", denied)
    with pytest.raises(InputError, match=r"cannot be written \(Permission denied\); pass --out=DIR"):
        evaluate(shrunk(train__epochs=1), runs[0])


def test_features_of_another_width_are_named_as_such(runs, tmp_path):
    said = (
        r"scenes (test|train): its features are 9 wide, but the run in .*seed0 was trained on features that are 12 wide"
    )
    with pytest.raises(InputError, match=said):
        evaluate(shrunk(train__epochs=1, data__scenes__features=9), runs[0])
    other = shrunk(train__epochs=1, data__scenes__features=9, init_from=str(runs[0]))
    with pytest.raises(InputError, match=said):
        training.train(other, tmp_path / "run")
    (defect,) = check(other)[0].lines
    assert "was trained on features that are 12 wide" in defect


def test_results_on_data_of_other_content_are_kept_apart(runs, tmp_path):
    other = lambda seed: shrunk(train__epochs=1, data__name="other", data__scenes__seed=seed)  # noqa: E731
    first, path = evaluate(other(5), runs[0], out=tmp_path)
    assert path.name == "results-other-test.json"
    assert evaluate(other(5), runs[0], out=tmp_path)[1] == path
    second, apart = evaluate(other(6), runs[0], out=tmp_path)
    assert apart.name == f"results-other-test-{second['data']['test']['id']}.json"
    assert (tmp_path / f"ranks-other-test-{second['data']['test']['id']}.npz").exists()
    assert json.loads(path.read_text())["data"] == first["data"]


def test_an_ensemble_refuses_what_does_not_go_together(runs, tmp_path):
    config = shrunk(train__epochs=1)
    with pytest.raises(InputError, match="at least two"):
        evaluate_ensemble(config, runs[:1], tmp_path / "out")
    with pytest.raises(InputError, match="is named twice"):
        evaluate_ensemble(config, [runs[0], runs[1], runs[0]], tmp_path / "out")
    with pytest.raises(InputError, match="holds a run; give the ensemble a --workdir of its own"):
        evaluate_ensemble(config, runs, runs[0])
    with pytest.raises(InputError, match=r"missing/config\.json: cannot be read"):
        evaluate_ensemble(config, [runs[0], tmp_path / "missing"], tmp_path / "out")
    selected = copy_with(runs[1], tmp_path / "selected", data__dev_split="dev1k")
    with pytest.raises(InputError, match=r"selected: selected on dev1k, .*seed0 on dev; an ensemble does not mix them"):
        evaluate_ensemble(config, [runs[0], selected], tmp_path / "out")
    other = tmp_path / "other"
    training.train(shrunk(train__epochs=1, data__scenes__seed=5), other)
    with pytest.raises(InputError, match=r"other: its split dev differs from that of .*does not mix"):
        evaluate_ensemble(config, [runs[0], other], tmp_path / "out")
    longer = copy_with(runs[1], tmp_path / "longer", train__epochs=2)
    record = max((longer / "checkpoints").iterdir(), key=lambda p: int(p.name)) / "meta" / "metadata"
    from itm_jax.runs.checksums import read_sealed, seal

    content = read_sealed(record)
    record.write_text(json.dumps(seal(content | {"total_steps": 2 * content["total_steps"]})))
    with pytest.raises(InputError, match=r"longer: stopped at step 10 of 20; finish it first"):
        evaluate_ensemble(config, [runs[0], longer], tmp_path / "out")
    assert not (tmp_path / "out").exists()
