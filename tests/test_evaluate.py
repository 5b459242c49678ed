from __future__ import annotations

import gzip
import json

import pytest
from scripted import ScriptedEngine

from fim_magic.document import Document
from fim_magic.evaluate.human_eval_infilling import Task, answer, evaluate, interval, read, report
from fim_magic.evaluate.sandbox import passes
from fim_magic.request import Finished, Request, run

ROW = {
    "task_id": "T/0",
    "entry_point": "mean",
    "prompt": "def mean(xs):\n    ",
    "suffix": "\n    return total / len(xs)\n",
    "canonical_solution": "total = sum(xs)",
    "test": "def check(candidate):\n    assert candidate([1, 2, 6]) == 3\n",
}
TASK = Task("T/0", Document(ROW["prompt"], ROW["suffix"]), "total = sum(xs)", ROW["test"], "mean")
RUN_ON = "total = sum(xs)\n    return total / len(xs)\n\n    assert False\n"


@pytest.mark.parametrize(
    ("program", "right"),
    [
        ("print(1)", True),
        ("assert False", False),
        ("not python", False),
        ("raise SystemExit(1)", False),
        ("while True: pass", False),
        ("import time; time.sleep(60)", False),
        ("import socket; socket.create_connection(('127.0.0.1', 9))", False),
        ("x = bytearray(4 << 30)", False),
        ("open('big', 'wb').write(bytes(4 << 20))", False),
        ("print('游標', {'braces': 1}, '%s')", True),
        ("import os; assert 'HOME' not in os.environ", True),
        ("import pathlib; assert not list(pathlib.Path('.').iterdir())", True),
    ],
)
def test_sandbox(program, right):
    assert passes(program, seconds=1) is right


def test_file_is_read_in_its_order(tmp_path):
    path = tmp_path / "tasks.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as stream:
        for row in (ROW, ROW | {"task_id": "T/1"}):
            stream.write(json.dumps(row) + "\n")
    tasks = read(path)
    assert [task.task_id for task in tasks] == ["T/0", "T/1"]
    assert tasks[0] == TASK


def test_answer_is_cut_where_a_request_would_cut_it():
    engine = ScriptedEngine(RUN_ON)
    raw, cut, ended, _ = answer(engine, TASK, 200)
    *_, last = run(Request(TASK.document, max_new_tokens=200), engine)
    assert isinstance(last, Finished)
    assert raw == RUN_ON
    assert ended
    assert raw[: cut.at] == last.result.middle == "total = sum(xs)"


def test_same_sample_is_counted_raw_and_trimmed():
    (outcome,) = evaluate(ScriptedEngine("total = sum(xs)\n    return total / len(xs) +\n"), [TASK], 200)
    assert (outcome.raw_passes, outcome.passes, outcome.exact) == (False, True, True)
    assert outcome.rule == "unreachable"
    told = report([outcome])
    assert "raw model text          0    0.0%" in told
    assert "ended by fim-magic      1  100.0%" in told
    assert "mended 1, broke 0" in told


def test_answer_stops_at_the_token_limit():
    raw, _, ended, tokens = answer(ScriptedEngine("x" * 100), TASK, 7)
    assert (raw, ended, tokens) == ("x" * 7, False, 7)


def test_interval_is_wilsons():
    low, high = interval(60, 100)
    assert (round(low, 4), round(high, 4)) == (0.502, 0.6906)
    assert interval(0, 10)[0] == 0.0
    assert interval(0, 0) == (0.0, 1.0)
