"""Context, checks, several holes and ranking, as they are typed into a notebook."""
# ruff: noqa: F811 - fixtures that are imported, and named by tests

from __future__ import annotations

import pytest
from scripted import ScriptedEngine
from test_magics import BODY, FILLED, Outcome, engine, shell  # noqa: F401 - fixtures

from fim_magic.formats import FAMILIES
from fim_magic.loading.manager import MODELS


def seen(engine, at=-1):
    return engine.tokenizer.decode(engine.prompts[at])


@pytest.fixture
def worked(shell):
    for cell in ("import math", "prices = [1, 2]", "def test_mean():\n    assert mean([1, 2, 6]) == 3", "# %%\n"):
        assert Outcome(shell, cell).result.success


@pytest.mark.usefixtures("worked")
def test_the_model_sees_what_ran_and_what_is_known(shell, engine):
    Outcome(shell, "%%fim --into filled\ntotal = <cursor>sum(prices)")
    assert "prices = [1, 2]" in seen(engine)
    assert "# prices: list, length 2, of int" in seen(engine)
    assert "cells above" in shell.user_ns["filled"].context
    Outcome(shell, "%%fim --context none\ntotal = <cursor>sum(prices)")
    assert "prices = [1, 2]" not in seen(engine)
    Outcome(shell, "%%fim --context names\ntotal = <cursor>sum(prices)")
    assert "# prices: list" in seen(engine)
    assert "prices = [1, 2]" not in seen(engine)
    shell.run_line_magic("config", "FimMagics.context = 'cells'")
    Outcome(shell, "%%fim\ntotal = <cursor>sum(prices)")
    assert "# prices: list" not in seen(engine)
    assert "prices = [1, 2]" in seen(engine)


@pytest.mark.usefixtures("worked")
def test_a_context_that_does_not_exist_is_told(shell, engine):
    outcome = Outcome(shell, f"%%fim --context everything\n{BODY}")
    assert not outcome.result.success
    assert "Traceback" not in outcome.error
    assert "auto" in outcome.error
    assert engine.prompts == []


@pytest.mark.usefixtures("worked")
def test_names_of_the_notebook_are_known_to_the_check(shell, engine):
    engine.answers = ("total = math.fsum(xs)",)
    Outcome(shell, f"%%fim --into filled\n{BODY}")
    assert [check.passed for check in shell.user_ns["filled"].candidates[0].checks] == [True, True]


@pytest.mark.parametrize(
    "check",
    ['--check "mean([1, 2, 6]) == 3"', "--check 'mean([1, 2, 6]) == 3'", "--check test_mean"],
)
@pytest.mark.usefixtures("worked")
def test_a_check_chooses(shell, engine, check):
    engine.answers = ("total = max(xs)", "total = sum(xs)")
    outcome = Outcome(shell, f"%%fim {check} -n 2 --into filled\n{BODY}")
    assert outcome.result.success, outcome.error
    first, second = shell.user_ns["filled"].candidates
    assert (first.middle, second.middle) == ("total = sum(xs)", "total = max(xs)")
    assert (first.checks[-1].passed, second.checks[-1].passed) == (True, False)
    assert "parses, names known, your check passes" in outcome.out


def test_several_checks_and_doctests(shell, engine):
    body = 'def mean(xs):\n    """mean([2]) -> 2"""\n    <cursor>\n    return total / len(xs)'
    outcome = Outcome(shell, f"%%fim --check doctests --check 'mean([1, 2, 6]) == 3' -n 1 --into filled\n{body}")
    assert outcome.result.success, outcome.error
    names = [check.name for check in shell.user_ns["filled"].candidates[0].checks]
    assert sorted(names[2:]) == ["doctests", "mean([1, 2, 6]) == 3"]
    assert all(check.passed for check in shell.user_ns["filled"].candidates[0].checks)


def test_a_check_that_is_no_python_is_said_to_fail(shell, engine):
    outcome = Outcome(shell, f"%%fim --check 'mean(' -n 1\n{BODY}")
    assert outcome.result.success
    assert "mean(" in outcome.out
    assert "Traceback" not in outcome.out + outcome.error


def test_checks_run_outside_the_kernel(shell, engine):
    engine.answers = ("total = sum(xs); import os; os.environ['FIM_TEST'] = '1'; shared.append(1)",)
    Outcome(shell, "shared = []")
    Outcome(shell, f"%%fim --check 'mean([1, 2, 6]) == 3' -n 1 --into filled\n{BODY}")
    assert shell.user_ns["filled"].candidates[0].checks[-1].passed
    assert Outcome(shell, "import os; print('FIM_TEST' in os.environ, shared)").out == "False []\n"


def test_several_holes_are_accepted_together(shell, engine):
    engine.answers = ("1",)
    outcome = Outcome(shell, "%%fim --accept --into filled\na = <cursor>\nb = <cursor>")
    texts = [p["text"] for p in outcome.payload] or [outcome.next_input]
    assert texts == ["a = 1\nb = 1"]
    assert "\nHoles            2\n" in Outcome(shell, "%fim log 1").out
    assert shell.user_ns["filled"].holes == 2
    assert Outcome(shell, "%fim replay").out.endswith("The same answer as before, character for character.\n")


def test_a_model_that_cannot_infill_ranks_if_asked(shell):
    codegen = ScriptedEngine("total = sum(xs)", "total = 0", family=next(f for f in FAMILIES if f.name == "CodeGen"))
    codegen.likelihood = lambda _, ids: [0.0 if "= 0" not in codegen.tokenizer.decode(list(ids)) else -9.0 for _ in ids]
    MODELS.adopt(codegen)
    shell.run_line_magic("config", "FimMagics.model = 'scripted'")
    assert "cannot fill in the middle" in Outcome(shell, f"%%fim\n{BODY}").error
    outcome = Outcome(shell, f"%%fim --method rank -n 2 --into filled\n{BODY}")
    assert shell.user_ns["filled"].text == FILLED
    assert "1 of 2" in outcome.out
    assert "ranked by how probable it makes what follows" in Outcome(shell, "%fim log 1").out
    assert "--method is one of" in Outcome(shell, f"%%fim --method guess\n{BODY}").error
