"""No text is looked at again and again: each regular expression takes time that grows as the text does.

`regex_attacks` finds every one by itself, and makes the texts out of what it is made of.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

import pytest
from regex_attacks import Found, attacks, patterns, seconds

from fim_magic import lexing
from fim_magic.cell_text import python_of
from fim_magic.checks.names import read_names
from fim_magic.columns import columns_of
from fim_magic.context import cells
from fim_magic.document import Document
from fim_magic.examples import examples_in
from fim_magic.languages.parsing import Tree
from fim_magic.languages.parsing import parse as parse_text
from fim_magic.languages.problems import problems, unclosed
from fim_magic.languages.structure import marks, text_at
from fim_magic.placing import import_place
from fim_magic.review.diff import diff, elided
from fim_magic.review.render import to_html
from fim_magic.trimming import Hole, trim
from fim_magic.visible import plain_text

FOUND = patterns()

SMALL, LONG, LONGER, LONGEST = 2_000, 8_000, 32_000, 200_000  # characters
NOISE = 0.005  # seconds; less is not compared


def test_they_are_found():
    assert len(FOUND) > 120
    assert {found.place.partition("/")[0].partition(":")[0] for found in FOUND} >= {"lexing", "trimming", "review"}


@pytest.mark.parametrize("found", FOUND, ids=[found.place for found in FOUND])
def test_its_time_grows_as_the_text_does(found: Found):
    texts = attacks(found.pattern)
    for make in texts:  # the cubic ones would never end below
        assert seconds(found.run, make(250)) < 0.2, make(40)
    worst = sorted(texts, key=lambda make: seconds(found.run, make(SMALL)), reverse=True)[:3]
    for make in worst:
        assert seconds(found.run, make(SMALL)) < 0.2, make(40)
        assert_linear(found, make, LONG, LONGER)
    assert_linear(found, worst[0], LONGER, LONGEST)


def assert_linear(found: Found, make, length: int, longer: int) -> None:
    short, long = make(length), make(longer)
    taken = seconds(found.run, long)
    if taken <= NOISE:
        return
    assert taken < 2, make(40)
    growth = longer / length
    for _ in range(5):
        ratio = seconds(found.run, long, 2) / seconds(found.run, short, 2)
        if ratio < growth**2 / 2:  # of four times the text, eight times the time: its square would be sixteen
            return
    raise AssertionError(f"{make(40)!r} takes {ratio:.1f} times as long at {growth:.1f} times the length")


# --- what looks at a text in a loop -------------------------------------------------------------------

_HOLE = Document("def f(x):\n    ", "\n    return x\n")


def trimmed(text: str) -> object:
    return trim(Hole(_HOLE), text, final=True)


def trimmed_before(suffix: str) -> object:
    return trim(Hole(Document("def f(x):\n    ", suffix)), "    y = 1\n    return x\n", final=True)


def trimmed_behind(prefix: str) -> object:
    return trim(Hole(Document(prefix, "\n    return x\n")), "    y = 1\n    return x\n", final=True)


def drawn(text: str) -> str:
    return to_html(elided(diff(_HOLE, text)), "")


def problems_in(language: str) -> Callable[[str], object]:
    return lambda text: problems(tree_of(language, text))


def tree_of(language: str, text: str) -> Tree:
    tree = parse_text(language, text)
    assert tree is not None
    return tree


def text_behind(text: str) -> object:
    return text_at(tree_of("cpp", text), len(text))


def tags(text: str) -> object:
    return unclosed(marks(tree_of("html", text + text.replace("<a>", "</i>"))))


def examples(text: str) -> object:
    return examples_in(ast.parse(f'def f(x):\n    """{text}"""\n'))


def likened(text: str) -> object:
    return cells.find_cell([cells.NotebookCell(text, markdown=False)], f"{text}\nend")


@pytest.mark.parametrize(
    ("run", "piece"),
    [
        pytest.param(lexing.state_after, "(", id="brackets that are never closed"),
        pytest.param(lambda text: list(lexing.events(text)), "[", id="all their events"),
        pytest.param(lambda text: list(lexing.events(text)), "((\n", id="over lines"),
        pytest.param(trimmed, "(", id="an answer of brackets"),
        pytest.param(trimmed, "a[", id="an answer of subscripts"),
        pytest.param(trimmed, "%%time\n", id="an answer of magics"),
        pytest.param(trimmed, " \n", id="an answer of blanks"),
        pytest.param(trimmed, "import a\n", id="an answer of imports"),
        pytest.param(trimmed_before, "{", id="a suffix of braces"),
        pytest.param(trimmed_before, "    return x\n", id="a suffix of one line"),
        pytest.param(trimmed_behind, "(", id="a prefix of brackets"),
        pytest.param(trimmed_behind, "a", id="a prefix of one word"),
        pytest.param(python_of, "%a\n", id="a cell of magics"),
        pytest.param(python_of, "%%time\n", id="a cell of cell magics"),
        pytest.param(python_of, "!ls\n", id="a cell of commands"),
        pytest.param(import_place, " ", id="a cell of blanks"),
        pytest.param(read_names, "\n", id="a cell of line ends"),
        pytest.param(drawn, "    \n", id="blank lines in colour"),
        pytest.param(drawn, "\r\n", id="Windows line ends in colour"),
        pytest.param(drawn, "a\u200d", id="joiners"),
        pytest.param(likened, "\n", id="cells of line ends"),
        pytest.param(likened, "x = 1\n", id="cells of one line"),
        pytest.param(problems_in("java"), "if a; then\n", id="lines that do not parse"),
        pytest.param(problems_in("c"), "if a; then\n", id="signs that are missing"),
        pytest.param(text_behind, "<a>", id="operators that lack what follows"),
        pytest.param(tags, "<a>", id="tags that close what is not open"),
        pytest.param(examples, " = ", id="a docstring of signs"),
        pytest.param(examples, "f(1) = 1 ", id="a docstring of calls"),
        pytest.param(examples, " ", id="a docstring of blanks"),
        pytest.param(plain_text, "\x1b", id="escapes"),
        pytest.param(plain_text, "می\u200c", id="non-joiners"),
        pytest.param(columns_of, "a\u0301", id="marks"),
    ],
)
def test_a_stage_takes_time_that_grows_as_the_text_does(run, piece):
    small, large = (piece * (length // len(piece)) for length in (2_000, 8_000))
    assert seconds(run, small[:400]) < 0.5  # a higher power would never end below
    if seconds(run, large) <= 4 * NOISE:
        return
    ratios = (seconds(run, large) / seconds(run, small) for _ in range(5))
    assert any(ratio < 8 for ratio in ratios)
