"""The user's text, at every door: which markers are holes, what is no clean Unicode, line ends, notebooks as files.

Each row is one input and what is right. How it once went wrong stands beside rows that do not say it by themselves.
"""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from IPython.utils.capture import capture_output
from scripted import ScriptedEngine
from shells import extended_shell

from fim_magic import cli, complete, infill
from fim_magic.context.cells import code_cell
from fim_magic.document import parse
from fim_magic.errors import FimError, MarkerError, OptionError
from fim_magic.kernel import context_for, defined_names
from fim_magic.loading.manager import MODELS
from fim_magic.review.diff import diff
from fim_magic.settings import Settings
from fim_magic.trimming import Hole, trim

MEAN = "def mean(xs):\n    <cursor>\n    return total / len(xs)\n"
ANSWER = "total = sum(xs)"
FILLED = MEAN.replace("<cursor>", ANSWER)
BAR = 'def bar(full):\n    return "█" * full\n'


@pytest.fixture(scope="module")
def _model():
    """One engine for all tests: loading and unloading collect garbage, which takes most of a second each time."""
    engine = ScriptedEngine()
    MODELS.adopt(engine)
    yield engine
    MODELS.unload()


@pytest.fixture
def engine(_model):
    _model.answers = (ANSWER,)
    _model.prompts.clear()
    return _model


def asked(engine):
    """The prompt of the last request, as text."""
    return engine.tokenizer.decode(engine.prompts[-1])


def run(*arguments):
    return cli.main(["infill", *map(str, arguments), "--model", "scripted"])


# --- which markers are holes -----------------------------------------------------------------------

# `▮` stands where the hole is; every marker stays as it is.
HOLES = {
    "█ in a string beside <cursor>": (BAR + "x = ▮", "<cursor>", {}),
    "█ in a comment beside <cursor>": ("# ███ 3 of 9\nx = ▮\n", "<cursor>", {}),
    "█ in a docstring of several lines beside <cursor>": ('"""\n█▒\n"""\nx = ▮\n', "<cursor>", {}),
    "█ in a string beside █ in code": (BAR + "x = ▮\n", "█", {}),
    "█ behind <cursor> in the same string": ('print("▮ ██")\n', "<cursor>", {}),
    "█ behind the hole, in a comment at the end": ("x = ▮  # █", "<cursor>", {}),
    "<FILL_ME> in a template beside <cursor>": ('PROMPT = "a<FILL_ME>b"\nx = ▮\n', "<cursor>", {}),
    "<FILL_ME> in a template of several lines": ('P = """\n<FILL_ME>\n"""\nx = ▮\n', "<cursor>", {}),
    "a name in a string beside one in code": ('x = "HERE"\ny = ▮\n', "HERE", {"markers": None}),
    "█ in a string of bash": ('%%bash\necho "█"\nls ▮\n', "<cursor>", {}),
    "█ in a comment of SQL": ("%%sql\nselect 1 -- █\n, ▮\n", "█", {}),
    "█ after CR alone": ('s = "█"\rx = ▮\r', "<cursor>", {}),
    "the only marker, in a string": ('title = "▮"\n', "█", {}),
    "the only marker, in a comment": ("# ▮\nx = 1\n", "<cursor>", {}),
    "the marker that is named, wherever it stands": ('x = "▮"\ny = <cursor>\n', "@@", {"markers": ["@@"]}),
    "named, as one text": ('a = "█"\nx = ▮\n', "@@", {"markers": "@@"}),
}
COMPLETED = {
    "█ in the user's own string": BAR + "\nfor i in range(9):\n    print(bar(i))▮",
    "█ in a comment above": "# 3 of 9 ███\nx = 1\ny = ▮",
    "<FILL_ME> in a template": 'PROMPT = "a<FILL_ME>b"\nx = ▮',
    "a marker in code": "x = ▮\nprint(x)\n",
    "a string that breaks off": 'print("Hello ▮',
    "a comment at the end": "# what follows: ▮",
}


@pytest.mark.parametrize(("text", "marker", "options"), HOLES.values(), ids=HOLES)
def test_the_hole(text, marker, options):
    if "markers" in options and options["markers"] is None:  # not named for this call
        settings, options = Settings(markers=[marker]), {}
    else:
        settings = Settings()
    _, request = settings.request(text.replace("▮", marker), **options)
    assert [request.document.prefix, request.document.suffix] == text.split("▮")
    assert request.blanks is None


def test_a_completion_goes_on_from_a_tag_in_a_string():
    _, request = Settings().request('print("Dear <cursor>,")\nx = 1\n', complete=True)
    assert (request.document.prefix, request.document.suffix) == ('print("Dear ', ',")\nx = 1\n')


