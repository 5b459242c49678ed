from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import QWEN, byte_tokenizer

from fim_magic.context import EMPTY_CONTEXT, MODES, Context, ContextCell, File, NameDescription, gather
from fim_magic.context.cells import NotebookCell, code_cell, find_cell, last_versions, of_notebook, text_cell
from fim_magic.context.gathering import names_in, names_near
from fim_magic.document import Document, parse
from fim_magic.errors import OptionError
from fim_magic.formats import completion_prompt, fim_prompt

# --- cells --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("x = 1\n", "x = 1"),
        ("\n\n    \nx = 1", "x = 1"),
        ("%matplotlib inline\n%pip install a\nx = 1", "x = 1"),
        ("!ls\nfiles = !ls\nx = 1\nnow = %timeit -o f()\n", "x = 1"),
        ("pip install pandas\nx = 1\ndf?\ndf.head??", "x = 1"),
        ("%%time\nx = f()", "x = f()"),
        ("y = (7\n % 4)\nx = y != 2", "y = (7\n % 4)\nx = y != 2"),
        ('text = """\n!not a command\n%nor this\n"""', 'text = """\n!not a command\n%nor this\n"""'),
        ("password = 'hunter2'", "password = '…'"),
        ("await f()", "await f()"),
    ],
)
def test_a_cell_as_a_script_has_it(source, shown):
    assert code_cell(source, 3) == ContextCell(shown, 3)


@pytest.mark.parametrize(
    "source",
    [
        "",
        " \n",
        "%pip install a",
        "%%fim\ndef f():\n    <cursor>",
        "%%complete\nx = ",
        "%%bash\nls",
        "x = <cursor>",
        "def f(:",
        "# 0.5 GB, the first time only\n%fim use qwen2.5-coder-0.5b",
        "# nothing yet",
    ],
)
def test_cells_of_no_use(source):
    assert code_cell(source) is None


def test_a_cell_with_a_marker_of_the_users_own():
    assert code_cell("x = '▮'") == ContextCell("x = '▮'")
    assert code_cell("x = ▮", markers=["▮"]) is None


def test_a_text_in_comments():
    assert text_cell("## Prices\n\nof **fruit**\n") == ContextCell("# ## Prices\n#\n# of **fruit**", markdown=True)
    assert text_cell(" \n") is None
    assert text_cell("password: hunter2") == ContextCell("# password: …", markdown=True)
    long = text_cell("\n".join(["a line of a long text"] * 100))
    assert len(long.source) < 800
    assert long.source.endswith("a line of a long text")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["x = 1", "y = 2", "x = 1"], ["y = 2", "x = 1"]),
        (
            ["def f(a):\n    return a + 1", "f(1)", "def f(a):\n    return a + 2"],
            ["f(1)", "def f(a):\n    return a + 2"],
        ),
        (
            ["df = read('a.csv')", "df = df.dropna().reset_index()"],
            ["df = read('a.csv')", "df = df.dropna().reset_index()"],
        ),
        (["x = 1", "y = 1"], ["x = 1", "y = 1"]),
        (["print(x)", "print(y)"], ["print(x)", "print(y)"]),
    ],
)
def test_of_a_cell_that_ran_again_the_last_version_is_kept(before, after):
    assert [cell.source for cell in last_versions([ContextCell(source) for source in before])] == after


def notebook(tmp_path, *cells):
    path = tmp_path / "n.ipynb"
    made = [{"cell_type": kind, "source": source, "metadata": {}, "outputs": ["secret"]} for kind, source in cells]
    path.write_text(json.dumps({"cells": made}))
    return path


def test_the_cells_of_a_file(tmp_path):
    path = notebook(tmp_path, ("markdown", ["# A\n", "text"]), ("code", "x = 1"), ("raw", "no"))
    assert of_notebook(path) == (NotebookCell("# A\ntext", markdown=True), NotebookCell("x = 1", markdown=False))


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"cells": 1}', '{"cells": [1]}', '{"cells": [{"cell_type": "code"}]}', "\0"]
)
def test_a_file_that_is_no_notebook(tmp_path, text, caplog):
    path = tmp_path / "n.ipynb"
    path.write_text(text)
    with caplog.at_level("INFO", logger="fim_magic"):
        assert of_notebook(path) == ()
    assert "The notebook's file could not be read" in caplog.text


