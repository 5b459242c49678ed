"""How many answers were taken: what is counted, where, and that counting is in nobody's way."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from scripted import ScriptedEngine
from shells import extended_shell, run_cell

from fim_magic import caret, cli, outcomes
from fim_magic.document import Document
from fim_magic.engines import EngineInfo, ServerInfo
from fim_magic.loading.manager import MODELS
from fim_magic.outcomes import TALLY, Outcome, Subject, stats_file
from fim_magic.weights import locked

SUBJECT = Subject("2026-11-30", "tiny", "fim", "JupyterLab")
CELL = "%%fim --model scripted\nsecret_name = <cursor>\n"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache without counts, and nothing that waits for it."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(folder))
    yield folder
    TALLY.failure = ""
    TALLY._waiting.clear()


@pytest.fixture
def shell(tmp_path):
    MODELS.adopt(ScriptedEngine("sum(xs)"))
    with extended_shell(tmp_path) as shell:
        yield shell
    MODELS.unload()


def counted() -> dict[tuple[str, str], dict[str, int]]:
    """What is in the file, without zeros, by kind and front end."""
    found = TALLY.read()
    return {
        (subject.kind, subject.front_end): {name: count for name, count in counts.items() if count}
        for subject, counts in found.items()
    }


def totals() -> dict[str, int]:
    (found,) = counted().values()
    return found


# --- decisions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decisions", "fate"),
    [
        ([], {}),
        (["accept"], {"accepted": 1}),
        (["replace"], {"accepted": 1}),
        (["reject"], {"rejected": 1}),
        (["part", "part"], {"in_part": 1}),
        (["part", "accept"], {"accepted": 1}),
        (["part", "reject"], {"in_part": 1}),
        (["part", "undo", "reject"], {"rejected": 1}),
        (["accept", "undo"], {}),
        (["accept", "undo", "reject"], {"rejected": 1}),
        (["accept", "reject"], {"accepted": 1}),
        (["copy"], {}),
        (["reject", "undo", "part", "copy"], {"in_part": 1}),
    ],
)
def test_an_answer_counts_once_by_what_became_of_it(decisions, fate):
    outcome = Outcome(SUBJECT)
    for decision in decisions:
        outcome.decided(decision)
    assert totals() == {"offered": 1, **fate}


def test_where_nothing_is_to_be_counted_there_is_no_file(cache):
    Outcome(None).decided("accept")
    assert not cache.exists()


def server(model):
    return ServerInfo("gpu:8000", "vLLM", model, is_encrypted=False, is_here=False)


@pytest.mark.parametrize(
    ("model", "served", "shown"),
    [
        ("qwen2.5-coder-0.5b", None, "qwen2.5-coder-0.5b"),
        ("bigcode/starcoder2-3b@main", None, "bigcode/starcoder2-3b@main"),
        ("vllm://gpu:8000", "bigcode/starcoder2-3b", "bigcode/starcoder2-3b"),
        ("ollama://gpu:11434/qwen:0.5b", "hf.co/owner/qwen:0.5b", "hf.co/owner/qwen:0.5b"),
        ("/home/me/thesis.gguf", None, "a .gguf file"),
        ("thesis.GGUF", None, "a .gguf file"),
        ("llama-server://here:8080", "/home/me/thesis.gguf", "a .gguf file"),
        ("~/my thesis", None, "a folder"),
        ("../mine", None, "a folder"),
        ("C:\\mine", None, "a folder"),
        ("a/b/c/d", None, "a folder"),
        ("vllm://gpu:8000", "\x1b[31m", "a folder"),
        ("vllm://gpu:8000", "a" * 10_000, "a folder"),
    ],
)
def test_a_model_is_counted_under_its_name_and_never_under_a_path(model, served, shown):
    info = EngineInfo(model, "", "torch", "cpu", "")
    info = info if served is None else replace(info, server=server(served))
    assert Subject.today(info, "fim", "terminal").model == shown


def test_a_folder_that_is_there_is_no_name(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert Subject.today(EngineInfo("mine", "", "torch", "cpu", ""), "fim", "terminal").model == "a folder"


# --- the file --------------------------------------------------------------------------------------


def test_the_file_can_be_read_and_tells_nothing_else(cache):
    Outcome(SUBJECT).decided("accept")
    first, second = map(json.loads, stats_file().read_text().splitlines())
    who = {"day": "2026-11-30", "model": "tiny", "kind": "fim", "front_end": "JupyterLab"}
    assert (first, second) == ({**who, "offered": 1}, {**who, "accepted": 1})
    assert stats_file() == cache / "stats" / "answers.jsonl"
    if os.name == "posix":
        assert stats_file().parent.stat().st_mode & 0o777 == 0o700


def test_several_processes_lose_nothing():
    program = f"""