@pytest.mark.parametrize(
    ("text", "marker"),
    [(text, marker) for text in COMPLETED.values() for marker in ("", "<cursor>", "█") if marker or text.endswith("▮")],
)
def test_where_a_completion_goes_on(text, marker):
    _, request = Settings().request(text.replace("▮", marker), complete=True)
    assert [request.document.prefix, request.document.suffix] == text.split("▮")


SEVERAL = {
    "a tag in a docstring and one in the body": ('def f(x):\n    """<cursor>"""\n    <cursor>\n', {}),
    "two in strings": ('a = "█"\nb = "█"\n', {}),
    "named ones in strings and in code": ('a = "@@"\nb = @@\n', {"markers": ["@@"]}),
}


@pytest.mark.parametrize(("text", "options"), SEVERAL.values(), ids=SEVERAL)
def test_several_holes_stay_several(text, options):
    _, request = Settings().request(text, **options)
    assert request.document.holes == 2


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize("magic", ["%%html", "%%markdown", "%%latex"])
def test_a_tag_is_the_hole_of_markup(magic, complete):
    _, request = Settings().request(f"{magic}\n'█' and <cursor>\n", complete=complete)
    assert request.document.marker == "<cursor>"


@pytest.mark.parametrize("marker", ["\n", " ", "\t", "\ufeff", "\r", "\u200b", "a\nb"])
def test_a_marker_can_be_seen(marker):
    with pytest.raises(OptionError, match="can be seen"):
        Settings().request("x = <cursor>", markers=[marker])


@pytest.mark.parametrize("text", [None, b"x = <cursor>", 3, ["<cursor>"]])
@pytest.mark.parametrize("ask", [infill, complete])
def test_what_is_no_text_is_told(text, ask):
    with pytest.raises(FimError, match="has to be a str"):
        ask(text, model="scripted")


UNCLEAR = {
    "two kinds in code": ("x = █\ny = <cursor>\n", {}),
    "two tags in strings": ('x = "<FILL_ME>"\ny = "<cursor>"\n', {}),
    "two where a completion goes on from one": ("x = <cursor>\ny = <cursor>\n", {"complete": True}),
}


@pytest.mark.parametrize(("text", "options"), UNCLEAR.values(), ids=UNCLEAR)
def test_where_it_is_not_clear_the_option_is_named_that_settles_it(text, options):
    with pytest.raises(MarkerError, match='--markers "@@"'):
        Settings().request(text, **options)


def test_markers_are_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_MARKERS", "▮ @@")
    assert Settings().markers == ["▮", "@@"]
    assert Settings(markers=["█"]).markers == ["█"]
    monkeypatch.setenv("FIM_MAGIC_MARKERS", " ")
    with pytest.raises(OptionError, match="FIM_MAGIC_MARKERS"):
        Settings().request("x = ▮")


def test_markers_can_be_named_in_a_shell(tmp_path, engine, capsys):
    file = tmp_path / "bar.py"
    file.write_text(BAR + "x = @@\ny = <cursor\n", "utf-8")
    assert run(file, "--markers", "@@") == 0
    assert capsys.readouterr().out == BAR + f"x = {ANSWER}\ny = <cursor\n"


@pytest.mark.parametrize("ask", [infill, complete])
def test_no_marker_of_the_users_own_text_is_deleted(ask, engine):
    text = BAR + ("\nx = <cursor>\n" if ask is infill else "\nx = ")
    assert ask(text, model="scripted").text.startswith(BAR)


# Cells that ran: a string with a marker in it was taken for a hole, and neither the cell nor its names were known.
@pytest.mark.parametrize(
    ("cell", "is_code"),
    [
        pytest.param(BAR, True, id="█ in a string"),
        pytest.param('PROMPT = "<FILL_ME>"\n', True, id="a tag in a string"),
        pytest.param("x = <cursor>\n", False, id="a hole"),
        pytest.param('%%fim\nx = "█"\n', False, id="a hole in a string"),
    ],
)
def test_a_cell_with_a_marker_in_its_text_is_context(cell, is_code):
    assert (code_cell(cell) is not None) == is_code


# --- cells ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    with extended_shell(tmp_path_factory.mktemp("ipython")) as shell:
        yield shell


def told(shell, cell):
    with capture_output() as captured:
        result = shell.run_cell(cell)
    return captured.stdout + captured.stderr, result