def test_no_file(tmp_path):
    assert of_notebook(None) == of_notebook(tmp_path / "gone.ipynb") == of_notebook(tmp_path) == ()
    path = notebook(tmp_path, ("code", "x = 1"))
    assert of_notebook(path, largest=10) == ()


CELLS = [
    NotebookCell(source, markdown=False)
    for source in ("import os", "def mean(xs):\n    <cursor>\n", "mean([1])", "mean([1])")
]


@pytest.mark.parametrize(
    ("source", "at"),
    [
        ("import os", 0),
        ("%%fim -n 3\ndef mean(xs):\n    <cursor>\n", 1),
        ("def mean(xs):\n    total = <cursor>\n", 1),
        ("mean([1])", None),
        ("something else entirely, of which nothing is in the file", None),
    ],
)
def test_where_the_cell_stands(source, at):
    assert find_cell(CELLS, source) == at


# --- choosing -----------------------------------------------------------------------------------------------------


def test_names():
    assert names_in("x = df.size + f(y) if x else 'word'") == ["x", "df", "f", "y", "word"]
    assert names_near(parse("far = 1\nnear = <cursor> + after\nlast")) == ["after", "near", "last", "far"]


ABOVE = (
    ContextCell("import numpy as np", 1),
    ContextCell("# Prices", markdown=True),
    ContextCell("prices = [1, 2]", 2),
    ContextCell("unrelated = 0", 3),
)
BELOW = (ContextCell("print(total)"),)
NAMES = (
    NameDescription("prices", "# prices: list, length 2, of int"),
    NameDescription("np", "import numpy as np", by_source=True),
)
HOLE = parse("total = <cursor>prices\n")


def gathered(mode="auto", **more):
    return gather(HOLE, above=ABOVE, below=BELOW, described=NAMES, mode=mode, **more)


@pytest.mark.parametrize(
    ("mode", "above", "below", "names"),
    [("auto", 4, 0, 2), ("all", 4, 1, 2), ("cells", 4, 0, 0), ("names", 0, 0, 2), ("none", 0, 0, 0)],
)
def test_modes(mode, above, below, names):
    context = gathered(mode)
    assert (len(context.cells), len(context.below), len(context.described)) == (above, below, names)
    assert (context is EMPTY_CONTEXT) == (mode == "none")


def test_an_unknown_mode_is_refused():
    with pytest.raises(OptionError, match="auto, none, cells, names, all; 'some'"):
        gathered("some")
    assert MODES[0] == "auto"


def test_nothing_known_is_nothing_else():
    assert gather(HOLE) is EMPTY_CONTEXT


def test_what_is_relevant_comes_first_and_all_stays_in_the_notebooks_order():
    context = replace(gathered("all"), described=())
    order = sorted((cell.rank, cell.source) for cell in (*context.cells, *context.below))
    assert [rank for rank, _ in order] == [0, 1, 2, 3, 4]
    assert [source for _, source in order][:3] == ["prices = [1, 2]", "import numpy as np", "print(total)"]
    chosen = context.within(45, len)
    assert [cell.source for cell in chosen.cells] == ["import numpy as np", "prices = [1, 2]"]
    assert chosen.below == ()


def test_a_description_that_a_cell_shows_is_left_out():
    assert [each.name for each in gathered().within(1000, len).described] == ["prices"]
    assert [each.name for each in gathered("names").within(1000, len).described] == ["prices", "np"]


TEXTS = st.lists(st.text("abc =\n", min_size=1, max_size=60), max_size=8)


