"""The values of a rendered table, for programs: JSON by row, and records for CSV with one value in a cell."""

from collections.abc import Mapping, Sequence
from typing import Any

from itm_jax.metrics.retrieval import RECALL_KEYS
from itm_jax.tables.cell import Cell
from itm_jax.tables.collect import Group, Line, by_objects
from itm_jax.tables.content import BEYOND, beyond_pairs, code_of
from itm_jax.tables.published import Published, place_of, published, published_beside
from itm_jax.tables.table import Table

Blocks = Mapping[str, Sequence[Line]]


def records(table: Table, dataset: str, blocks: Blocks, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Returns flat records of published rows, lines in every protocol, groups of images, ECCV Caption and CxC."""
    out: list[dict[str, Any]] = []
    where: dict[str, Any]
    for protocol, lines in blocks.items():
        where = {"table": table.name, "data": dataset, "protocol": protocol}
        place = place_of(lines[0].contents[0])
        for p in published(place, protocol, table.field):
            numbers = dict(zip(RECALL_KEYS, p.recalls, strict=True))
            out.append(where | {"row": p.name, "from": "published", **numbers, "rsum": p.rsum, "source": p.source})
        by_name = {line.row.name: line for line in lines}
        for line in lines:
            about = where | {"group": line.row.group, "row": line.row.name, "from": "measured", "x": line.row.x}
            out.append(about | {"seeds": len(line.seeds)} | _of_line(line, place, protocol))
            if table.kind == "objects":
                groups = by_objects(line, by_name.get(table.reference_of(line.row)))
                out += [about | {"seeds": len(line.seeds)} | _of_group(group) for group in groups]
    for row, values in beyond_pairs(table, cells).items():
        means = {f"{p}_{k}": m for (p, k), m in zip(BEYOND, values.mean(axis=0).tolist(), strict=True)}
        where = {"table": table.name, "data": dataset, "protocol": "beyond pairs", "row": row, "from": "measured"}
        out.append(where | {"seeds": len(values)} | means)
    return out


def _of_line(line: Line, place: str, protocol: str) -> dict[str, Any]:
    beside = published_beside(place, protocol, line.row.published)
    out: dict[str, Any] = {key: line.mean[key] for key in RECALL_KEYS}
    out |= {f"{key}_sd": line.sd[key] if line.sd else None for key in RECALL_KEYS}
    out |= {"rsum": line.mean["rsum"], "rsum_sd": line.sd["rsum"] if line.sd else None}
    out |= {"rsum_low": line.ci[0], "rsum_high": line.ci[1], "dev_rsum": line.dev}
    out |= {"difference": line.difference, "inside_noise": None if line.difference is None else line.noise}
    return out | {"published_rsum": beside and beside.rsum, "source": beside and beside.source}


def _of_group(group: Group) -> dict[str, Any]:
    out: dict[str, Any] = {"objects": group.name, "images": group.images}
    out |= dict(zip(RECALL_KEYS, map(float, group.recalls), strict=True))
    out |= {"rsum": float(group.recalls.sum()), "rsum_sd": group.sd, "rsum_low": group.ci[0], "rsum_high": group.ci[1]}
    return out | {"difference": group.difference, "inside_noise": None if group.difference is None else group.noise}


def as_json(table: Table, dataset: str, blocks: Blocks, cells: Sequence[Cell]) -> dict[str, Any]:
    """Returns everything that is known of the table, with its lines by protocol."""
    place = place_of(next(iter(blocks.values()))[0].contents[0])
    return {
        "table": table.name,
        "title": table.title,
        "question": table.question,
        "data": dataset,
        "reference": table.reference,
        "published": {p: [_published(r) for r in published(place, p, table.field)] for p in blocks},
        "protocols": {p: [_line(table, place, p, line, lines) for line in lines] for p, lines in blocks.items()},
        "beyond_pairs": {
            row: [dict(zip((f"{p}_{k}" for p, k in BEYOND), metrics, strict=True)) for metrics in values.tolist()]
            for row, values in beyond_pairs(table, cells).items()
        },
    }


def _published(result: Published) -> dict[str, Any]:
    numbers = dict(zip(RECALL_KEYS, result.recalls, strict=True))
    return {"method": result.name, "year": result.year, **numbers, "rsum": result.rsum, "source": result.source}


def _line(table: Table, place: str, protocol: str, line: Line, lines: Sequence[Line]) -> dict[str, Any]:
    beside = published_beside(place, protocol, line.row.published)
    reference = {other.row.name: other for other in lines}.get(table.reference_of(line.row))
    return {
        "row": line.row.name,
        "group": line.row.group,
        "x": line.row.x,
        "overrides": dict(line.row.overrides),
        "seeds": list(line.seeds),
        "mean": dict(line.mean),
        "sd": line.sd and dict(line.sd),
        "rsum_95": list(line.ci),
        "dev_rsum": line.dev,
        "reference": reference and reference.row.name,
        "difference": line.difference,
        "inside_noise": line.noise if line.difference is not None else None,
        "published": beside and _published(beside),
        "objects": [_of_group(group) for group in by_objects(line, reference)],
        "train_seconds": [c["seconds"]["train"] for c in line.contents],
        "config_hashes": [c.get("config_hash") for c in line.contents],
        "code": sorted(set().union(*map(code_of, line.contents))),
        "devices": sorted({c["devices"] for c in line.contents}),
    }
