"""Infills made again from the record of a saved notebook."""

from __future__ import annotations

from dataclasses import replace

import nbformat
import pytest
from scripted import ScriptedEngine

from fim_magic import cli
from fim_magic.candidate import Candidate, Ending, Result
from fim_magic.context import Context, ContextCell
from fim_magic.document import parse
from fim_magic.engines import Sampling
from fim_magic.errors import OptionError
from fim_magic.events import Finished
from fim_magic.loading.manager import MODELS
from fim_magic.pipeline import run
from fim_magic.provenance import add_answer, of_cell, record
from fim_magic.replay import Recorded, compare, recorded, request_of
from fim_magic.request import Request

BODY = "def mean(xs):\n    <cursor>\n    return total / len(xs)"


def result(*middles, **more):
    candidates = tuple(Candidate(middle, Ending.STOP_TOKEN) for middle in middles)
    return Result(parse(BODY), candidates, "tiny", "0123456789abcdef", "fim", "psm", 9, 0, 0, None, 0.1, 1.2, **more)


def answered(request, engine):
    return next(event.result for event in run(request, engine) if isinstance(event, Finished))


@pytest.fixture
def engine():
    engine = ScriptedEngine("total = sum(xs)", "total = 2")
    MODELS.adopt(engine)
    yield engine
    MODELS.unload()


@pytest.fixture
def notebook(tmp_path, engine):
    """A saved notebook: a cell that was filled, one with two candidates, one that was not."""

    def cell(source, request):
        made = nbformat.v4.new_code_cell(source)
        output = nbformat.v4.new_output("display_data", {"text/plain": "~"})
        output.metadata["fim_magic"] = record(answered(request, engine))
        made.outputs = [output]
        return made

    many = Request(parse("x = <cursor>"), candidates=2, sampling=Sampling(0.7, 0.9, 5))
    cells = [
        nbformat.v4.new_markdown_cell("# <cursor>"),
        cell(f"%%fim --model scripted\n{BODY}", Request(parse(BODY))),
        nbformat.v4.new_code_cell("other = 1"),
        cell("x = <cursor>", many),
    ]
    path = tmp_path / "n.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    engine.prompts.clear()
    return path


def test_a_notebook_tells_what_was_asked(notebook):
    first, second = recorded(notebook)
    assert (first.cell, second.cell) == (2, 4)
    assert request_of(first) == Request(parse(BODY), order="psm")
    asked = request_of(second)
    assert (asked.candidates, asked.sampling) == (2, Sampling(0.7, 0.9, 5))


def test_a_notebook_is_made_again(notebook, engine, capsys):
    assert cli.main(["replay", str(notebook)]) == 0
    assert capsys.readouterr().out == (
        "Cell 2: The same answer as before, character for character.\n"
        "Cell 4: The same answers as before, character for character.\n"
    )
    assert len(engine.prompts) == 2


def test_another_answer_is_said_and_is_a_failure(notebook, engine, capsys):
    engine.answers = ("total = 0", "total = 2")
    assert cli.main(["replay", str(notebook)]) == 1
    out = capsys.readouterr().out
    assert "Cell 2: It differs from character 9 on, though model and prompt are the same" in out
    assert "Cell 4: Candidate 1 differs" in out


def test_a_cell_that_was_edited_since_is_said(notebook, capsys):
    read = nbformat.read(notebook, 4)
    read.cells[1].source = "%%fim\ndef other():\n    <cursor>"
    read.cells[3].source = "x = 1"
    nbformat.write(read, notebook)
    assert cli.main(["replay", str(notebook)]) == 1
    out = capsys.readouterr().out
    assert "Cell 4: The cell does not hold what was filled any more. " in out


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"cells": [1]}', '{"cells": 1}'])
def test_what_is_no_notebook_is_refused(tmp_path, content):
    path = tmp_path / "n.ipynb"
    path.write_text(content)
    with pytest.raises(OptionError, match="no notebook"):
        recorded(path)


def test_a_notebook_without_records_and_one_that_is_not_there_are_refused(tmp_path, capsys):
    path = tmp_path / "n.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), path)
    assert cli.main(["replay", str(path)]) == 1
    assert cli.main(["replay", str(tmp_path / "none.ipynb")]) == 1
    err = capsys.readouterr().err
    assert "holds no record" in err
    assert "could not be read: No such file" in err


def test_a_record_of_an_earlier_version_is_refused():
    with pytest.raises(OptionError, match="earlier version"):
        request_of(Recorded(1, BODY, {"model": "tiny", "method": "fim", "candidates": []}))


def test_comparing_says_where_answers_part_and_why():
    told = record(result("abc", prompt_sha256="x"))
    assert compare(told, result("abc")) == (True, "The same answer as before, character for character.")
    assert (
        "It differs from character 3 on, though model and prompt are the same"
        in compare(told, result("abd", prompt_sha256="x"))[1]
    )
    assert "differs from character 4 on: the prompt is another one" in compare(told, result("abcd"))[1]
    assert "it was made with tiny (0123456789)" in compare(told, replace(result("x"), revision="f"))[1]
    assert compare(record(result("a", "b")), result("a", "c"))[0] is False


def test_another_precision_than_before_is_told():
    exact, packed = (result("abc", runs_on="cpu, float32"), result("abd", runs_on="cpu, packed (8 bits 100 %)"))
    for one in (exact, packed):
        assert record(one)["runs_on"] == of_cell(record(one), 0)["runs_on"] == one.runs_on
    assert "it was made on cpu, float32, and now on cpu, packed (8 bits 100 %)" in compare(record(exact), packed)[1]
    assert "though model and prompt are the same" in compare(record(result("abc")), packed)[1]  # of an earlier version


def test_a_record_of_an_answer_with_context_says_that_a_file_does_not_hold_it():
    seen = Context(cells=(ContextCell("seven = 7", 3),))
    told = record(result("abc", seen=seen, prompt_sha256="x"))
    assert "with cells and names of its session" in compare(told, result("abcd"))[1]
    # With what the session knows, as %fim replay has it, something else must be the reason.
    assert compare(told, result("abcd", seen=seen))[1].endswith("the prompt is another one.")
    assert compare(told, result("abc"))[0]


def test_answers_of_other_requests_are_not_compared():
    told = record(result("a", "b"))
    add_answer(told, result("z"))
    assert compare(told, result("a", "b", "x"))[0]
    del told["candidates"][:2]
    assert "nothing to compare" in compare(told, result("a", "x"))[1]
