"""Makes seed files with the library itself: checkpoints, an exported model, a TFDS data set, an index."""

import contextlib
import functools
import io
import pathlib
import tempfile

from fuzz.data_targets import precomp


def bytes_of(folder):
    """Returns the files of a folder, {name: bytes}."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def made(write):
    """Turns a function that writes a folder into one that returns its files, once."""

    @functools.cache
    def files():
        with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
            folder = pathlib.Path(place) / "made"
            folder.mkdir()
            write(folder)
            return bytes_of(folder)

    return files


@made
def bert(folder):
    """A tiny BERT with vocab.txt, and one with tokenizer.json."""
    from support.checkpoint import write_checkpoint

    from itm_jax.pretrained.huggingface import load_tokenizer

    write_checkpoint(folder / "plain")
    write_checkpoint(folder / "fast")
    load_tokenizer(folder / "fast").save_pretrained(str(folder / "fast"))
    (folder / "fast" / "vocab.txt").unlink(missing_ok=True)


@made
def vit(folder):
    """A tiny ViT with its preprocessing."""
    import json

    import numpy as np
    from support.images import checkpoint

    checkpoint(folder / "vit", np.random.default_rng(0))
    (folder / "vit" / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    )


def small_config(**changes):
    """The config of a tiny run on scenes, completed, with its text side."""
    from support.runs import shrunk

    from itm_jax.data.prepare import prepare

    return prepare(shrunk(**changes), ["train"])


@made
def exported(folder):
    """An exported model of random weights, with a BERT from scratch and an extractor."""
    import jax
    import numpy as np

    from itm_jax.evaluation.open_run import build_for_evaluation
    from itm_jax.hub.write import Contents, write_folder

    prepared = small_config()
    data = prepared.with_text(prepared.splits[0])
    _, _, like = build_for_evaluation(prepared.config, data)
    variables = jax.tree.map(lambda x: np.full(x.shape, 0.1, x.dtype), like)
    shape = tuple(int(n) for n in prepared.splits[0].features.shape[1:])
    contents = Contents(prepared.config, prepared.text, variables, shape, None, {}, {"rounded": "float32"})
    write_folder(folder, contents, name="tiny", dtype="float32")


@made
def workdir(folder):
    """What a run keeps besides checkpoints: config, text side, data.json, extractor.json, results, metrics, ranks."""
    import json

    import numpy as np

    from fuzz.data_targets import extractor_record, npz
    from itm_jax.data.text.kept import OLD_LABELS
    from itm_jax.runs.provenance import describe_split
    from itm_jax.runs.workdir import write_run_files

    prepared = small_config()
    labels = {name: np.zeros(4, np.float32) for name in ("dog", "cat")}
    write_run_files(prepared.config, prepared.text, folder, prepared.splits, labels)
    split = describe_split(prepared.splits[0])
    (folder / "data.json").write_text(json.dumps({"train": {**split, "extractor": "x"}, "dev": split}))
    (folder / "extractor.json").write_bytes(extractor_record())
    encodings = np.zeros((2, 4), np.float32)
    (folder / "text" / OLD_LABELS).write_bytes(npz(names=np.array(["dog", "cat"]), encodings=encodings))
    recalls = {f"{d}_r{k}": 50.0 for d in ("i2t", "t2i") for k in (1, 5, 10)} | {"rsum": 300.0}
    about = {"dataset": "x", "split": "test", "counts": {"images": 4, "captions": 8, "params": 5}, "seed": 1}
    about |= {"selected_on": "dev", "devices": "1 x cpu", "data": {"test": {"id": "0"}}, "protocols": {"full": recalls}}
    (folder / "results.json").write_text(json.dumps(about))
    lines = [{"step": k, "split": "train", "loss": 0.5, "epoch": 0.1} for k in (1, 2)] + [
        {"step": 2, "split": "dev", "rsum": 300.0}
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    arrays = {"full_images": np.arange(4), "full_captions": np.arange(8), "captions_per_image": np.array(2)}
    (folder / "ranks.npz").write_bytes(npz(**arrays))


def tiny_state():
    """A state with a few arrays."""
    import jax.numpy as jnp

    from itm_jax.structs import TrainState

    values = {"w": jnp.arange(6.0).reshape(2, 3)}
    return TrainState(
        step=jnp.int32(3), params=values, batch_stats={"m": jnp.zeros(2)}, opt_state={"m": values}, skipped=jnp.int32(0)
    )


@made
def checkpoint(folder):
    """A checkpoint of a tiny state."""
    from itm_jax.runs import checkpoints
    from itm_jax.runs.progress import Progress

    manager = checkpoints.Manager(folder)
    checkpoints.save(manager, tiny_state(), Progress(best_rsum=1.0, best_step=3, code=("x",), total_steps=3))
    manager.wait_until_finished()
    manager.close()


@made
def tfds(folder):
    """A TFDS data set of the split `test`."""
    from itm_jax.data.tfds.builder import build

    source = folder.parent / "precomp"
    source.mkdir()
    for name, content in precomp().items():
        if name != "extractor.json":
            (source / name).write_bytes(content)
    build(str(source), folder, name="tiny")
