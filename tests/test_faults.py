"""Every fault of tests/faults: the run ends with a line, and the same command goes on with the same numbers."""

import os

import pytest
from faults import buckets, machine, several, storage
from faults.run import ROOT_ONLY, in_a_bucket, tried, undisturbed

pytestmark = pytest.mark.slow
GROUPS = {"machine": machine.FAULTS, "storage": storage.FAULTS, "several": several.FAULTS}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Group -> the outcome of a run that nothing disturbs; made once."""
    made = {}

    def of(group):
        key = group if group == "several" else "one"
        if key not in made:
            made[key] = undisturbed(tmp_path_factory.mktemp(key), key)
        return made[key]

    return of


@pytest.mark.parametrize(("group", "fault"), [(g, f) for g, faults in GROUPS.items() for f in faults])
def test_a_fault_ends_with_a_line_and_loses_nothing(expected, tmp_path, group, fault):
    if fault in ROOT_ONLY and os.geteuid():
        pytest.skip("mounts a small disk, which needs root")
    code, line, kept = tried(fault, group, tmp_path, expected(group))
    assert code != "hangs"
    assert kept == "the same numbers" or kept.startswith("refused: error:"), (line, kept)


@pytest.mark.parametrize("fault", buckets.FAULTS)
def test_a_fault_of_a_bucket(expected, tmp_path, fault):
    pytest.importorskip("obstore", reason="pip install -e '.[buckets]'")
    code, line, kept = in_a_bucket(fault, tmp_path, expected("machine"))
    assert code != "hangs"
    assert kept == "the same numbers", (line, kept)
