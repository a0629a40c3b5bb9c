"""Sweeps under way: who stops, what is recorded, and the same end after an interruption."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from in_process import Evounet
from rich.console import Console
from toy_sweep import ToyTrial, play, report, sweep_section, swept

from experiments.run_folder import RunFolderError
from experiments.sweep.folder import SweepFolder
from experiments.sweep.halving import Halving
from experiments.sweep.outcome import best_trial, outcomes, trials_csv, trials_table
from experiments.sweep.records import Records
from experiments.sweep.scheduler import RecordingScheduler

# Four rounds; ASHA with factor 2 compares after rounds 1, 2 and 4.
WAYS = (
    (0.90, 0.80, 0.70, 0.60),
    (0.80, 0.99, 0.99, 0.99),  # behind at once
    (0.91, 0.70, 0.99, 0.99),  # behind after two
    (0.92, 0.85, 0.50, 0.65),  # behind after three, when nobody looks
    (0.93, 0.90, 0.80, 0.62),  # behind at the target, before the final training
)
ENDS = {
    "trial-01": ("done", 4),
    "trial-02": ("stopped", 1),
    "trial-03": ("stopped", 2),
    "trial-04": ("done", 4),
    "trial-05": ("stopped", 4),
}
SECTION = sweep_section(trials=5)


def ends(records: Records) -> dict[str, tuple[str | None, int]]:
    return {t.name: (t.end, len(records.reports_of(t.name))) for t in records.trials}


def test_those_behind_stop_where_they_are_compared(tmp_path: Path) -> None:
    assert ends(play(tmp_path / "sweep", SECTION, WAYS)) == ENDS


def test_grace_and_factor_say_when_and_how_many(tmp_path: Path) -> None:
    late = play(tmp_path / "late", sweep_section(grace_rounds=4), WAYS)
    assert {rounds for _, rounds in ends(late).values()} == {4}
    ways = [(0.5 + 0.01 * i,) for i in (0, 2, 1, 3)]
    # A third stays: what is below the 67th percentile of those before stops.
    few = play(tmp_path / "few", sweep_section(reduction_factor=3, grace_rounds=1), ways)
    assert [trial.end for trial in few.trials] == ["done", "done", "stopped", "done"]


def test_a_trial_that_comes_to_several_marks_at_once_is_compared_at_each() -> None:
    halving = Halving(SECTION, 4, [report("one", r, c, 4) for r, c in ((1, 0.9), (2, 0.8))])
    ahead_then_behind = report("two", 1, 0.7, 4).model_copy(update={"marks": ((1, 0.95), (2, 0.7))})
    assert halving.stops(ahead_then_behind)


class Interrupted(Exception):
    """A sweep was killed here."""


def kill_at(moment: int) -> Callable[[], None]:
    ticks = 0

    def clock() -> None:
        nonlocal ticks
        ticks += 1
        if ticks == moment:
            raise Interrupted

    return clock


def test_killed_at_any_moment_it_ends_as_undisturbed(tmp_path: Path) -> None:
    play(tmp_path / "whole", SECTION, WAYS)
    whole = (tmp_path / "whole" / "trials.json").read_bytes()
    moment, killed = 0, True
    while killed:
        moment += 1
        path = tmp_path / f"killed-{moment}"
        try:
            play(path, SECTION, WAYS, kill_at(moment))
            killed = False
        except Interrupted:
            play(path, SECTION, WAYS)
        assert (path / "trials.json").read_bytes() == whole
    assert moment > 30


def test_killed_again_and_again_it_ends_as_undisturbed(tmp_path: Path) -> None:
    play(tmp_path / "whole", SECTION, WAYS)
    path, left = tmp_path / "killed", 100
    # A trial tells all from its first round again, so every life is a little longer.
    for life in range(2, left):
        try:
            play(path, SECTION, WAYS, kill_at(life))
            break
        except Interrupted:
            pass
    assert Records.load(path / "trials.json") == Records.load(tmp_path / "whole" / "trials.json")


def test_what_was_told_before_is_answered_as_before(tmp_path: Path) -> None:
    """Even if ASHA had become another in between: the records are the truth."""
    path = tmp_path / "sweep"
    records = play(path, SECTION, WAYS)
    records["trial-02"].end = None
    records.save(path / "trials.json")
    play(path, SECTION, [(1.0,) * 4] * 5)
    again = Records.load(path / "trials.json")
    assert again.reports == records.reports


def test_a_failed_trial_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    records = play(path, SECTION, WAYS)
    records["trial-04"].end, records["trial-04"].note = "failed", "out of luck"
    records.save(path / "trials.json")
    assert records.open == []
    assert ends(play(path, SECTION, WAYS)) == ENDS
    assert Records.load(path / "trials.json")["trial-04"].note == ""


def test_failures_are_recorded_with_their_reason(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    records, lines = Records.fresh([{}, {}]), []
    scheduler = RecordingScheduler(folder, records, Halving(SECTION, 4, []), lines.append)
    one, two = (ToyTrial({"trial": f"trial-0{n}"}) for n in (1, 2))
    assert scheduler.on_trial_result(None, one, {"failure": "ValueError: no luck"}) == "STOP"
    scheduler.on_trial_complete(None, one, {})
    scheduler.on_trial_error(None, two)
    assert records.open == ["trial-02"]  # Tune may try it again
    scheduler.close()
    loaded = Records.load(folder.trials)
    assert [trial.end for trial in loaded.trials] == ["failed", "failed"]
    assert loaded["trial-01"].note == "ValueError: no luck"
    assert lines[0] == "trial-01: failed (ValueError: no luck)"


def test_tune_can_pickle_the_scheduler_and_gets_nothing(tmp_path: Path) -> None:
    records = Records.fresh([{}])
    halving = Halving(SECTION, 4, [])
    scheduler = RecordingScheduler(SweepFolder(tmp_path), records, halving, lambda line: None)
    assert vars(pickle.loads(pickle.dumps(scheduler))) == {}


@pytest.mark.parametrize("text", ["{", '{"version": 9, "trials": []}', '{"trials": 3}', "\xff"])
def test_damaged_records_are_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trials.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(RunFolderError, match=r"trials\.json: damaged \(.+\); restore it") as caught:
        Records.load(path)
    assert len(str(caught.value).splitlines()) == 1


# --- what a sweep comes to


def test_the_best_met_the_target_and_ended(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    found = outcomes(play(path, SECTION, WAYS), SweepFolder(path))
    assert [each.end for each in found] == ["done", "stopped", "stopped", "done", "stopped"]
    assert [each.met for each in found] == [True, False, False, True, True]
    best = best_trial(found, SECTION)
    assert best is not None
    assert best.name == "trial-04"
    assert best.clip == 0.65
    assert best_trial(found[1:3], SECTION) is None


def test_the_best_by_the_comparison(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    records = play(path, SECTION, WAYS)
    (path / "trial-01" / "result.json").write_text('{"clip_after": 0.9}')
    best = best_trial(outcomes(records, SweepFolder(path)), sweep_section(metric="final_clip"))
    assert best is not None
    assert best.name == "trial-01"
    assert best.final_clip == 0.9


def test_the_table_for_tools_and_for_people(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    found = outcomes(play(path, SECTION, WAYS), SweepFolder(path))
    lines = trials_csv(found, SECTION).splitlines()
    assert lines[0] == "trial,search.caution,rounds,latency_ms,clip,final_clip,target_met,end,best"
    assert lines[1] == "trial-01,0.0,4,0.0,0.6,0.5,True,done,False"
    assert lines[2] == "trial-02,1.0,1,30.0,0.8,,False,stopped,False"
    assert lines[4].endswith("done,True")
    shown = io.StringIO()
    Console(file=shown, width=100).print(trials_table(found, SECTION))
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in shown.getvalue().splitlines()
        if line.startswith("│ trial-")
    ]
    ended = ["trial-01", "caution=0.0", "4", "0.00", "0.6000", "0.5000", "met", "done"]
    behind = ["trial-02", "caution=1.0", "1", "30.00", "0.8000", "", "not met", "stopped"]
    assert rows[:2] == [ended, behind]
    assert [row[-1] for row in rows] == ["done", "stopped", "stopped", "best", "stopped"]


# --- its folder


def test_overwriting_a_sweep_takes_its_trials_along(tmp_path: Path) -> None:
    experiment = swept({"trials": 5, "parameters": {"search.caution": [0.0]}})
    folder = SweepFolder(tmp_path / "sweep")
    folder.create(experiment)
    play(folder.path, SECTION, WAYS)
    (folder.path / "note.txt").write_text("of its owner")
    folder.check_free(overwrite=True)
    folder.create(experiment)
    left = {each.name for each in folder.path.iterdir()}
    assert left == {".lock", "experiment.toml", "note.txt"}


@pytest.fixture
def finished(tmp_path: Path) -> SweepFolder:
    folder = SweepFolder(tmp_path / "sweep")
    cautions = [float(i) for i in range(5)]
    folder.create(swept({"trials": 5, "parameters": {"search.caution": cautions}}))
    play(folder.path, SECTION, WAYS)
    return folder


def test_a_finished_sweep_has_nothing_left_to_do(evounet: Evounet, finished: SweepFolder) -> None:
    before = finished.trials.read_bytes()
    answer = evounet("resume", finished.path)
    assert answer.code == 0
    export = f"evounet export {finished.trial('trial-04').path} --format diffusers --out found-unet"
    assert f"best: trial-04; {export}" in answer.out
    assert finished.table.read_text().startswith("trial,search.caution,rounds")
    assert finished.trials.read_bytes() == before


def test_one_process_at_a_time_works_on_a_sweep(evounet: Evounet, finished: SweepFolder) -> None:
    with finished.locked():
        assert "in use by process" in evounet.refused("resume", finished.path)