MISTYPED = {
    "a comment above": (f"# the mean\n%%fim\n{MEAN}", "%%fim stands below other lines of this cell"),
    "code above": (f"x = 1\n\n%%fim\n{MEAN}", "Move %%fim to the top"),
    "%load_ext above": (f"%load_ext fim_magic\n%%fim\n{MEAN}", "other magics in a cell of their own"),
    "%%complete below": (f"# on\n%%complete\n{MEAN}", "Move %%complete to the top"),
    "one %": (f"%fim\n{MEAN}", "%fim with one % is a command"),
    "one %, with options": (f"%fim -n 3\n{MEAN}", "begin the cell with %%fim"),
    "one %, below a comment": (f"# the mean\n%fim\n{MEAN}", "%fim with one %"),
    "one % of %%complete": (f"%complete\n{MEAN}", "%complete with one %"),
    "a command above code": (f"%fim use tiny\n{MEAN}", "give each command a cell of its own"),
    "another case": (f"%%Fim\n{MEAN}", "There is no magic %%Fim"),
    "a space": (f"%% fim\n{MEAN}", "There is no magic %% fim"),
    "a colon": (f"%%fim:\n{MEAN}", "Put a space there"),
    "no space": (f"%%fim-n 3\n{MEAN}", "Put a space there"),
    "white space": (f"  %%fim\n{MEAN}", "Before %%fim stands white space"),
    "a tab": (f"%%fim\t-n 3\n{MEAN}", "Put a space there"),
    "a space of another kind": (f"%%fim\xa0-n 3\n{MEAN}", "Put a space there"),
    "another name": (f"%%infill\n{MEAN}", "There is no magic %%infill"),
    "a byte order mark": (f"\ufeff%%fim\n{MEAN}", "invisible character (U+FEFF)"),
    "a zero-width space": (f"\u200b%%fim\n{MEAN}", "invisible character (U+200B)"),
    "no magic at all": (MEAN, "put a line with %%fim above all others"),
    "█ without a magic": (MEAN.replace("<cursor>", "█"), "█ in this cell marks a hole"),
}
# A guest says nothing of cells that are not its own.
NOT_OURS = {
    "no marker": ("%fimm\nx = 1\n", "fimm"),
    "a marker in a string": ('"█" * 3', "███"),
    "a tag in a string": ('print("<cursor>")', "<cursor>"),
    "a magic in a string": ('print("""\n%%fim\n<cursor>""")', "%%fim"),
    "a comparison": ("cursor = b = 1\nprint(0 <cursor> b)", "False"),
    "a magic of somebody else": ("%%bigquery\nselect <cursor>", "%%bigquery` not found"),
    "its own configuration": ("%config FimMagics.markers = FimMagics.markers", ""),
}


@pytest.mark.parametrize(("cell", "words"), MISTYPED.values(), ids=MISTYPED)
def test_a_mistyped_magic_is_told_in_a_paragraph(shell, cell, words):
    text, result = told(shell, cell)
    assert words in " ".join(text.split())
    assert text.startswith("UsageError: ")
    assert "Traceback" not in text
    assert not result.success


@pytest.mark.parametrize(("cell", "words"), NOT_OURS.values(), ids=NOT_OURS)
def test_other_cells_are_left_alone(shell, cell, words):
    text, _ = told(shell, cell)
    assert words in text
    assert "hole" not in text


@pytest.mark.parametrize("cell", ["\n\n%%fim\n" + MEAN, ">>> %%fim\n" + MEAN, "In [3]: %%fim\n" + MEAN])
def test_blank_lines_and_prompts_before_the_magic_do_no_harm(cell, shell, engine):
    shell.run_line_magic("config", "FimMagics.model = 'scripted'")
    text, result = told(shell, cell)
    assert result.success
    assert ANSWER in text


def test_a_bar_is_no_hole_where_a_marker_alone_is_enough(shell):
    told(shell, "%fim auto on")
    try:
        text, _ = told(shell, BAR + "print(bar(3))")
        assert text == "███\n"
        assert "below other lines of this cell" in told(shell, f"# c\n%%fim\n{MEAN}")[0]
    finally:
        told(shell, "%fim auto off")


# --- what is no clean Unicode --------------------------------------------------------------------

HALF = 'label = "hi \ud83d"\n' + MEAN
UNCLEAN = {
    "before the hole": (HALF, "half a character (U+D83D) in line 1, column 13"),
    "behind the hole": (MEAN + "# \udfff", "half a character (U+DFFF) in line 4, column 3"),
    "beside the marker": ("x = \ud800<cursor>", "line 1, column 5"),
    "a byte that was not decoded": ("x = '\udce9'\n<cursor>", "a byte that is not UTF-8 (0xe9) in line 1, column 6"),
    "behind CR alone": ("x = 1\ry = '\ud83d'\r<cursor>", "line 2, column 6"),
    "without a marker": ("\ud83d", "line 1, column 1"),
}


