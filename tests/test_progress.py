"""What the user sees while something takes long."""

from __future__ import annotations

import io

import pytest

from fim_magic.progress import BAR_CELLS, Meter, Pace, Progress, TerminalProgress, bar, silent


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def at(done: int, total: int = 1000, what: str = "Fetching") -> Progress:
    return Progress(what, done, total, unit="tensors")


def test_of_a_step_its_first_and_last_report_are_shown_and_one_in_so_many_seconds() -> None:
    clock = Clock()
    pace = Pace(0.2, clock)
    assert [pace.is_due(at(done)) for done in (0, 1, 2)] == [True, False, False]
    clock.now += 0.3
    assert [pace.is_due(at(done)) for done in (3, 4, 1000, 1000)] == [True, False, True, False]
    assert [pace.is_due(at(done, what="Reading")) for done in (0, 1)] == [True, False]


def test_bar_tells_amounts_and_speed() -> None:
    progress = Progress("Fetching m.gguf from PyPI", 312_000_000, 491_400_064, "B", seconds=10.0)
    assert bar(progress, 10) == "Fetching m.gguf from PyPI  ██████░░░░  312 / 491 MB  31.2 MB/s"


def test_bar_of_small_and_unknown_amounts() -> None:
    assert bar(Progress("Fetching", 1_500_000, 3_000_000), 4) == "Fetching  ██░░  1.5 / 3.0 MB"
    assert bar(Progress("Fetching", 500, 900), 3) == "Fetching  █░░  500 / 900 B"
    assert bar(Progress("Fetching", 12_000, 0), 3) == "Fetching  ░░░  12.0 kB"
    assert bar(at(3, 8), 8) == "Fetching  ███░░░░░  3 / 8 tensors"
    assert bar(at(3, 8), 8, ascii_only=True) == "Fetching  ###-----  3 / 8 tensors"


@pytest.mark.parametrize(("done", "total", "fraction"), [(0, 0, 0.0), (5, 0, 0.0), (5, 10, 0.5), (20, 10, 1.0)])
def test_fraction_stays_between_nothing_and_all(done: int, total: int, fraction: float) -> None:
    assert Progress("x", done, total).fraction == fraction


def test_speed_leaves_out_what_was_there_before() -> None:
    progress = Progress("x", 900, 1000, seconds=4.0, resumed=500)
    assert progress.rate == 100.0
    assert Progress("x", 900, 1000).rate == 0.0


def test_meter_reports_from_where_it_resumes_and_never_beyond_the_end() -> None:
    seen: list[Progress] = []
    meter = Meter(seen.append, "Fetching", 100, resumed=40)
    meter.report(70)
    meter.report(130)
    assert [(p.what, p.done, p.total, p.resumed) for p in seen] == [
        ("Fetching", 40, 100, 40),
        ("Fetching", 70, 100, 40),
        ("Fetching", 100, 100, 40),
    ]
    assert seen[-1].finished
    assert not seen[0].finished


def test_silent_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    silent(at(1))
    assert capsys.readouterr() == ("", "")


def test_terminal_draws_in_place_and_ends_its_line() -> None:
    stream, clock = Terminal(), Clock()
    show = TerminalProgress(stream, clock)
    show(at(0))
    clock.now += 1
    show(at(500))
    clock.now += 1
    show(at(1000))
    drawn = stream.getvalue()
    assert drawn.count("\r") == 3
    assert drawn.count("\n") == 1
    assert drawn.endswith("1000 / 1000 tensors\n")


def test_terminal_draws_ten_times_a_second_at_most_but_always_the_end() -> None:
    stream, clock = Terminal(), Clock()
    show = TerminalProgress(stream, clock)
    for done in range(0, 1001, 10):
        show(at(done))
        clock.now += 0.011
    # 101 reports in 1.1 seconds: the first, one for each tenth of a second, the last.
    assert 10 <= stream.getvalue().count("\r") <= 13
    assert stream.getvalue().endswith("1000 / 1000 tensors\n")


def test_terminal_says_the_end_once() -> None:
    stream, clock = Terminal(), Clock()
    show = TerminalProgress(stream, clock)
    show(at(1000))
    show(at(1000))
    assert stream.getvalue().count("\n") == 1


def test_shorter_line_leaves_nothing_of_the_longer_one() -> None:
    stream, clock = Terminal(), Clock()
    show = TerminalProgress(stream, clock)
    show(Progress("Fetching", 900, 1000, seconds=9.0))
    clock.now += 1
    show(Progress("Fetching", 900, 1000))
    first, second = stream.getvalue().split("\r")[1:]
    assert len(second) == len(first)


def test_next_step_begins_on_a_line_of_its_own() -> None:
    stream, clock = Terminal(), Clock()
    with TerminalProgress(stream, clock) as show:
        show(at(10, what="Fetching"))
        show(at(20, what="Checking"))
    lines = stream.getvalue().split("\n")
    assert lines[0].startswith("\rFetching")
    assert lines[1].startswith("\rChecking")
    assert lines[2] == ""


def test_line_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    TerminalProgress(stream, Clock())(at(1, what="Fetching a file with a very long name indeed"))
    assert len(stream.getvalue().strip("\r\n")) <= 39


def test_log_gets_a_line_for_each_tenth() -> None:
    stream = io.StringIO()
    show = TerminalProgress(stream, Clock())
    for done in range(1001):
        show(at(done))
    lines = stream.getvalue().splitlines()
    assert [line.split("  ")[-1] for line in lines] == [f"{done} / 1000 tensors" for done in range(0, 1001, 100)]
    assert "\r" not in stream.getvalue()


def test_stream_that_cannot_write_blocks_gets_ascii() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="cp1252")
    TerminalProgress(stream, Clock())(at(1000))
    assert "#" * BAR_CELLS in raw.getvalue().decode("cp1252")


def test_step_of_unknown_length_is_only_named() -> None:
    assert bar(Progress("Loading tiny", 0, 0, "")) == "Loading tiny …"
    assert bar(Progress("Loading tiny", 0, 0, ""), ascii_only=True) == "Loading tiny ..."
    assert bar(Progress("Loading tiny", 0, 0, "", seconds=0.9)) == "Loading tiny …"
    assert bar(Progress("Loading tiny", 0, 0, "", seconds=12.3)) == "Loading tiny … 12 s"
