"""results.json: what a run reached, on which data, chosen how, by which code."""

import json
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

import itm_jax
from itm_jax.config.fields import differences
from itm_jax.errors import InputError
from itm_jax.metrics.objects import object_counts
from itm_jax.metrics.retrieval import Ranks
from itm_jax.runs.provenance import code_version, config_hash, describe_split
from itm_jax.structs import Split


def versions() -> dict[str, str]:
    """Versions of the package and of the libraries that decide its numbers."""
    import flax
    import optax
    import orbax.checkpoint

    return {
        "itm_jax": itm_jax.__version__,
        "jax": jax.__version__,
        "flax": flax.__version__,
        "optax": optax.__version__,
        "orbax": orbax.checkpoint.__version__,
        "numpy": np.__version__,
    }


def results(
    config,
    split: Split,
    *,
    step: int,
    meta: dict[str, Any],
    trained_on: dict[str, Any],
    metrics: dict,
    seconds: dict[str, float],
    params: int,
) -> dict:
    """The content of results.json.

    Args:
        config: of the run, its data fields those of the evaluation.
        split: what was evaluated.
        step: of the evaluated checkpoint.
        meta: record of the run's newest checkpoint.
        trained_on: `data.json` of the run: fingerprints of its train and dev splits.
        metrics: by protocol.
        seconds: by part.
        params: number of parameters.
    """
    device = jax.devices()[0]
    return {
        "model": config.model.name,
        "variant": config.model.variant,
        "dataset": config.data.name,
        "split": split.name,
        "step": step,
        "selected_on": config.data.dev_split,
        "selection": {"split": config.data.dev_split, "rsum": meta["best_rsum"], "step": meta["best_step"]},
        "finished": meta["step"] >= meta["total_steps"],
        "seed": config.seed,
        "protocols": metrics,
        "counts": {"images": split.num_images, "captions": len(split.captions), "params": params},
        "seconds": seconds,
        "config_hash": config_hash(config),
        "data": trained_on | {split.name: describe_split(split)},
        "code": code_version(),
        "trained_by": meta.get("code", ["unknown"]),
        "versions": versions(),
        "devices": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
    }


# Data fields that belong to the training of a run, and so to what its results say of it.
OF_THE_RUN = ("data.train_split", "data.dev_split", "data.train_share", "data.batch_size", "data.augment.")


def results_name(config, trained) -> str:
    """The name of the results file of a run trained with `trained` and evaluated with `config`.

    Raises:
        InputError: more than the evaluated data is another one, so that the results would not say how the run came about.
    """
    changed = differences(config, trained)
    other = [c for c in changed if not c.startswith("data.") or c.startswith(OF_THE_RUN)]
    if other:
        raise InputError(
            f"the run was trained with another config ({'; '.join(other[:4])}); evaluation may change the data it is on "
            "and nothing else: leave --config out to take the run's own"
        )
    if [c for c in changed if c.startswith("data.")] or config.data.dir != trained.data.dir:
        return f"results-{config.data.name}-{config.data.test_split}.json"
    return "results.json"


def ranks_path(results_file: pathlib.Path) -> pathlib.Path:
    """The file of ranks beside a results file: results-X.json, ranks-X.npz."""
    return results_file.with_name(f"ranks{results_file.stem.removeprefix('results')}.npz")


def write_ranks(results_file: pathlib.Path, ranks: Mapping[str, Ranks], split: Split) -> None:
    """Writes the ranks behind a results file: `PROTOCOL_images` [i] and `PROTOCOL_captions` [t], 0-based.

    Also `captions_per_image`, and `objects` [i] where the labels tell how many each image shows.
    """
    arrays = {f"{name}_{side}": getattr(r, side) for name, r in ranks.items() for side in Ranks._fields}
    arrays["captions_per_image"] = np.array(split.captions_per_image)
    if (objects := object_counts(split)) is not None:
        arrays["objects"] = objects
    path = ranks_path(results_file)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)
        temporary.replace(path)
    except OSError as e:
        raise InputError(f"{path}: cannot be written ({e.strerror})") from None


def read_ranks(results_file: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of `write_ranks`.

    Raises:
        InputError: they cannot be read; evaluating the run again writes them.
    """
    path = ranks_path(results_file)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, zipfile.BadZipFile) as e:
        raise InputError(f"{path}: cannot be read ({e}); --mode=evaluate --workdir={path.parent} writes it") from None


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
