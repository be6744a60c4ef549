"""metrics.jsonl of a continued run: its own lines are written again, those of the user stay."""

import json

import pytest

from itm_jax.runs.metrics_log import METRICS, MetricsWriter, read_metrics


class NoLogger:
    def scalar(self, name, value, step):
        pass

    def flush(self):
        pass

    def close(self):
        pass


def line(step, split="train"):
    return json.dumps({"step": step, "split": split, "loss" if split == "train" else "rsum": step / 4}).encode()


# What a user may add: JSON without a step and a split, text, bytes that are not UTF-8, separators of Unicode.
NOTES = (
    b'{"note": "halved the learning rate"}', b"# from here on with more memory", b"", b"[1, 2]", b'{"step": 9}', b"caf\xe9",
    "a\u2028b \x0b\x85".encode(), b'{"step": "9", "split": "train"}', b"[" * 5000,
)  # fmt: skip


def continued(folder, resumed_at):
    """The bytes of the file after a run has gone on from a step, and wrote one line more."""
    writer = MetricsWriter(folder, resumed_at, NoLogger())
    writer.write(resumed_at + 1, "train", {"loss": 0.5})
    writer.close()
    return writer, (folder / METRICS).read_bytes()


def test_lines_of_the_user_stay_where_they_are(tmp_path):
    lines = [NOTES[0], line(1), line(2), line(2, "dev"), *NOTES[1:], line(3), b"between", line(4, "dev"), b"last"]
    (tmp_path / METRICS).write_bytes(b"\n".join(lines) + b"\n")
    writer, data = continued(tmp_path, 2)
    own = json.dumps({"step": 3, "split": "train", "loss": 0.5}).encode()
    assert data.split(b"\n") == [*lines[:4], *NOTES[1:], b"between", b"last", own, b""]
    assert writer.kept == [json.loads(x) for x in lines[1:4]]
    assert writer.last_step == 4
    assert read_metrics(tmp_path) == [*writer.kept, json.loads(own)]


@pytest.mark.parametrize("note", [b"a note", b'{"note": 1}', b"caf\xe9"])
def test_a_note_without_a_line_end_gets_one(tmp_path, note):
    (tmp_path / METRICS).write_bytes(line(1) + b"\n" + note)
    _, data = continued(tmp_path, 1)
    assert data.split(b"\n")[:2] == [line(1), note]
    assert [x["step"] for x in read_metrics(tmp_path)] == [1, 2]


@pytest.mark.parametrize("cut", [line(2)[:1], line(2)[:9], line(2)[:-1], b"\0" * 7])
def test_a_line_that_the_run_did_not_finish_goes(tmp_path, cut):
    (tmp_path / METRICS).write_bytes(line(1) + b"\n" + cut)
    assert [x["step"] for x in read_metrics(tmp_path)] == [1]
    _, data = continued(tmp_path, 1)
    assert data.startswith(line(1) + b'\n{"step": 2, "split": "train", "loss": 0.5}')


def test_a_run_that_begins_anew_keeps_notes_alone(tmp_path):
    (tmp_path / METRICS).write_bytes(line(1) + b"\nnote\n")
    writer, data = continued(tmp_path, 0)
    assert (writer.kept, writer.last_step) == ([], 1)
    assert data == b'note\n{"step": 1, "split": "train", "loss": 0.5}\n'
    assert read_metrics(tmp_path / "nowhere") == []
