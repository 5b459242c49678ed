"""Cells of other languages that nest without end, or are not what they seem: the user's text stays, and an end comes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from scripted import ScriptedEngine

import fim_magic.languages
from fim_magic import complete, infill
from fim_magic.document import Document, parse
from fim_magic.generation import prompt_for
from fim_magic.languages import SlowTextError, verdict
from fim_magic.languages.parsing import Patience
from fim_magic.languages.parsing import parse as parse_text
from fim_magic.loading.manager import MODELS
from fim_magic.request import Request
from fim_magic.trimming import Hole, trim
from fim_magic.trimming.parsed import parsed_hole

ANSWER = "x = 1"


@pytest.fixture(scope="module")
def engine():
    engine = ScriptedEngine(ANSWER)
    MODELS.adopt(engine)
    yield engine
    MODELS.unload()


# 20,000 levels took minutes: a node of tree-sitter looks for its parent from the root each time.
NESTED = {
    "parentheses": ("javascript", "(" * 20_000, ")" * 20_000),
    "braces": ("javascript", "{" * 20_000, "}" * 20_000),
    "templates": ("javascript", "`${" * 5_000, "}`" * 5_000),
    "elements": ("html", "<a>" * 5_000, "</a>" * 5_000),
    "operators": ("java", "int x = " + "a + " * 10_000, "b;"),
    "clauses": ("c", "if (a) {} else " * 3_000, ""),
    "blocks": ("julia", "begin " * 3_000, " end" * 3_000),
    "substitutions": ("bash", "$(" * 3_000, ")" * 3_000),
    "generics": ("rust", "type T = " + "A<" * 3_000, ">" * 3_000 + ";"),
    "brackets-that-stay-open": ("r", "[" * 20_000, ""),
}
ODD = {
    "a-heredoc-that-does-not-end": ("bash", "cat <<EOF\n$(ls `pwd`\n", "\n"),
    "a-heredoc-in-a-heredoc": ("bash", "cat <<A\n$(cat <<B\n", "\nB\n)\nA\n"),
    "a-script-in-an-element": ("javascript", "const e = <a><script>{`</script>`}", "</script></a>;\n"),
    "a-raw-string": ("cpp", 'auto s = R"x(a)"}', ')x";\n'),
    "a-dollar-quote": ("sql", "do $body$ begin ' ", " end $body$;\n"),
    "comments-in-comments": ("rust", "/* /* } */ ", " */ fn f() {}\n"),
    "line-separators": ("javascript", "a = 1;\u2028b = '\u2029", "';\n"),
    "a-line-of-blanks": ("go", "\t" * 20_000, "\n"),
    "tabs-and-cr-lf": ("java", "class A {\r\n\t", "\r\n}\r\n"),
}


@pytest.mark.parametrize("ask", [infill, complete])
@pytest.mark.parametrize(("magic", "before", "after"), [*NESTED.values(), *ODD.values()], ids=[*NESTED, *ODD])
def test_text_of_another_language_stays(magic, before, after, ask, engine):
    text = f"%%{magic}\n{before}<cursor>{after}"
    result = ask(text, model="scripted", candidates=1, max_new_tokens=8)
    middle = result.middle.replace("\n", "\r\n") if "\r\n" in text else result.middle
    assert result.text == text.replace("<cursor>", middle)
    assert middle in ("", ANSWER)


# Texts that are no code, of which some of tree-sitter's parsers take the square of the length, or go over them as often
# as there are fillers: 50,001 quotation marks took 28 s, and as many brackets minutes.
SLOW = {
    "quotation-marks": ("javascript", '"' * 50_001),
    "brackets": ("bash", "()" * 10_000),
    "heredocs": ("bash", "<<A\n" * 4_000),
    "comments-of-html": ("c", "<!--" * 3_000),
    "arrows": ("css", "=>" * 5_000),
}


@pytest.mark.parametrize(("language", "text"), SLOW.values(), ids=SLOW)
def test_a_text_that_takes_too_long_is_not_parsed(language, text):
    patience = Patience(0.02)
    hole = Hole(Document(f"%%{language}\n{text}", ""))
    with pytest.raises(SlowTextError):
        for _ in range(20):
            parse_text(language, text, patience)
    assert patience.seconds <= 0
    parsed = parsed_hole(hole)
    assert parsed is not None
    parsed.patience.seconds = 0.02
    assert trim(hole, "x = 1\n", final=True) is not None or parsed.is_too_slow
    assert parsed.is_too_slow
    assert parsed_hole(hole) is None  # the rules go by the layout of its lines
    assert verdict(language, hole.prefix, "x = 1", "") == (None, "it takes too long to parse")


def test_patience_is_for_all_that_is_put_into_a_hole():
    patience = Patience(0.5)
    parse_text("javascript", "f();\n" * 1000, patience)
    assert patience.seconds == 0.5, "what any code takes does not count"
    parse_text("javascript", '"' * 5_001, patience)
    assert 0 < patience.seconds < 0.5


def test_no_walk_asks_a_node_for_its_parent():
    """It is looked for from the root: what asks for it at each node takes the square of the depth."""
    for path in Path(fim_magic.languages.__file__).parent.glob("*.py"):
        asked = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute)]
        assert "parent" not in {node.attr for node in asked}, path.name


@pytest.mark.parametrize(("width", "is_healed"), [(8, True), (80, True), (81, False), (100_000, False)])
def test_indentation_that_would_take_as_long_as_an_answer_is_not_generated_again(width, is_healed, engine):
    request = Request(parse("if x:\n" + " " * width + "<cursor>\n"))
    assert prompt_for(request, engine).healed == (" " * width if is_healed else "")