@pytest.mark.parametrize("ask", [infill, complete])
@pytest.mark.parametrize(("text", "words"), UNCLEAN.values(), ids=UNCLEAN)
def test_half_a_character_is_told_with_its_place(text, words, ask, engine):
    with pytest.raises(FimError) as caught:
        ask(text, model="scripted")
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def test_half_a_character_in_a_cell_is_told(shell, engine):
    shell.run_line_magic("config", "FimMagics.model = 'scripted'")
    with capture_output() as captured, pytest.raises(Exception, match="line 1, column 13"):
        shell.run_cell_magic("fim", "", HALF)
    assert "Traceback" not in captured.stderr


@pytest.mark.parametrize(("option", "value"), [("check", "x == '\ud83d'"), ("markers", "\ud83d")])
def test_half_a_character_in_an_option_is_told(option, value, engine):
    with pytest.raises(FimError, match="half a character"):
        infill("x = <cursor>", model="scripted", **{option: value})


BYTES = {
    "Latin-1": (b'name = "caf\xe9"\nx = <cursor>\n', "0xe9 in line 1, column 12"),
    "a character that breaks off": ("x = <cursor>\n# é".encode()[:-1], "0xc3 in line 2, column 3"),
    "half a character": ("x = <cursor> \ud83d".encode("utf-8", "surrogatepass"), "0xed in line 1, column 14"),
    "UTF-16": (MEAN.encode("utf-16"), "it is UTF-16"),
    "UTF-16, without a mark": (MEAN.encode("utf-16-le"), "it is UTF-16"),
    "UTF-32": (MEAN.encode("utf-32"), "it is UTF-32"),
}


class Bytes:
    """Standard input as a process has it."""

    def __init__(self, data):
        self.buffer = io.BytesIO(data)


@pytest.mark.parametrize("door", ["file", "-", "notebook"])
@pytest.mark.parametrize(("data", "words"), BYTES.values(), ids=BYTES)
def test_bytes_that_are_no_text_are_told(data, words, door, tmp_path, monkeypatch, engine, capsys):
    file = tmp_path / ("cells.ipynb" if door == "notebook" else "cell.py")
    file.write_bytes(data)
    monkeypatch.setattr(sys, "stdin", Bytes(data))  # a process has no other
    assert run("-" if door == "-" else file) == 1
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_file_whose_name_is_no_text_is_told(tmp_path, engine, capsys):
    assert run(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.py")) == 1
    assert "could not be read" in capsys.readouterr().err


# What is only context is shown with a sign for what is missing, and never refused.
@pytest.mark.parametrize(
    ("cells", "names", "shown"),
    [
        pytest.param(["%%bash\nls '\ud83d'"], {}, "ls '\ufffd'", id="a cell of another language"),
        pytest.param([], {"a\ud83d": 1, "b\nc": 2, "total": 3}, "# total: int", id="names that are none"),
        pytest.param([], {"total": {"\ud83d": 1}}, "# total: dict", id="a key"),
    ],
)
def test_unclean_context_is_made_whole(cells, names, shown, engine):
    shell = SimpleNamespace(user_ns={**names, "In": ["", *cells]}, user_ns_hidden={})
    body = "%%bash\n<cursor>\n" if cells else MEAN
    context = context_for(shell, parse(body))
    assert shown in context.above_text
    context.above_text.encode()
    assert not {name for name in defined_names(shell) if not name.isidentifier()}


def test_unclean_cells_of_the_file_are_made_whole(tmp_path, monkeypatch):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# Half \ud83d"), nbformat.v4.new_code_cell("%%fim\n" + MEAN)]
    )
    (tmp_path / "n.ipynb").write_text("\ufeff" + json.dumps(notebook), "utf-8")  # and it begins with a mark
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "n.ipynb"))

    shell = SimpleNamespace(user_ns={"In": [""]}, user_ns_hidden={})
    assert context_for(shell, parse(MEAN)).above_text == "# # Half \ufffd\n\n"


# --- byte order marks ----------------------------------------------------------------------------

MARKED = {
    "before code": "\ufeff" + MEAN,
    "with CR LF": ("\ufeff" + MEAN).replace("\n", "\r\n"),
    "before the marker": "\ufeff<cursor>\nprint(total)\n",
    "of a cell of another language": "\ufeff%%bash\nls\n<cursor>\n",
}


@pytest.mark.parametrize("text", MARKED.values(), ids=MARKED)
def test_a_byte_order_mark_is_kept_and_not_seen(text, engine):
    marked, plain = infill(text, model="scripted"), infill(text[1:], model="scripted")
    assert marked.text == "\ufeff" + plain.text
    assert [one.checks for one in marked.candidates] == [one.checks for one in plain.candidates]
    assert marked.prompt_sha256 == plain.prompt_sha256
    assert len(engine.prompts) % 2 == 0  # for an answer that does not parse, others are made


