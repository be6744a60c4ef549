"""What the library uses of the insides of others: where a new version of one breaks it, a test here says what and where.

setup.cfg has an upper bound for each of them.
"""

import grain
import numpy as np
import orbax.checkpoint as ocp
import pytest
from support.runs import lines, shrunk

from itm_jax.runs.checkpoints import FOLDER, UNFINISHED, Keep
from itm_jax.runs.loggers import Events
from itm_jax.training.loop import train


def test_grain_iterators_begin_at_any_index():
    """data/pipeline.py: `set_state({"next_index": step})` is how a run goes on at its step."""
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    iterator = iter(grain.MapDataset.range(10).repeat().to_iter_dataset(options))
    iterator.set_state({"next_index": 7})
    assert [int(next(iterator)) for _ in range(4)] == [7, 8, 9, 0], "grain: the state of an iterator has changed"


def test_grain_shuffles_each_epoch_anew_and_by_its_seed():
    """data/pipeline.py: a batch is a pure function of (seed, step); another order would change every run."""
    first = [int(x) for x in grain.MapDataset.range(8).seed(3).shuffle()]
    assert sorted(first) == list(range(8))
    both = grain.MapDataset.range(8).seed(3).shuffle().repeat()
    assert [int(both[k]) for k in range(8)] == first, "grain: the shuffle is no function of the seed"
    assert [int(both[8 + k]) for k in range(8)] != first, "grain: epochs are not shuffled anew"


def test_orbax_asks_the_policy_which_checkpoints_to_keep(tmp_path):
    """runs/checkpoints.py: `Keep` is a preservation policy; the callback runs before a step gets its final name."""
    seen = []
    options = ocp.CheckpointManagerOptions(
        preservation_policy=Keep({1: 1, 2: 1, 3: 1, 4: 1}),
        async_options=ocp.AsyncOptions(
            post_finalization_callback=lambda: seen.extend(p.name for p in tmp_path.glob(UNFINISHED))
        ),
    )
    with ocp.CheckpointManager(tmp_path, options=options) as manager:
        for step in (1, 2, 3, 4):
            manager.save(step, args=ocp.args.Composite(x=ocp.args.StandardSave({"a": np.arange(3)})), force=True)
            manager.wait_until_finished()
        assert sorted(manager.all_steps()) == [1, 3, 4], "orbax: the policy is not asked, or asked otherwise"
    assert len(seen) == 4, f"orbax: the callback does not see the unfinished directory ({UNFINISHED})"


def test_tensorboardx_writes_events_at_once(tmp_path):
    """runs/loggers.py: events are written by EventsWriter, without tensorboardX's thread."""
    events = Events(None, tmp_path, 1)
    events.scalar("train/loss", 2.5, 1)
    events.flush()
    [file] = tmp_path.glob("events*")
    assert b"train/loss" in file.read_bytes(), "tensorboardX: EventsWriter or its protobufs have changed"
    events.close()


@pytest.mark.usefixtures("one_device")
def test_files_of_a_checkpoint_have_the_names_that_the_reader_expects(tmp_path):
    train(shrunk(train__epochs=0.2), tmp_path)
    [step] = (tmp_path / FOLDER).iterdir()
    names = {path.name for path in step.iterdir()}
    assert {"variables", "progress", "meta", "files.json"} <= names, f"orbax: a checkpoint has {sorted(names)}"
    assert (step / "meta" / "metadata").is_file(), "orbax: JsonSave writes another file"
    assert lines(tmp_path)
