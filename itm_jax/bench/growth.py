"""Measures how cost grows, and compares it with the expected cost.

Step time grows with the batch, scoring time with the gallery, memory with the tile.
"""

import copy
import pathlib
import textwrap

import jax
import jax.numpy as jnp
import numpy as np

from itm_jax.bench.flops import step_flops
from itm_jax.bench.measure import timed, where
from itm_jax.bench.score import fresh_cpfean, random_fragments
from itm_jax.bench.train import StepOnRandomBatch
from itm_jax.devices.programs import memory_of
from itm_jax.files import write_whole
from itm_jax.modules.alignment import block_size
from itm_jax.scoring import score_matrix
from itm_jax.structs import Fragments
from itm_jax.terminal import say

QUERIES = 256  # captions that the gallery is scored for
Rows = list[tuple[int, float, float]]  # size, measured, expected
KINDS = {  # (size, what is measured, what is expected)
    "batch": (
        "batch",
        "seconds of a training step",
        "its FLOPs at the rate of the largest batch",
    ),
    "gallery": ("images", f"seconds to score {QUERIES} captions", "proportional, from the largest gallery"),
    "tile": (
        "tile",
        "GB of the tile's program",
        "regions once, words twice, scores, four arrays of a block's products",
    ),
}


def step_times(config, batch_sizes: list[int], *, repeats: int, **shapes: int) -> Rows:
    """Returns the seconds of a step at every batch size.

    Expected seconds are proportional to the FLOPs; where those are not counted, to the pairs of the batch.
    """
    seconds, flops, step = [], [], None
    for b in batch_sizes:
        del step  # frees its memory
        sized = copy.deepcopy(config)
        sized.data.batch_size = b
        say(f"a training step with a batch of {b}")
        step = StepOnRandomBatch(sized, check=None, **shapes)
        jax.block_until_ready(step())
        seconds.append(timed(step, repeats)["seconds_median"])
        flops.append(step_flops(step.config, **shapes) or b)
    return [(b, s, seconds[-1] * f / flops[-1]) for b, s, f in zip(batch_sizes, seconds, flops, strict=True)]


def scoring_times(galleries: list[int], *, regions: int, tokens: int, joint: int, repeats: int) -> Rows:
    """Returns the seconds of CPFEAN's scores of QUERIES captions with a gallery of every size."""
    score, _, _ = fresh_cpfean(joint)
    rng = np.random.default_rng(0)
    images = random_fragments(rng, galleries[-1], regions, joint)
    captions = random_fragments(rng, QUERIES, tokens, joint)
    seconds = []
    for size in galleries:
        part = jax.tree.map(lambda x, size=size: x[:size], images)
        run = lambda part=part: score_matrix(score, part, captions, tile=QUERIES)  # noqa: E731
        say(f"scores of {QUERIES} captions with {size} images")
        run()
        seconds.append(timed(run, repeats)["seconds_median"])
    return [(g, s, seconds[-1] * g / galleries[-1]) for g, s in zip(galleries, seconds, strict=True)]


def _fragment_shapes(items: int, n: int, width: int) -> Fragments:
    """Returns the shapes of `random_fragments`."""
    return jax.eval_shape(lambda: Fragments(jnp.zeros((items, n, width), jnp.float32), jnp.zeros((items, n), bool)))


def tile_memory(tiles: list[int], *, regions: int, tokens: int, joint: int) -> Rows:
    """Returns the GB that the program of a tile of CPFEAN's scores needs at every tile size, with arguments and scores.

    The list is empty where the backend does not report its memory.
    """
    score, _, _ = fresh_cpfean(joint)
    out = []
    for tile in tiles:
        shapes = [_fragment_shapes(tile, n, joint) for n in (regions, tokens)]
        needed = memory_of(jax.jit(lambda *x: score(*x)).lower(*shapes).compile())
        if needed is None:
            return []
        block = min(block_size(), tile * tile * regions * tokens)
        expected = 4 * (tile * (regions + 2 * tokens) * joint + tile * tile + 4 * block)
        out.append((tile, sum(needed) / 1e9, expected / 1e9))
    return out


def bench_growth(
    config,
    folder: pathlib.Path,
    *,
    batch_sizes: list[int],
    galleries: list[int],
    tiles: list[int],
    regions: int,
    width: int,
    tokens: int,
    joint: int,
    repeats: int,
) -> dict:
    """Writes growth.md and growth.png to the folder, and returns the measured figures."""
    measured = {
        "batch": step_times(config, batch_sizes, repeats=repeats, regions=regions, width=width, tokens=tokens),
        "gallery": scoring_times(galleries, regions=regions, tokens=tokens, joint=joint, repeats=repeats),
        "tile": tile_memory(tiles, regions=regions, tokens=tokens, joint=joint),
    }
    measured = {kind: rows for kind, rows in measured.items() if rows}  # a backend may not report its memory
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{config.model.name}, {where()}, {regions} regions x {width}, {tokens} tokens, joint width {joint}"
    write_whole(folder / "growth.md", _table(measured, title))
    _plot(measured, title, folder / "growth.png")
    flat = {f"{kind} {x}": y for kind, rows in measured.items() for x, y, _ in rows}
    return flat | {"written": f"{folder / 'growth.md'}, {folder / 'growth.png'}"}


def _table(measured: dict[str, Rows], title: str) -> str:
    out = [title, ""]
    for kind, rows in measured.items():
        size, unit, expected = KINDS[kind]
        out += [f"| {size} | {unit} | expected: {expected} | ratio |", "|---|---|---|---|"]
        out += [f"| {x} | {y:.4g} | {z:.4g} | {y / z:.2f} |" for x, y, z in rows] + [""]
    return "\n".join(out)


def _plot(measured: dict[str, Rows], title: str, path: pathlib.Path) -> None:
    from itm_jax.viz.figures import panels, save

    figure, [axes] = panels(1, len(measured), figsize=(4.6 * len(measured), 4.4))
    for axis, (kind, rows) in zip(axes, measured.items(), strict=True):
        size, unit, expected = KINDS[kind]
        x, y, expected_y = zip(*rows, strict=True)
        axis.plot(x, y, "o-", label="measured")
        axis.plot(x, expected_y, "k--", linewidth=1, label="expected")
        text = textwrap.fill(f"expected: {expected}", 48)
        axis.set(xscale="log", yscale="log", xlabel=f"{size}\n\n{text}", title=unit)
        axis.set_xticks(x, [str(v) for v in x])
        axis.set_yticks(y, [f"{v:.3g}" for v in y])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(loc="upper left")
    figure.suptitle(title, fontsize=10)
    save(figure, path)