@pytest.mark.parametrize("door", ["file", "-"])
def test_a_byte_order_mark_of_a_file_comes_out_again(door, tmp_path, monkeypatch, engine, capsys):
    data = ("\ufeff" + MEAN).replace("\n", "\r\n").encode()
    (tmp_path / "cell.py").write_bytes(data)
    monkeypatch.setattr(sys, "stdin", Bytes(data))
    assert run("-" if door == "-" else tmp_path / "cell.py") == 0
    assert capsys.readouterr().out.encode() == data.replace(b"<cursor>", ANSWER.encode())


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_an_import_goes_behind_the_mark_and_ends_as_the_lines_do(end, engine):
    engine.answers = ("total = Counter(xs)",)
    text = ("\ufeff" + MEAN).replace("\n", end)
    result = infill(text, model="scripted")
    added = "from collections import Counter" + end
    assert result.text == "\ufeff" + added + text[1:].replace("<cursor>", engine.answers[0])
    rows = diff(result.document, result.middle, (), result.candidates[0].imports)
    assert "".join(row.text for row in rows) == result.text
    assert [row.kind for row in rows] == ["added", "same", "added", "same"]


# --- line ends -----------------------------------------------------------------------------------


def cut(text, answer):
    """What a hole keeps of an answer that comes character by character."""
    hole = Hole(parse(text).for_model())
    cuts = (trim(hole, answer[:end], final=False) for end in range(1, len(answer) + 1))
    found = next((one for one in cuts if one is not None), None) or trim(hole, answer, final=True)
    return answer if found is None else answer[: found.at]


RUN_ON = ANSWER + "\n    return total / len(xs)\n\ndef median(xs):\n"
ENDS = {"LF": "\n", "CR LF": "\r\n", "CR": "\r"}


@pytest.mark.parametrize("theirs", ENDS.values(), ids=[f"answer: {name}" for name in ENDS])
@pytest.mark.parametrize("ours", ENDS.values(), ids=[f"text: {name}" for name in ENDS])
def test_line_ends_make_no_difference_to_where_an_answer_ends(ours, theirs):
    assert cut(MEAN.replace("\n", ours), RUN_ON.replace("\n", theirs)) == ANSWER


FORM_FEEDS = {
    "on the line that comes again": (
        "def f(xs):\n    <cursor>\n\f    return total\n",
        "x = 1│\n    return total\n    y",
    ),
    "in the answer": ("x = 2\n<cursor>\nprint(total)\n", "total = 1│\n\fprint(total)\nprint(3)\n"),
    "before a function": ("\fdef f(x):\n    y = <cursor>", "1│\n\f\ndef g(): pass\n"),
    "in a string": ("x = <cursor>\nprint(x)\n", '"a\fb"│\nprint(x)\n'),
    "a vertical tab in a string": ("x = <cursor>\nprint(x)\n", '"a\vb"│\nprint(x)\n'),
    "U+2028 in a string": ("x = <cursor>\nprint(x)\n", '"a\u2028b"│\nprint(x)\n'),
    "U+0085 in a string": ("x = <cursor>\nprint(x)\n", '"a\x85b"│\nprint(x)\n'),
}


@pytest.mark.parametrize(("text", "answer"), FORM_FEEDS.values(), ids=FORM_FEEDS)
def test_what_ends_no_line_of_python(text, answer):
    assert cut(text, answer.replace("│", "")) == answer.partition("│")[0]


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_rebuilt_text_has_its_own_line_ends(end, engine):
    engine.answers = ("total = 0\n    for x in xs:\n        total += x",)
    text = MEAN.replace("\n", end)
    result = infill(text, model="scripted")
    assert result.text == text.replace("<cursor>", result.middle.replace("\n", end))
    assert "\r" not in asked(engine)
    assert [row.number for row in diff(result.document, engine.answers[0])] == [1, 2, 3, 4, 5]
    both = infill(f"a = <cursor>{end}b = <cursor>{end}", model="scripted").text
    assert "\n" not in both.replace(end, "")


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_places_are_counted_in_lines_of_any_kind(end):
    with pytest.raises(MarkerError, match="█ in line 1, column 5; <cursor> in line 2, column 5"):
        parse(f"x = █{end}y = <cursor>{end}")


# A name of an answer in a text with CR alone raised an IndexError while its rows were counted.
def test_names_are_found_in_lines_of_any_kind(engine):
    engine.answers = ("total = Counter(xs)",)
    assert infill(MEAN.replace("\n", "\r"), model="scripted").candidates[0].imports


# --- notebooks as files --------------------------------------------------------------------------


