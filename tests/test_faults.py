"""Every fault of tests/faults: the run ends with a line, and the same command goes on with the same numbers."""

import pytest
from faults import run
from faults.trial import KILLED, Ended, fault

WHOLE = Ended(0, "run: continuing from step 9 of 12\nevaluating step 9 on test: 8 images, 40 captions\n")
NUMBERS = {"step": 9, "files": ["checkpoints", "results.json"]}


@fault(2, "no space left", refuses="another config")
def full_disk(trial):
    """A fault that is never tried."""


@pytest.mark.parametrize(
    ("ended", "message"),
    [
        (Ended(0, "error: no space left"), "exit code 0, not 2"),
        (Ended(KILLED, "error: no space left"), "exit code -9, not 2"),
        (Ended(2, "error: no memory left"), "no line with 'no space left'"),
    ],
)
def test_another_code_or_line_is_found(ended, message):
    assert run.check_harm(full_disk, Ended(2, "step 1\nerror: no space left on it\n")) == "error: no space left on it"
    with pytest.raises(AssertionError, match=message):
        run.check_harm(full_disk, ended)


@pytest.mark.parametrize("again", [Ended(2, WHOLE.text), Ended(0, "step 1"), Ended(0, f"error: x\n{WHOLE.text}")])
def test_a_run_that_did_not_come_through_is_found(again):
    run.check_that_it_came_through([WHOLE, WHOLE])
    with pytest.raises(AssertionError, match=r"Ended\(code="):
        run.check_that_it_came_through([again, WHOLE])
    with pytest.raises(AssertionError, match=r"Ended\(code="):
        run.check_that_it_came_through([WHOLE, Ended(4, "")])


@pytest.mark.parametrize("again", [WHOLE, Ended(2, "error: no space left"), Ended(1, "error: another config")])
def test_a_refusal_must_be_the_one_that_is_right(again):
    assert run.check_refusal(full_disk, [Ended(2, "error: another config, x")]) == "error: another config, x"
    with pytest.raises(AssertionError, match=r"Ended\(code="):
        run.check_refusal(full_disk, [again])


@pytest.mark.parametrize("change", [{"step": 12}, {"files": ["checkpoints", "results.json", "9.tmp"]}])
def test_other_numbers_and_files_are_found(change):
    run.check_numbers(NUMBERS, NUMBERS)
    with pytest.raises(AssertionError, match=f"OTHER {next(iter(change))}"):
        run.check_numbers(NUMBERS | change, NUMBERS)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Group -> the outcome of a run that nothing disturbs; made once."""
    made = {}

    def of(group):
        key = "several" if group == "several" else "one"
        if key not in made:
            made[key] = run.undisturbed(group, tmp_path_factory.mktemp(key))
        return made[key]

    return of


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "one"),
    [pytest.param(g, one, id=one.name) for g, faults in run.GROUPS.items() for one in faults],
)
def test_a_fault_ends_with_a_line_and_loses_nothing(expected, tmp_path, group, one):
    if why := run.why_left_out(one, group):
        pytest.skip(why)
    run.tried(one, group, tmp_path, expected(group))
