"""What `%fim log --stats` prints, and that it deletes what it says."""

from __future__ import annotations

import pytest

from fim_magic.errors import FimError, OptionError
from fim_magic.outcomes import TALLY, Outcome, Subject, stats_file
from fim_magic.reports.stats import stats

SUBJECT = Subject("2026-11-30", "tiny", "fim", "JupyterLab")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    TALLY.failure = ""
    TALLY._waiting.clear()


def decided(subject, *decisions):
    outcome = Outcome(subject)
    for decision in decisions:
        outcome.decided(decision)


def test_a_table_by_model_and_kind_over_days_and_front_ends():
    decided(SUBJECT, "accept")
    decided(Subject("2026-10-02", "tiny", "fim", "terminal"), "part")
    decided(SUBJECT, "reject")
    decided(SUBJECT)
    decided(Subject("2026-11-30", "a-longer/name", "ghost", "terminal"), "accept")
    heading, first, second, *about = stats(["--stats"], is_on=True).splitlines()
    assert heading.split("  ")[0] == "model"
    assert heading.split() == ["model", "kind", "offered", "accepted", "in", "part", "rejected", "undecided"]
    assert first.split() == ["a-longer/name", "ghost", "1", "1", "0", "0", "0"]
    assert second.split() == ["tiny", "fim", "4", "1", "1", "1", "1"]
    assert first.index("ghost") == second.index("fim")
    assert about[0].startswith("Since 2026-10-02")
    assert about[1] == str(stats_file())
    assert "%fim log --stats --forget" in about[2]


def test_switched_off_it_says_how_to_switch_it_on_and_what_is_kept(cache):
    told = stats(["--stats"], is_on=False)
    assert "%config FimMagics.stats = True" in told
    assert "FIM_MAGIC_STATS=1" in told
    assert "nothing of your text" in told
    assert not cache.exists()


def test_what_was_counted_before_it_was_switched_off_is_shown():
    decided(SUBJECT, "accept")
    told = stats(["--stats"], is_on=False)
    assert "tiny" in told
    assert "Answers are not counted." in told
    assert "--forget" in told


def test_forget_deletes_the_file():
    decided(SUBJECT, "accept")
    assert "deleted" in stats(["--stats", "--forget"], is_on=True)
    assert not stats_file().exists()
    assert "no counts" in stats(["--stats", "--forget"], is_on=False)
    assert "tiny" not in stats(["--stats"], is_on=True)


def test_an_answer_that_is_taken_after_that_is_not_shown_without_its_offer():
    outcome = Outcome(SUBJECT)
    stats(["--stats", "--forget"], is_on=True)
    outcome.decided("accept")
    assert "tiny" not in stats(["--stats"], is_on=True)
    decided(SUBJECT)
    assert stats(["--stats"], is_on=True).splitlines()[1].split() == ["tiny", "fim", "1", "1", "0", "0", "0"]


def test_names_that_somebody_has_put_there_drive_no_terminal():
    decided(Subject("2026-11-30", "\x1b[31m" * 3, "\x1b]0;", "terminal"))
    told = stats(["--stats"], is_on=True)
    assert "\x1b" not in told
    assert "<U+001B>" in told


@pytest.mark.parametrize("words", [["--forget"], ["--stats", "3"], ["--start"]])
def test_other_words_are_refused(words):
    with pytest.raises(OptionError, match="--stats --forget"):
        stats(words, is_on=True)


@pytest.mark.parametrize("words", [["--stats"], ["--stats", "--forget"]])
def test_what_cannot_be_read_or_deleted_is_said_in_words(words):
    stats_file().mkdir(parents=True)
    with pytest.raises(FimError, match="cannot be read or deleted"):
        stats(words, is_on=True)


def test_that_nothing_can_be_written_is_said(cache):
    cache.write_text("no folder")
    decided(SUBJECT)
    assert "cannot be written" in stats(["--stats"], is_on=True)
    assert TALLY.failure