def notebook_of(*cells, **metadata):
    """A notebook as nbformat writes it, from sources; those that begin with # are texts."""
    made = [
        nbformat.v4.new_markdown_cell(source, id=f"c{number}")
        if source.startswith("#")
        else nbformat.v4.new_code_cell(source, id=f"c{number}")
        for number, source in enumerate(cells)
    ]
    return nbformat.writes(nbformat.v4.new_notebook(cells=made, metadata=metadata)) + "\n"


CELLS = ("# Means, with é", "import math\nscale = 2", "%%fim -n 3\n" + MEAN.strip(), "mean([1, 2])")
FILLED_CELL = FILLED.strip()


WRITTEN = {
    "by nbformat": notebook_of(*CELLS),
    "without a line end": notebook_of(*CELLS).rstrip("\n"),
    "with CR LF": notebook_of(*CELLS).replace("\n", "\r\n"),
    "with a mark": "\ufeff" + notebook_of(*CELLS),
    "on one line": json.dumps(json.loads(notebook_of(*CELLS)), ensure_ascii=False),
    "with sources as texts": json.dumps(
        json.loads(nbformat.v4.writes(nbformat.reads(notebook_of(*CELLS), 4), split_lines=False)), indent=2
    ),
    "in ASCII, with half a character": notebook_of(*CELLS[:1], "x = 1.10e400", *CELLS[2:]).replace("é", r"\ud83d"),
}


@pytest.fixture
def notebook(tmp_path):
    def write(text=WRITTEN["by nbformat"]):
        path = tmp_path / "n.ipynb"
        path.write_bytes(text.encode())
        return path

    return write


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
def test_the_cell_with_the_hole_is_filled_and_all_else_is_as_it_was(text, notebook, engine, capsys):
    assert run(notebook(text)) == 0
    out = capsys.readouterr().out
    before, after = (json.loads(one.removeprefix("\ufeff")) for one in (text, out))
    assert "".join(after["cells"][2]["source"]) == FILLED_CELL
    assert type(after["cells"][2]["source"]) is type(before["cells"][2]["source"])
    after["cells"][2]["source"] = before["cells"][2]["source"]
    assert after == before
    old, new = (one.splitlines() for one in (text, out))
    changed = [line for line in old if line not in new]
    assert len(changed) <= 4 or len(old) == 1
    assert out.endswith(text[-3:])


def test_a_notebook_of_nbformat_stays_one(notebook, engine, capsys):
    assert run(notebook()) == 0
    out = capsys.readouterr().out
    assert out == nbformat.writes(nbformat.reads(out, 4)) + "\n"


def test_the_other_cells_are_context(notebook, engine, capsys):
    assert run(notebook()) == 0
    prompt = asked(engine)
    assert prompt.index("# # Means") < prompt.index("scale = 2") < prompt.index("def mean")
    assert "mean([1, 2])" not in prompt  # a cell below, as in a kernel
    assert run(notebook(), "--context", "all") == 0
    assert "mean([1, 2])" in asked(engine)
    assert run(notebook(), "--context", "none") == 0
    assert "scale" not in asked(engine)