from fim_magic.outcomes import Outcome, Subject
for _ in range(40):
    Outcome({SUBJECT!r}).decided("accept")
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    processes = [subprocess.Popen([sys.executable, "-c", program], env=environment) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert totals() == {"offered": 120, "accepted": 120}
    for line in stats_file().read_bytes().splitlines():
        json.loads(line)


def test_what_another_process_keeps_from_being_written_is_written_later():
    with locked("stats", lambda _: None, ""):
        outcome = Outcome(SUBJECT)
        assert not stats_file().exists()
        assert "another process" in TALLY.failure
    outcome.decided("part")
    assert not TALLY.failure
    assert totals() == {"offered": 1, "in_part": 1}


def test_a_copy_of_the_process_does_not_write_what_waits_in_it(monkeypatch):
    with locked("stats", lambda _: None, ""):
        Outcome(SUBJECT)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        TALLY.flush()
        assert not stats_file().exists()
    TALLY.flush()
    assert totals() == {"offered": 1}


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\xff\xfe",
        b'{"day": "2026-11-30", "mod',
        b"[" * 100_000,
        b"[]",
        b"7",
        b'{"day": "2026-11-30", "model": 3, "kind": "fim", "front_end": "a", "offered": 1}',
        b'{"day": "once", "model": "a", "kind": "fim", "front_end": "a", "offered": 1}',
        b'{"day": "2026-11-30", "model": "a", "kind": "fim", "front_end": "a", "offered": true}',
        b'{"day": "2026-11-30", "model": "a", "kind": "fim", "front_end": "a", "offered": 1e400}',
        b'{"day": "2026-11-30", "model": "a", "kind": "fim", "front_end": "a", "offered": ' + b"9" * 5000 + b"}",
    ],
)
def test_a_damaged_line_is_passed_over_and_the_next_one_stands_by_itself(damaged):
    Outcome(SUBJECT)
    with stats_file().open("ab") as file:
        file.write(damaged)  # without a line end
    Outcome(SUBJECT)
    assert totals() == {"offered": 2}


def test_the_file_is_summed_up_when_it_has_grown(monkeypatch):
    monkeypatch.setattr(outcomes, "_MOST_BYTES", 2000)
    for _ in range(30):
        Outcome(SUBJECT).decided("accept")
        assert stats_file().stat().st_size <= 2000
    assert totals() == {"offered": 30, "accepted": 30}


def test_the_oldest_days_are_left_out_where_sums_are_too_many(monkeypatch):
    monkeypatch.setattr(outcomes, "_MOST_BYTES", 1500)
    for day in range(10, 31):
        Outcome(replace(SUBJECT, day=f"2026-11-{day}"))
    assert stats_file().stat().st_size <= 1500
    days = sorted(subject.day for subject in TALLY.read())
    assert days[-1] == "2026-11-30"
    assert days == [f"2026-11-{day}" for day in range(31 - len(days), 31)]
    assert 5 <= len(days) < 21


def test_a_link_in_the_place_of_the_file_is_not_followed(cache, tmp_path):
    other = tmp_path / "other"
    other.write_text("mine")
    (cache / "stats").mkdir(parents=True)
    stats_file().symlink_to(other)
    Outcome(SUBJECT)
    assert other.read_text() == "mine"
    assert totals() == {"offered": 1}


# --- where answers are offered and taken -----------------------------------------------------------


def test_nothing_is_counted_before_it_is_switched_on(shell, cache):
    run_cell(shell, CELL)
    run_cell(shell, "%fim accept")
    assert not cache.exists()


