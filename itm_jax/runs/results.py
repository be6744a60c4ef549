"""results.json: the results of a run, on which data, selected how, and by which code."""

import importlib.metadata
import io
import json
import pathlib
import platform
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

import itm_jax
from itm_jax.config.fields import differences
from itm_jax.data.regions import region_mask
from itm_jax.errors import InputError
from itm_jax.files import parse_json, read_npz, write_whole
from itm_jax.metrics.objects import object_counts
from itm_jax.metrics.retrieval import Ranks
from itm_jax.runs.checkpoints import Record
from itm_jax.runs.provenance import code_version, config_hash, describe_split
from itm_jax.structs import Split

# Libraries that the numbers of a run depend on: the key of results.json, and the name of the distribution.
LIBRARIES = {
    "jax": "jax",
    "flax": "flax",
    "optax": "optax",
    "orbax": "orbax-checkpoint",
    "grain": "grain",
    "tokenizers": "tokenizers",
    "transformers": "transformers",
    "numpy": "numpy",
}


def versions() -> dict[str, str]:
    """Returns the versions of Python, of the package, and of the libraries that its numbers depend on."""
    libraries = {name: importlib.metadata.version(distribution) for name, distribution in LIBRARIES.items()}
    return {"itm_jax": itm_jax.__version__, "python": platform.python_version()} | libraries


def results(
    config,
    split: Split,
    *,
    step: int,
    record: Record,
    trained: Any,
    trained_on: dict[str, Any],
    text: Mapping[str, str],
    metrics: dict,
    seconds: dict[str, float],
    params: int,
    mechanism: Mapping[str, float],
) -> dict:
    """The content of results.json.

    Args:
        config: the run's config, with the data fields of the evaluation.
        split: the evaluated split.
        step: the step of the evaluated checkpoint.
        record: the record of the run's newest checkpoint.
        trained: the config that the run was trained with.
        trained_on: `data.json` of the run: fingerprints of its train and dev splits.
        text: fingerprints of the run's text side.
        metrics: the metrics of each protocol.
        seconds: the seconds of each part.
        params: number of parameters.
        mechanism: what the parts of the model do on the split (`evaluation.mechanism`); left out where empty.
    """
    device, progress = jax.devices()[0], record.progress
    return {
        "model": config.model.name,
        "variant": config.model.variant,
        "dataset": config.data.name,
        "split": split.name,
        "step": step,
        "selected_on": config.data.dev_split,
        "selection": {"split": config.data.dev_split, "rsum": progress.best_rsum, "step": progress.best_step},
        "finished": record.step >= progress.total_steps,
        "seed": config.seed,
        "protocols": metrics,
        "batch": batch_of(trained),
        **({"mechanism": dict(mechanism)} if mechanism else {}),
        "counts": {"images": split.num_images, "captions": len(split.captions), "params": params},
        "seconds": seconds,
        "config_hash": config_hash(config, text),
        "text": dict(text),
        "data": trained_on | {split.name: describe_split(split)},
        "code": code_version(),
        "trained_by": list(progress.code),
        "versions": versions(),
        "devices": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
    }


def batch_of(trained) -> dict[str, int]:
    """Returns how many pairs a training step saw, and how many negatives a query had at most."""
    size = trained.data.batch_size
    return {"size": size, "negatives": trained.loss.num_negatives or size - 1}


def results_name(config, trained) -> str:
    """The name of the results file of a run trained with `trained` and evaluated with `config`."""
    changed = [c for c in differences(config, trained) if c.startswith("data.")]
    if changed or config.data.dir != trained.data.dir:
        return f"results-{config.data.name}-{config.data.test_split}.json"
    return "results.json"


def results_path(directory: pathlib.Path, config, trained, content: Mapping[str, Any]) -> pathlib.Path:
    """The path of the results file of an evaluation in a directory.

    Args:
        directory: where it is written.
        config: of the evaluation.
        trained: of the run.
        content: of the results file.

    Returns:
        `results.json`, or `results-<dataset>-<split>.json` where data fields differ. A file of this name with results
        on data of other content is kept: the name is then `results-<dataset>-<split>-<fingerprint of the data>.json`.
    """
    path = directory / results_name(config, trained)
    if not path.exists():
        return path
    mine = content["data"][content["split"]]["id"]
    try:
        before = parse_json(path.read_text(encoding="utf-8"))
        theirs = before["data"][before["split"]]["id"]
    except (OSError, ValueError, KeyError, TypeError):
        return path  # no results: the file is written anew
    apart = f"results-{config.data.name}-{config.data.test_split}-{mine}.json"
    return path if mine == theirs else path.with_name(apart)


def ranks_path(results_file: pathlib.Path) -> pathlib.Path:
    """The path of the ranks beside a results file: ranks-X.npz beside results-X.json."""
    return results_file.with_name(f"ranks{results_file.stem.removeprefix('results')}.npz")


def ranks_as_arrays(ranks: Mapping[str, Ranks], captions_per_image: Any) -> dict[str, np.ndarray]:
    """Returns `PROTOCOL_images` [i] and `PROTOCOL_captions` [t], 0-based, and `captions_per_image`, a number or [i]."""
    arrays = {f"{name}_{side}": getattr(r, side) for name, r in ranks.items() for side in Ranks._fields}
    return arrays | {"captions_per_image": np.array(captions_per_image)}


def write_ranks(results_file: pathlib.Path, ranks: Mapping[str, Ranks], split: Split) -> None:
    """Writes the ranks behind a results file, as `ranks_as_arrays` names them.

    It also writes `objects` [i] where the labels tell how many objects each
    image shows.
    """
    arrays: dict[str, Any] = ranks_as_arrays(ranks, split.captions_per_image)
    if (objects := object_counts(split, lambda: region_mask(split))) is not None:
        arrays["objects"] = objects
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_whole(ranks_path(results_file), buffer.getvalue())


def read_ranks(results_file: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the arrays that `write_ranks` wrote.

    Raises:
        InputError: the file cannot be read; the message says how to write it again.
    """
    path = ranks_path(results_file)
    again = f"write it with itm_jax.main --mode=evaluate --workdir={path.parent}"
    ranks = read_npz(path, hint=again)
    if not ranks or any(array.dtype.kind not in "iu" or (array < 0).any() for array in ranks.values()):
        raise InputError(f"{path}: holds something else than ranks; {again}")
    return ranks


def to_text(content: dict) -> str:
    """The text of results.json."""
    return json.dumps(content, indent=2) + "\n"


def summary(content: dict) -> str:
    """The results as the lines that a command prints."""
    lines = []
    for name, m in content["protocols"].items():
        if "rsum" not in m:  # eccv, cxc
            lines.append(
                f"{content['dataset']} {content['split']} {name}: " + ", ".join(f"{k} {v:.1f}" for k, v in m.items())
            )
            continue
        i2t, t2i = (" / ".join(f"{m[f'{d}_r{k}']:.1f}" for k in (1, 5, 10)) for d in ("i2t", "t2i"))
        lines.append(
            f"{content['dataset']} {content['split']} {name}: image to text R@1/5/10 {i2t}, "
            f"text to image {t2i}, rSum {m['rsum']:.1f}"
        )
    return "\n".join(lines)
