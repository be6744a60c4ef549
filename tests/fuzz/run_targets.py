"""Readers of what runs and commands leave: configs, text sides, results, checkpoints, parts of an extraction."""

import contextlib
import hashlib
import json
import types

from fuzz import made
from fuzz.cases import Target


def read_text_side(folder, names, out):
    """The text side of a run, and what `load` makes of it."""
    from itm_jax.config.fields import read_json
    from itm_jax.data.text.fingerprints import of_tokenizer
    from itm_jax.data.text.kept import read_kept
    from itm_jax.data.text.text_input import load_text

    kept = read_kept(folder)
    if kept and kept.tokenizer:
        of_tokenizer(kept.tokenizer)
    load_text(read_json(folder / "config.json"), workdir=folder, has_checkpoint=True)


def read_config(folder, names, out):
    """The config of a run, completed."""
    from itm_jax.config.derived import complete
    from itm_jax.config.fields import differences, flatten, read_json
    from itm_jax.config.validation import validate
    from itm_jax.runs.provenance import config_hash

    config = read_json(folder / "config.json")
    validate(config)
    config = complete(config)
    config_hash(config, {})
    differences(config, config)
    flatten(config)


def resealed(rng, files):
    """Puts the right checksum into the sealed records, mostly."""
    from itm_jax.runs.checksums import seal

    for name, content in files.items():
        if name.endswith(("metadata", "files.json")) and rng.random() < 0.9:
            with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
                files[name] = json.dumps(seal(json.loads(content)["content"])).encode()
    return files


def records_seed():
    """The records of a checkpoint, without its arrays."""
    from itm_jax.runs.checksums import seal

    arrays = {"variables": {"params/w": "float32[2, 3]"}, "progress": {"step": "int32[]"}}
    meta = {"best_rsum": 1.0, "best_step": 3, "train_seconds": 2.0, "code": ["x"], "total_steps": 3, "arrays": arrays}
    meta |= {"checksums": {"variables": {"params/w": "0" * 16}, "progress": {"step": "1" * 16}}}
    files = {"meta/metadata": hashlib.sha256(json.dumps(seal(meta)).encode()).hexdigest(), "_CHECKPOINT_METADATA": ""}
    return {
        "checkpoints/3/meta/metadata": json.dumps(seal(meta)).encode(),
        "checkpoints/3/_CHECKPOINT_METADATA": b"{}",
        "checkpoints/3/files.json": json.dumps(seal(files)).encode(),
    }


def read_records(folder, names, out):
    """The records of a run's checkpoints."""
    from itm_jax.errors import DamagedError
    from itm_jax.runs.checkpoints import _best_of, newest_record
    from itm_jax.runs.checksums import check_files
    from itm_jax.tables import trained

    _best_of(folder, 3)
    with contextlib.suppress(DamagedError):
        check_files(folder / "checkpoints" / "3")
    trained.state(folder)
    record = newest_record(folder)
    f"{record.progress.best_rsum:.1f} {record.step >= record.progress.total_steps > 0}"


def resummed(rng, files):
    """Puts the right checksums into files.json of a checkpoint, as far as the changed files go."""
    from itm_jax.runs.checksums import CHANGES, seal

    files = resealed(rng, files)
    record = "checkpoints/3/files.json"
    if rng.random() < 0.9 and record not in files:
        before = json.loads(made.checkpoint()[record])["content"]
        prefix = "checkpoints/3/"
        sums = {n.removeprefix(prefix): hashlib.sha256(c).hexdigest() for n, c in files.items() if n.startswith(prefix)}
        files[record] = json.dumps(seal(before | {n: s for n, s in sums.items() if n != CHANGES})).encode()
    return files


def read_checkpoint(folder, names, out):
    """A checkpoint with its arrays, as `load` and a continued run restore it."""
    from itm_jax.errors import DamagedError
    from itm_jax.runs.checkpoints import items_of
    from itm_jax.runs.restore import restore, restore_variables

    state = made.tiny_state()
    with contextlib.suppress(DamagedError):
        restore(folder, 3, state)
    restore_variables(folder, items_of(state)["variables"])


