"""SIGKILL at random moments over five kinds of work; the same command goes on to the same bytes.

    PYTHONPATH=.:tests python -m faults.kills [--each=8] [--seed=0]

Training of AFA and of CPFEAN, extraction, export of a model, and the building of a search index are each done once
undisturbed, and once killed several times and started again. Compared are: checksums of all arrays, results and lines of
a run; all files of extracted features and of an export; ids and vectors of an index.
"""

import argparse
import hashlib
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

from support.paths import ROOT
from support.runs import RUN_FILE, environment, outcome

IMAGES = (300, 40, 40)  # of train, dev, test


def write_images(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Pictures of `scenes` and a CSV of their captions."""
    import csv

    from PIL import Image

    from itm_jax import quickstart
    from itm_jax.data.scenes.render import render
    from itm_jax.data.scenes.world import make_split, make_world

    scenes = quickstart().data.scenes
    scenes.update(dict(zip(("train", "dev", "test"), IMAGES, strict=True)))
    (folder / "images").mkdir(parents=True)
    with (folder / "captions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption", "split"])
        for name in ("train", "dev", "test"):
            split = make_split(scenes, name)
            world = make_world(split.num_images, scenes.seed, name)
            for k in range(split.num_images):
                Image.fromarray(render(world, k)).save(folder / "images" / f"{name}-{k:03d}.png")
                for caption in split.captions[split.caption_starts[k] : split.caption_starts[k + 1]]:
                    writer.writerow([f"{name}-{k:03d}.png", caption, name])
    return folder / "images", folder / "captions.csv"


def of_files(folder: pathlib.Path) -> dict[str, str]:
    """The SHA-256 of every file of a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def of_index(folder: pathlib.Path):
    """Ids and vectors of an index."""
    import lancedb

    from itm_jax.search.table import TABLE

    table = lancedb.connect(folder).open_table(TABLE).to_arrow()
    order = sorted(range(table.num_rows), key=table["id"].to_pylist().__getitem__)
    return [hashlib.sha256(json.dumps(table.select(["id", "vector"]).take(order).to_pylist()).encode()).hexdigest()]


def run(line: list[str]) -> float:
    """Runs a command to its end; returns its seconds."""
    began = time.monotonic()
    done = subprocess.run(line, env=environment(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return time.monotonic() - began


def killed(line: list[str], seconds: float) -> bool:
    """Starts a command and kills it after so many seconds; returns whether it was still running then."""
    process = subprocess.Popen(line, env=environment(), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        code = process.wait(timeout=seconds)
        assert code == 0, f"{line} ended by itself with exit code {code}"
        return False
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True


def kinds(root: pathlib.Path):
    """(name, command for a place, what is compared) of each kind of work."""
    images, captions = write_images(root / "pictures")
    config = root / "config.py"
    config.write_text(RUN_FILE.format(path=str(ROOT / "configs" / "quickstart.py")))
    python = [sys.executable, "-m"]
    for model in ("afa", "cpfean"):
        train = [*python, "itm_jax.main", f"--config={config}", f"--config.model.name={model}"]
        yield model, lambda place, train=train: [*train, "--config.train.epochs=3", f"--workdir={place}"], outcome
    extract = [*python, "itm_jax.extract", f"--images={images}", f"--captions={captions}"]
    yield "extract", lambda place: [*extract, f"--out={place}"], of_files
    mine = root / "extract" / "whole" / "work"
    run(
        [
            *python, "itm_jax.main", "--config=quickstart", "--mode=all", f"--workdir={root / 'run'}",
            "--config.data.source=precomp", "--config.data.name=mine", f"--config.data.dir={mine}",
            "--config.model.text.encoder=gru", "--config.model.text.min_count=1", "--config.train.epochs=1",
            "--config.optim.decay_epochs=()",
        ]
    )  # fmt: skip
    yield "export", lambda place: [*python, "itm_jax.export", f"--run={root / 'run'}", f"--out={place}"], of_files
    build = [*python, "itm_jax.search", "build", f"--model={root / 'run'}", f"--images={images}"]
    yield "search build", lambda place: [*build, f"--index={place}"], of_index


def disturb(command, compared, folder: pathlib.Path, kills: int, draw: random.Random) -> tuple[float, int, bool]:
    """Does a kind of work once undisturbed, and then again and again with kills, until so many have met it.

    Returns:
        (seconds undisturbed, in how many places it was done, whether all ended in the same bytes).
    """
    name = "work"  # an export has the name of its folder in its card
    run(command(folder / "warm" / name))
    whole = folder / "whole" / name
    seconds = run(command(whole))
    met, places, same = 0, 0, True
    while met < kills:
        cut, places = folder / f"cut{places}" / name, places + 1
        before = met
        while met < kills and killed(command(cut), draw.uniform(0.2, 1.0) * seconds):
            met += 1
        run(command(cut))
        same = same and compared(cut) == compared(whole)
        assert met > before or places < kills * 3, "it ends before a kill meets it"
    return seconds, places, same


def main() -> int:
    """Prints a line for each kind of work; returns 1 where one ended in other bytes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--each", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw, good, total = random.Random(given.seed), 0, 0
    with tempfile.TemporaryDirectory() as place:
        root = pathlib.Path(place)
        for name, command, compared in kinds(root):
            seconds, places, same = disturb(command, compared, root / name.replace(" ", "-"), given.each, draw)
            good, total = good + given.each * same, total + given.each
            what = f"{given.each} kills in {places} folders; {'the same' if same else 'OTHER'} bytes"
            print(f"{name}: {seconds:.0f} s undisturbed; {what}", flush=True)
    print(f"{good} of {total} kills ended in the same bytes")
    return int(good != total)


if __name__ == "__main__":
    sys.exit(main())
