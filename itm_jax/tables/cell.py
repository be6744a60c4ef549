"""One run of a table: its directory, its command, whether it is finished, and whether it has the table's config."""

import dataclasses
import hashlib
import json
import pathlib
import shlex
import sys
from collections.abc import Mapping
from typing import Any

from itm_jax import files
from itm_jax.config import default as config_lib
from itm_jax.config.derived import complete
from itm_jax.config.fields import FREE_FIELDS, flatten, read_json
from itm_jax.config.model_fields import BERT_ARCHITECTURE
from itm_jax.config.plugins import is_own
from itm_jax.errors import InputError
from itm_jax.runs.results import ranks_path
from itm_jax.tables import trained
from itm_jax.tables.table import Row

# Fields that a run fills in or changes itself: from a checkpoint, a vocabulary, or labels.
FILLED = ("model.text.vocab_size", "model.regions.label_names", "model.graph.iou")


@dataclasses.dataclass(frozen=True)
class Cell:
    """A row of a table with one seed.

    Attributes:
        row: the row of the table.
        seed: the seed of the run.
        config: the config of the run; for an ensemble, the config of its first member.
        workdir: the directory of the run.
        results: the file that the run writes: results.json or its like, of a trial metrics.jsonl.
        arguments: the arguments of `python -m itm_jax.main`.
        needs: the cells that must be finished before this one.
        changed: the fields that the command line changes in this row: the value of the table's file, and the given one.
        trial: whether the run is a trial of a search, which trains it and does not evaluate it on test.
    """

    row: Row
    seed: int
    config: Any
    workdir: pathlib.Path
    results: pathlib.Path
    arguments: tuple[str, ...]
    needs: tuple["Cell", ...] = ()
    changed: Mapping[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
    trial: bool = False

    @property
    def name(self) -> str:
        """The name that the user sees."""
        return f"{self.row.name}, seed {self.seed}"

    @property
    def state(self) -> str:
        """`finished`, `cut off` or `missing`."""
        if self.trial:
            return trained.state(self.workdir)
        if self.results.exists() and ranks_path(self.results).exists() and self._is_current():
            return "finished"
        return "cut off" if not self.needs and (self.workdir / "config.json").exists() else "missing"

    def _is_current(self) -> bool:
        """Returns whether the run ended, has the metrics that are asked for, and is not older than its `needs`."""
        content = self.content()
        if not content.get("finished", True) or (self.config.eval.ground_truth and "eccv" not in content["protocols"]):
            return False
        made = self.results.stat().st_mtime_ns
        return all(need.state == "finished" and need.results.stat().st_mtime_ns <= made for need in self.needs)

    def content(self) -> dict[str, Any]:
        """Returns the results of the run; of a trial its selection on dev, its steps, its seconds and its data."""
        if self.trial:
            return trained.content(self.workdir)
        return files.read_json(self.results, "remove it, and the run is evaluated again")

    @property
    def headline(self) -> str:
        """The result in a few words, for the progress line."""
        content = self.content()
        if self.trial:
            return f"dev rSum {content['selection']['rsum']:.1f}"
        return f"rSum {content['protocols']['full']['rsum']:.1f}"

    @property
    def command(self) -> str:
        """The shell command that makes the run, for copying."""
        return shlex.join([pathlib.Path(sys.executable).name, "-m", "itm_jax.main", *self.arguments])


def address(config: Any) -> str:
    """Returns a hash of 8 hexadecimal digits over the fields that decide a run's numbers and differ from the default.

    The seed is left out. A field that a later version adds does not change the hash.
    """
    default = flatten(config_lib.default_config())
    ours = {
        name: value
        for name, value in flatten(config).items()
        if name != "seed" and name not in FREE_FIELDS and value != default.get(name)
    }
    return hashlib.sha256(json.dumps(ours, sort_keys=True).encode()).hexdigest()[:8]


def check_config_of(cell: Cell) -> None:
    """Raises InputError where the run in a cell's workdir has other values than the table wants.

    This happens when a default has changed. The run decides the fields that the table does not set and the model does
    not derive.
    """
    path = cell.workdir / "config.json"
    if cell.needs or not path.exists():
        return
    values = flatten(read_json(path))
    filled = {*FILLED, *FREE_FIELDS}
    if cell.config.model.text.pretrained or cell.config.model.text.encoder == "gru":
        filled |= {f"model.text.{name}" for name in BERT_ARCHITECTURE}
    config = (
        cell.config if is_own(cell.config.model.name) else complete(cell.config)
    )  # an own module is not loaded here
    for name, wanted in flatten(config).items():
        if name not in filled and wanted is not None and values[name] != wanted:
            raise InputError(
                f"{path}: {name} is {values[name]!r}, the table wants {wanted!r}: another version of the library made "
                f"this run; move {cell.workdir} away, or use another --workdir"
            )