def test_names_of_the_other_cells_are_known(notebook, engine, capsys):
    engine.answers = ("total = scale * sum(xs)",)
    assert run(notebook(), "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["cell"] == 3
    assert "".join(json.loads(said["text"])["cells"][2]["source"]) == FILLED_CELL.replace(ANSWER, engine.answers[0])
    assert [check["passed"] for check in said["candidates"][0]["checks"]] == [True, True]


def test_a_diff_of_a_notebook_is_that_of_its_cell(notebook, engine, capsys):
    assert run(notebook(), "--diff") == 0
    assert capsys.readouterr().out.startswith("  def mean(xs):\n+     total = sum(xs)\n")


@pytest.mark.parametrize("door", ["-", "file"])
def test_a_notebook_is_known_by_what_it_holds(door, tmp_path, monkeypatch, engine, capsys):
    text = notebook_of(*CELLS)
    (tmp_path / "n.json").write_text(text, "utf-8")
    monkeypatch.setattr(sys, "stdin", Bytes(text.encode()))
    assert run("-" if door == "-" else tmp_path / "n.json") == 0
    assert "".join(json.loads(capsys.readouterr().out)["cells"][2]["source"]) == FILLED_CELL


def test_a_cell_that_is_completed(notebook, engine, capsys):
    engine.answers = ("x",)
    assert run(notebook(notebook_of("%%complete\ny = <cursor>\nz"))) == 0
    assert json.loads(capsys.readouterr().out)["cells"][0]["source"] == ["y = x\n", "z"]


@pytest.mark.parametrize(
    "metadata",
    [
        {"language_info": {"name": "R", "file_extension": ".r"}},
        {"kernelspec": {"name": "ir", "language": "R", "display_name": "R"}},
    ],
    ids=["by its ending", "by its kernel"],
)
def test_a_notebook_of_another_language_is_filled_in_it(metadata, notebook, engine, capsys):
    engine.answers = ("x + 1",)
    assert run(notebook(notebook_of("x <- 1", "y <- <cursor>\n", **metadata)), "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert "x <- 1" in asked(engine)
    assert not [check for check in said["candidates"][0]["checks"] if check["name"] == "names"]


@pytest.mark.parametrize("said", [{"kernelspec": None}, {"language_info": None, "kernelspec": []}], ids=str)
def test_a_notebook_that_does_not_know_its_language_is_one_of_python(said, notebook, engine, capsys):
    assert run(notebook(notebook_of(*CELLS).replace('"metadata": {}', f'"metadata": {json.dumps(said)}'))) == 0
    assert json.loads(capsys.readouterr().out)["metadata"] == said


NO_NOTEBOOKS = {
    "no marker": (notebook_of("x = 1"), "no cursor marker in any of the notebook's code cells"),
    "a marker in a text": (notebook_of("# <cursor>"), "no cursor marker"),
    "two cells": (notebook_of("x = <cursor>", "y", "z = <cursor>"), "cells 1, 3"),
    "empty": ("", "it is not JSON"),
    "no JSON": ("x = <cursor>\n", "it is not JSON"),
    "nested too deep": ('{"cells": ' + "[" * 100_000, "it nests more than 500 levels deep"),
    "a list": ("[]", "it has no cells"),
    "no cells": ("{}", "it has no cells"),
    "cells of version 3": ('{"worksheets": [{"cells": []}]}', "it has no cells"),
    "a cell without a source": ('{"cells": [{"cell_type": "code"}]}', "it has no cells"),
    "a source that is a number": ('{"cells": [{"cell_type": "code", "source": 3}]}', "it has no cells"),
    "lines that are numbers": ('{"cells": [{"cell_type": "code", "source": [3]}]}', "it has no cells"),
    "a source that is an object": ('{"cells": [{"cell_type": "code", "source": {"<cursor>": 1}}]}', "it has no cells"),
    "cells that are none": ('{"cells": [3]}', "it has no cells"),
    "cells that are null": ('{"cells": null}', "it has no cells"),
    "half a character": (
        notebook_of("x = '?'\n<cursor>").replace("?", r"\ud83d"),
        "half a character (U+D83D) in line 1",
    ),
}


@pytest.mark.parametrize(("text", "words"), NO_NOTEBOOKS.values(), ids=NO_NOTEBOOKS)
def test_what_cannot_be_filled_in_a_notebook_is_told(text, words, notebook, engine, capsys):
    assert run(notebook(text)) == 1
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_bar_in_another_cell_is_no_hole(notebook, engine, capsys):
    assert run(notebook(notebook_of(BAR, "x = █"))) == 0
    assert json.loads(capsys.readouterr().out)["cells"][1]["source"] == [f"x = {ANSWER}"]
    assert "█" in asked(engine)


# --- in place ------------------------------------------------------------------------------------


def test_a_file_is_filled_in_place(notebook, engine, capsys):
    path = notebook()
    path.chmod(0o640)
    link = path.with_name("link.ipynb")
    link.symlink_to(path)
    assert run(link, "--in-place") == 0
    assert capsys.readouterr().out == ""
    assert "".join(json.loads(path.read_text("utf-8"))["cells"][2]["source"]) == FILLED_CELL
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(file.name for file in path.parent.iterdir()) == ["link.ipynb", "n.ipynb"]


def test_a_file_in_place_keeps_its_line_ends_and_mark(tmp_path, engine):
    path = tmp_path / "cell.py"
    data = ("\ufeff" + MEAN).replace("\n", "\r\n").encode()
    path.write_bytes(data)
    assert run(path, "--in-place") == 0
    assert path.read_bytes() == data.replace(b"<cursor>", ANSWER.encode())


def other_rights(path):
    path.chmod(0o4750)


def a_note(path):
    os.setxattr(path, "user.note", b"mine")


KEPT = {
    "a mode that a change of owner takes away": (other_rights, lambda path: path.stat().st_mode & 0o7777),
    "what the system keeps beside": (a_note, lambda path: os.listxattr(path)),
}


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="of Linux")
@pytest.mark.parametrize(("change", "look"), KEPT.values(), ids=KEPT)
def test_a_file_in_place_keeps_its_rights(change, look, tmp_path, engine):
    path = tmp_path / ("a" * 252 + ".py")  # the longest name there is: one that is longer was made beside it
    path.write_text(MEAN, "utf-8")
    change(path)
    before = look(path)
    assert run(path, "--in-place") == 0
    assert path.read_text("utf-8") == FILLED
    assert look(path) == before


NOTES = ["user.first", "user.second", "user.third"]


# No file can be made here whose attributes the system refuses to whoever made it.
@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="of Linux")
@pytest.mark.parametrize("call", ["getxattr", "setxattr"])
@pytest.mark.parametrize("refused", NOTES)
def test_a_file_in_place_keeps_what_may_be_kept(call, refused, tmp_path, engine, monkeypatch):
    path = tmp_path / "cell.py"
    path.write_text(MEAN, "utf-8")
    for name in NOTES:
        os.setxattr(path, name, name.encode())
    allowed = getattr(os, call)

    def refuse(file, name, *value):
        if name == refused:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        return allowed(file, name, *value)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        assert run(path, "--in-place") == 0
    assert path.read_text("utf-8") == FILLED
    assert {name: os.getxattr(path, name) for name in os.listxattr(path)} == {
        name: name.encode() for name in NOTES if name != refused
    }