def read_results(folder, names, out):
    """What `load`, tables, reports and a continued run read of a workdir."""
    import shutil

    from itm_jax.errors import InputError
    from itm_jax.hub.load import _results
    from itm_jax.runs.collapse_alarm import CollapseAlarm
    from itm_jax.runs.loggers import Nothing
    from itm_jax.runs.metrics_log import MetricsWriter, read_metrics
    from itm_jax.runs.results import read_ranks, summary
    from itm_jax.viz.curves import recall_curve

    if names == ["ranks.npz"]:
        for ranks in read_ranks(folder / "results.json").values():
            if ranks.ndim == 1 and len(ranks):
                recall_curve(ranks)
    if "metrics.jsonl" in names:
        out.mkdir()
        shutil.copy(folder / "metrics.jsonl", out)
        lines = read_metrics(out)
        [line["rsum"] for line in lines if line["split"] == "dev"]
        writer = MetricsWriter(out, 1, Nothing())
        CollapseAlarm.after(writer.kept)
        writer.close()
    with contextlib.suppress(InputError):
        content = _results(folder)
        summary(content | {"protocols": {"full": content["protocols"]["full"]}})


def read_data(folder, names, out):
    """The fingerprints of the data of a run, and its extractor."""
    from itm_jax.errors import InputError
    from itm_jax.hub.load import _shape
    from itm_jax.runs.workdir import check_data, check_extractor, check_width
    from itm_jax.runs.workdir import read_data as read

    split = made_split()
    for check in (check_width, check_extractor):
        with contextlib.suppress(InputError):
            check(split, read(folder), folder)
    check_data(read(folder), {"train": split}, folder)
    _shape(folder)


def made_split():
    """The train split of the seed's run."""
    global _split
    if _split is None:
        _split = made.small_config().splits[0]
    return _split


_split = None


def part_seed():
    """A part of an extraction, a lock, and a cache of hidden states."""
    import numpy as np

    from fuzz.data_targets import npy, npz

    arrays = {"features": np.zeros((2, 3, 5), np.float16), "boxes": np.zeros((2, 3, 4), np.float32)}
    arrays |= {"labels": np.array([["a"] * 3] * 2), "errors": np.array(["", ""])}
    names = json.dumps({"1": "a.jpg"}).encode()
    return {"train-0.npz": npz(**arrays), ".lock": b'{"pid": 1, "host": "a", "since": "b", "command": "c"}',
            "states-0.npy": npy(np.zeros((4, 3), np.float16)), "names.json": names}  # fmt: skip


def read_parts(folder, names, out):
    """What commands leave for the next one to read."""
    from itm_jax.cache import _of_states
    from itm_jax.data.text.states import _cached
    from itm_jax.errors import InputError
    from itm_jax.runs.lock import _owner
    from itm_jax.vision.parts import read_errors, read_part
    from itm_jax.viz.images import read_names

    part = types.SimpleNamespace(name="train-0.npz", items=[0, 1])
    for read in (
        lambda: read_errors(folder, part),
        lambda: read_part(folder, part),
        lambda: _owner(folder / ".lock"),
        lambda: _cached(folder / "states-0.npy", (4, 3)),
        lambda: _of_states(folder / "states-0.npy"),
        lambda: read_names(folder / "names.json"),
    ):
        with contextlib.suppress(InputError):
            read()


RUNS = {
    "text_side": Target(made.workdir, read_text_side, r"^text/|vocab", weight=0.5),
    "run_config": Target(made.workdir, read_config, r"^config\.json", weight=0.5),
    "results": Target(made.workdir, read_results, r"results|metrics|ranks"),
    "run_data": Target(made.workdir, read_data, r"^(data|extractor)\.json"),
    "records": Target(records_seed, read_records, repair=resealed),
    "checkpoint": Target(made.checkpoint, read_checkpoint, repair=resummed, weight=0.05, seconds=20),
    "parts": Target(part_seed, read_parts),
}