def test_a_cell_counts_with_its_day_model_kind_and_front_end_and_no_text(shell, tmp_path):
    run_cell(shell, "%config FimMagics.stats = True")
    run_cell(shell, CELL)
    assert counted() == {("fim", "terminal"): {"offered": 1}}
    assert "accepted" not in run_cell(shell, "%fim log")
    run_cell(shell, "%fim accept")
    run_cell(shell, "%fim accept")
    run_cell(shell, CELL.replace("%%fim", "%%complete --accept"))
    assert [line.split()[-1] for line in run_cell(shell, "%fim log").splitlines()[1:]] == ["accepted", "accepted"]
    accepted = {"offered": 1, "accepted": 1}
    assert counted() == {("fim", "terminal"): accepted, ("complete", "terminal"): accepted}
    assert {subject.model for subject in TALLY.read()} == {"scripted"}
    text = stats_file().read_text()
    assert not any(word in text for word in ("secret_name", "sum", "cursor", str(tmp_path)))


def test_hints_and_python_calls_are_not_offered(shell, cache):
    run_cell(shell, "%config FimMagics.stats = True")
    run_cell(shell, CELL.replace("%%fim", "%%fim --hint"))
    run_cell(shell, "from fim_magic import infill; infill('a = <cursor>', model='scripted')")
    assert not cache.exists()


def test_what_nobody_sees_is_not_offered(shell, cache):
    run_cell(shell, "%config FimMagics.stats = True")
    shell.kernel = type("Kernel", (), {"get_parent": lambda self: {}})()  # as in nbclient
    try:
        run_cell(shell, CELL)
    finally:
        del shell.kernel
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_changes_nothing_for_a_request(shell, cache):
    run_cell(shell, "%config FimMagics.stats = True")
    cache.write_text("no folder")
    printed = run_cell(shell, CELL)
    assert "secret_name = ⟦sum(xs)⟧" in printed
    assert "rror" not in printed
    assert "rror" not in run_cell(shell, "%fim accept")
    assert "cannot be written" in run_cell(shell, "%fim log --stats")


def filled(shell, fate, *, pieces=None):
    """Fill at a caret; read so many pieces of the answer, and stop."""

    async def read():
        texts = 0
        async with aclosing(caret.fill(shell, Document("total = ", "\n"), fate, model="scripted")) as updates:
            async for update in updates:
                texts += isinstance(update, str)
                if texts == pieces:
                    return

    asyncio.run(read())


@pytest.mark.parametrize(
    ("decisions", "expected"),
    [
        ((), {}),
        (("drop",), {"rejected": 1}),
        (("take", "drop"), {"accepted": 1}),
        (("part", "drop"), {"in_part": 1}),
        (("part", "take", "drop", "drop"), {"accepted": 1}),
    ],
)
def test_ghost_text_counts_when_it_is_shown_and_when_it_is_taken_or_dropped(shell, decisions, expected):
    run_cell(shell, "%config FimMagics.stats = True")
    fate = caret.Fate()
    filled(shell, fate)
    for decision in decisions:
        {"take": fate.take, "part": lambda: fate.take("part"), "drop": fate.drop}[decision]()
    assert counted() == {("ghost", "terminal"): {"offered": 1, **expected}}


def test_another_front_end_says_what_it_is(shell):
    run_cell(shell, "%config FimMagics.stats = True")
    filled(shell, caret.Fate("caret", "JupyterLab"))
    assert counted() == {("caret", "JupyterLab"): {"offered": 1}}


def test_what_was_dropped_before_it_was_shown_was_not_offered(shell, cache):
    run_cell(shell, "%config FimMagics.stats = True")
    fate = caret.Fate()
    fate.drop()
    filled(shell, fate)
    fate.drop()
    assert not cache.exists()


def test_ghost_text_whose_fate_nobody_tells_is_not_counted(shell, cache):
    run_cell(shell, "%config FimMagics.stats = True")
    filled(shell, None)
    assert not cache.exists()


@pytest.mark.parametrize(("option", "fate"), [("--in-place", {"accepted": 1}), ("--diff", {}), ("--json", {})])
def test_the_command_line_counts_and_knows_only_what_it_has_written(tmp_path, monkeypatch, capsys, option, fate):
    monkeypatch.setenv("FIM_MAGIC_STATS", "1")
    MODELS.adopt(ScriptedEngine("sum(xs)"))
    file = tmp_path / "cell.py"
    file.write_text("total = <cursor>\n")
    assert cli.main(["infill", str(file), option, "--model", "scripted"]) == 0
    MODELS.unload()
    assert counted() == {("fim", "command line"): {"offered": 1, **fate}}