@pytest.mark.skipif(not hasattr(os, "chown"), reason="Windows has no owners")
def test_a_file_in_place_keeps_its_group_where_its_owner_cannot_be_kept(tmp_path, engine, monkeypatch):
    path = tmp_path / "cell.py"
    path.write_text(MEAN, "utf-8")
    given = []

    def as_for_others_than_root(file, owner, group):
        if owner != -1:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        given.append((Path(file).stat().st_size, group))

    with monkeypatch.context() as patch:
        patch.setattr(os, "chown", as_for_others_than_root)
        assert run(path, "--in-place") == 0
    assert given == [(len(FILLED), path.stat().st_gid)]


def saved_by_an_editor(path):
    path.write_text("# mine\n", "utf-8")


def saved_at_once(path):
    path.write_text(MEAN.replace("mean", "MEAN"), "utf-8")


def replaced_by_a_link(path):
    (path.parent / "other.py").write_text("# mine\n", "utf-8")
    path.unlink()
    path.symlink_to("other.py")


MEANWHILE = {
    "saved by an editor": saved_by_an_editor,
    "saved, of the same length": saved_at_once,
    "another in its place": replaced_by_a_link,
    "deleted": lambda path: path.unlink(),
    "a folder in its place": lambda path: (path.unlink(), path.mkdir()),
}


# What somebody had saved meanwhile was lost, and a link was written through.
@pytest.mark.parametrize("change", MEANWHILE.values(), ids=MEANWHILE)
def test_what_changes_while_the_answer_is_made_is_not_written_over(change, tmp_path, engine, capsys):
    path = tmp_path / "cell.py"
    path.write_text(MEAN, "utf-8")
    seen = []

    def meanwhile(_step):
        if not seen:
            change(path)
            seen.append({file.name: file.read_text("utf-8") for file in tmp_path.iterdir() if file.is_file()})

    engine.before_step = meanwhile
    try:
        assert run(path, "--in-place") == 1
    finally:
        engine.before_step = lambda _step: None
    out, err = capsys.readouterr()
    assert "has changed while the answer was made" in err
    assert out == FILLED, "the answer is lost"
    assert {file.name: file.read_text("utf-8") for file in tmp_path.iterdir() if file.is_file()} == seen[0]


def test_links_in_a_circle_are_told(tmp_path, engine, capsys):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for option in ([], ["--in-place"]):
        assert run(tmp_path / "a", *option) == 1
        assert "could not be read: Too many levels" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["<cursor>\n" * 101, "x = <cursor>\n" * 20_000])
def test_more_holes_than_can_be_filled_are_refused(text, engine):
    with pytest.raises(MarkerError, match="100 are the most that are filled at a time"):
        infill(text, model="scripted")


def test_what_cannot_be_written_stays_as_it_was(tmp_path, engine, capsys):
    assert run("-", "--in-place") == 1
    assert "--in-place needs a file's name" in capsys.readouterr().err
    assert run(tmp_path, "--in-place") == 1
    assert "--in-place fills a file" in capsys.readouterr().err
    assert not engine.prompts  # nothing was made that would be lost


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="this system has no such file")
def test_a_file_without_an_end_is_not_read_to_it(engine, capsys, monkeypatch):
    monkeypatch.setattr("fim_magic.cli_files.LARGEST_NOTEBOOK", 2**20)  # so that the test is quick
    assert run("/dev/zero") == 1
    assert "more than 1 MB" in capsys.readouterr().err


def test_context_needs_a_notebook(tmp_path, engine, capsys):
    (tmp_path / "cell.py").write_text(MEAN, "utf-8")
    assert run(tmp_path / "cell.py", "--context", "cells") == 1
    assert "needs a notebook" in capsys.readouterr().err
