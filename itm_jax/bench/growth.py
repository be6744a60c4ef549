"""How cost grows: step time with the batch, scoring time with the gallery, memory with the tile; the expected law beside it."""

import copy
import pathlib
import textwrap

import jax
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

QUERIES = 256  # captions that the gallery is scored for
Rows = list[tuple[int, float, float]]  # size, measured, by the law
LAWS = {
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
    """Seconds of a step at every batch size; by the law of a model whose FLOPs are not counted they go with the pairs."""
    seconds, flops, step = [], [], None
    for b in batch_sizes:
        del step  # its memory
        sized = copy.deepcopy(config)
        sized.data.batch_size = b
        step = StepOnRandomBatch(sized, **shapes)
        jax.block_until_ready(step())
        seconds.append(timed(step, repeats)["seconds_median"])
        flops.append(step_flops(step.config, **shapes) or b)
    return [(b, s, seconds[-1] * f / flops[-1]) for b, s, f in zip(batch_sizes, seconds, flops, strict=True)]


def scoring_times(galleries: list[int], *, regions: int, tokens: int, joint: int, repeats: int) -> Rows:
    """Seconds of CPFEAN's scores of some captions with galleries of every size."""
    score, _, _ = fresh_cpfean(joint)
    rng = np.random.default_rng(0)
    images = random_fragments(rng, galleries[-1], regions, joint)
    captions = random_fragments(rng, QUERIES, tokens, joint)
    seconds = []
    for size in galleries:
        part = jax.tree.map(lambda x, size=size: x[:size], images)
        run = lambda part=part: score_matrix(score, part, captions, tile=QUERIES)  # noqa: E731
        run()
        seconds.append(timed(run, repeats)["seconds_median"])
    return [(g, s, seconds[-1] * g / galleries[-1]) for g, s in zip(galleries, seconds, strict=True)]


def tile_memory(tiles: list[int], *, regions: int, tokens: int, joint: int) -> Rows:
    """GB that the program of a tile of CPFEAN's scores needs, arguments and scores included, at every tile size."""
    score, _, _ = fresh_cpfean(joint)
    out = []
    for tile in tiles:
        shapes = [
            Fragments(jax.ShapeDtypeStruct((tile, n, joint), np.float32), jax.ShapeDtypeStruct((tile, n), bool))
            for n in (regions, tokens)
        ]
        needed = memory_of(jax.jit(lambda *x: score(*x)).lower(*shapes).compile())
        if needed is None:
            return []
        block = min(block_size(), tile * tile * regions * tokens)
        law = 4 * (tile * (regions + 2 * tokens) * joint + tile * tile + 4 * block)
        out.append((tile, sum(needed) / 1e9, law / 1e9))
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
    """Writes growth.md and growth.png to the folder; returns the figures."""
    found = {
        "batch": step_times(config, batch_sizes, repeats=repeats, regions=regions, width=width, tokens=tokens),
        "gallery": scoring_times(galleries, regions=regions, tokens=tokens, joint=joint, repeats=repeats),
        "tile": tile_memory(tiles, regions=regions, tokens=tokens, joint=joint),
    }
    found = {what: rows for what, rows in found.items() if rows}  # a backend may not tell its memory
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{config.model.name}, {where()}, {regions} regions x {width}, {tokens} tokens, joint width {joint}"
    write_whole(folder / "growth.md", _table(found, title))
    _plot(found, title, folder / "growth.png")
    flat = {f"{what} {x}": y for what, rows in found.items() for x, y, _ in rows}
    return flat | {"written": f"{folder / 'growth.md'}, {folder / 'growth.png'}"}


def _table(found: dict[str, Rows], title: str) -> str:
    out = [title, ""]
    for what, rows in found.items():
        size, unit, law = LAWS[what]
        out += [f"| {size} | {unit} | law: {law} | ratio |", "|---|---|---|---|"]
        out += [f"| {x} | {y:.4g} | {z:.4g} | {y / z:.2f} |" for x, y, z in rows] + [""]
    return "\n".join(out)


def _plot(found: dict[str, Rows], title: str, path: pathlib.Path) -> None:
    from itm_jax.viz.figures import panels, save

    figure, [axes] = panels(1, len(found), figsize=(4.6 * len(found), 4.4))
    for axis, (what, rows) in zip(axes, found.items(), strict=True):
        size, unit, law = LAWS[what]
        x, measured, expected = zip(*rows, strict=True)
        axis.plot(x, measured, "o-", label="measured")
        axis.plot(x, expected, "k--", linewidth=1, label="law")
        axis.set(xscale="log", yscale="log", xlabel=f"{size}\n\n{textwrap.fill(f'law: {law}', 48)}", title=unit)
        axis.set_xticks(x, [str(v) for v in x])
        axis.set_yticks(measured, [f"{v:.3g}" for v in measured])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(loc="upper left")
    figure.suptitle(title, fontsize=10)
    save(figure, path)