@given(TEXTS, TEXTS, TEXTS, st.integers(-5, 300), st.none() | st.integers(0, 100))
def test_what_is_chosen_fits(above, below, names, room, tokens):
    context = gather(
        HOLE,
        above=[ContextCell(text, at) for at, text in enumerate(above)],
        below=[ContextCell(text) for text in below],
        described=[NameDescription(text, f"# {text}") for text in names],
        mode="auto" if tokens else "all",
        tokens=tokens,
    )
    chosen = context.within(room, len)
    limit = max(0, room if context.tokens is None else min(room, context.tokens))
    assert len(chosen.above_text) + len(chosen.below_text) <= limit
    numbers = [cell.number for cell in chosen.cells]
    assert numbers == sorted(numbers)


def test_in_a_few_words_and_for_a_record():
    context = gathered("all")
    assert context.describe() == "3 cells above, 1 below, 1 text, 2 names"
    assert Context(below=BELOW).describe() == "1 cell below"
    assert Context(files=(File("a.py", ""),)).describe() == "1 file"
    assert EMPTY_CONTEXT.describe() == ""
    said = json.dumps(context.summary())
    assert json.loads(said) == {"cells": [1, 2, 3], "texts": 1, "below": 1, "names": ["prices", "np"], "files": []}


# --- prompts ------------------------------------------------------------------------------------------------------

TOKENS = byte_tokenizer()


def spelled(prompt):
    return "".join(piece.text for piece in prompt.pieces)


def prompt_of(document, context, room=4000, **more):
    return fim_prompt(QWEN, TOKENS, document, order="psm", room=room, context=context, **more)


def test_cells_are_code_above_and_below_and_names_stand_before_the_last_cell():
    prompt = prompt_of(HOLE, gathered("all"))
    assert spelled(prompt) == (
        "<|fim_prefix|>import numpy as np\n\n# Prices\n\nprices = [1, 2]\n\n"
        "# prices: list, length 2, of int\n\nunrelated = 0\n\ntotal = <|fim_suffix|>prices\n\nprint(total)\n<|fim_middle|>"
    )
    assert [piece.kind for piece in prompt.pieces if piece.kind != "sentinel"] == [
        "context",
        "prefix",
        "suffix",
        "context",
    ]
    assert prompt.context.describe() == "3 cells above, 1 below, 1 text, 1 name"


def test_left_to_right_nothing_stands_below():
    prompt = completion_prompt(QWEN, TOKENS, HOLE, room=4000, context=gathered("all"))
    assert spelled(prompt).endswith("# prices: list, length 2, of int\n\nunrelated = 0\n\ntotal = ")
    assert prompt.context.below == ()


def test_with_files_the_cells_stay_with_the_cell():
    context = Context("r", "n.py", (File("b.py", "B = 1\n"),), cells=ABOVE[:1])
    assert spelled(prompt_of(HOLE, context)) == (
        "<|repo_name|>r\n<|file_sep|>b.py\nB = 1\n\n<|file_sep|>n.py\n"
        "<|fim_prefix|>import numpy as np\n\ntotal = <|fim_suffix|>prices\n<|fim_middle|>"
    )


@given(st.integers(0, 260), st.integers(0, 120), st.integers(20, 300))
def test_the_text_around_the_hole_goes_first(before, after, room):
    document = Document("p" * before, "s" * after)
    alone, beside = (prompt_of(document, context, room) for context in (EMPTY_CONTEXT, gathered("all")))
    own = [[piece for piece in prompt.pieces if piece.kind != "context"] for prompt in (alone, beside)]
    assert own[0] == own[1]
    assert len(beside.ids) <= room
    assert (alone.dropped_prefix_tokens, alone.dropped_suffix_tokens) == (
        beside.dropped_prefix_tokens,
        beside.dropped_suffix_tokens,
    )


def test_typing_leaves_the_beginning_as_it_was():
    texts = [
        spelled(prompt_of(parse(f"total = {typed}<cursor>\n"), gathered())) for typed in ("", "p", "pri", "prices")
    ]
    until = [text.index("total = ") for text in texts]
    assert len({text[:at] for text, at in zip(texts, until, strict=True)}) == 1


def test_sentinels_in_a_cell_stay_text():
    prompt = prompt_of(HOLE, Context(cells=(ContextCell("x = '<|fim_middle|>'"),)))
    assert prompt.ids.count(TOKENS.sentinel("<|fim_middle|>")) == 1
