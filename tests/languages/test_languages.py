"""Which language a text is in, and what its parser says of it."""

from __future__ import annotations

import builtins
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsed_rules import PARSED
from scripted import ScriptedEngine

from fim_magic import cli, reports
from fim_magic.checks import CheckSpec, look, parses
from fim_magic.context.cells import language_of
from fim_magic.document import Document, parse
from fim_magic.holes import split
from fim_magic.languages import (
    GRAMMARS,
    available,
    magic_of,
    of_cell,
    of_file,
    parse_hole,
    parsing,
    title,
    to_install,
    verdict,
)
from fim_magic.languages.detection import begins_at
from fim_magic.languages.parsing import parse as parse_text
from fim_magic.languages.problems import problems
from fim_magic.languages.structure import marks, statements, text_at
from fim_magic.loading.manager import MODELS
from fim_magic.trimming import RULES, Hole, statement_ends

CELLS = {
    "x = 1": "python",
    "": "python",
    "%%time\nx": "python",
    "%%capture out\n%%timeit -n 3\nx": "python",
    "%%python3\nx": "python",
    "%%writefile pkg/mean.py\nx": "python",
    "%%bash\nls": "bash",
    "\n%%sh\nls": "bash",
    "%%time\n%%bash\nls": "bash",
    "%%script bash --out x\nls": "bash",
    "%%script --bg /usr/bin/node\nf()": "javascript",
    "%%javascript\nf()": "javascript",
    "%%js": "javascript",
    "%%typescript\n": "typescript",
    "%%html --isolated\n<p>": "html",
    "%%HTML\n<p>": "html",
    "%%css\n": "css",
    "%%sql sqlite://\nSELECT 1": "sql",
    "%%bigquery df\nSELECT 1": "sql",
    "%%duckdb\nSELECT 1": "sql",
    "%%R -i df\nx": "r",
    "%%julia\nx": "julia",
    "%%c\nint x;": "c",
    "%%cpp -d\nint x;": "cpp",
    "%%java\nint x;": "java",
    "%%rust\nfn": "rust",
    "%%go\nfunc": "go",
    "%%yaml\na: 1": "yaml",
    "%%markdown\n# A": "markdown",
    "%%writefile 'src/a b.rs'\nx": "rust",
    '%%file "q.SQL"\nx': "sql",
    "%%writefile Makefile\nall:": "text",
    "%%latex\n$x$": "latex",
    "%%SVG\n<svg/>": "svg",
    "%%ruby\nputs 1": "ruby",
    "%%unheard_of\nx": "unheard_of",
    "%%script\n": "text",
}

FILES = {
    "a.py": "python",
    "a.pyi": "python",
    "dir.js/a.ts": "typescript",
    "a.tsx": "tsx",
    "a.mjs": "javascript",
    "A.HTML": "html",
    "a.css": "css",
    "a.sql": "sql",
    "a.sh": "bash",
    "a.R": "r",
    "a.jl": "julia",
    "a.h": "c",
    "a.hpp": "cpp",
    "A.java": "java",
    "a.rs": "rust",
    "a.go": "go",
    "a.yml": "yaml",
    "README.md": "markdown",
    "a.rb": "ruby",
    "notes.txt": "text",
    "Makefile": "",
    "-": "",
    "a.unheard": "",
}

# language: what parses; what does not, in which line, and what is said of it
SOURCES = {
    "bash": ('for f in *; do\n  if a; then echo "$(ls {})"; fi\ndone\n', "if a; then\n  b\n", 2, "'fi' is missing"),
    "c": ("#include <stdio.h>\nint f(int a) { return a; }", "int f(int a) {\n  return a;\n", 2, "'}' is missing"),
    "cpp": ("template <class T> T f(T a) { return a; }\n", "class A {\n  int b(;\n};\n", 2, "')' is missing"),
    "css": ("@media (x: 1) { p > a { color: red; } }", "a {\n  color: red;\n", 2, "'}' is missing"),
    "go": ("package main\n\nfunc f(a int) int {\n\treturn a\n}\n", "func f( {\n}\n", 1, "')' is missing"),
    "html": ("<!DOCTYPE html>\n<div><p>a<br><ul><li>b</ul></div>", "<div>\n  <b>a\n</div>", 2, "<b> is not closed"),
    "java": ("class A {\n  int f() { return 1; }\n}\n", "class A {\n  int f( }\n", 2, "'(' is not closed"),
    "javascript": ("const f = async (x) => `a ${await x}`;\n", "let x = 1;\nf(x));\n", 2, "')' is not expected"),
    "julia": (
        "f(x) = x[end]\nfor i in 1:3\n  f(i)\nend\n",
        "x = 1\nfunction f(x)\n  x\n",
        2,
        "'function' is not closed",
    ),
    "markdown": ("# A\n\n- b\n\n```js\nf(\n```\n", None, 0, ""),
    "r": ("f <- function(x) {\n  x %>% g()\n}\n", "f <- function(x) {\n  x\n", 2, "'}' is missing"),
    "rust": ("fn f(x: &str) -> i32 { x.len() as i32 }\n", "fn f() {\n  let x = ;\n}\n", 2, "'=' is not expected"),
    "sql": ("SELECT a, CASE WHEN b THEN 1 END FROM t;\n", "SELECT a\nFROM (b;\n", 2, "'(' is not closed"),
    "tsx": ("const a = <p>{x as number}</p>;\n", "const a = <p>;\n", 1, None),
    "typescript": ("interface A { b?: number }\nlet a: A = {};\n", "let a: = 1;\n", 1, "':' is not expected"),
    "yaml": ("a: 1\nb:\n  - c: [1, 2]\n", "a: 1\nb: [1\nc: 2\n", 2, "'[' is not closed"),
}

STATEMENTS = {
    "bash": ("for x in a; do\n  ls\ndone\ny=1", ["for x in a; do\n  ls\ndone", "ls", "y=1"]),
    "c": ("int f() { return 1; }\nint b;", ["int f() { return 1; }", "return 1;", "int b;"]),
    "cpp": ("namespace a { int b; }", ["namespace a { int b; }", "int b;"]),
    "css": ("a { color: red; }", ["a { color: red; }", "color: red;"]),
    "go": ("func f() {\n\ta()\n\tb()\n}", ["func f() {\n\ta()\n\tb()\n}", "a()", "b()"]),
    "html": ("<ul><li>a</li></ul>", ["<ul><li>a</li></ul>", "<li>a</li>", "a"]),
    "java": (
        "class A { int b; void f() { g(); } }",
        ["class A { int b; void f() { g(); } }", "int b;", "void f() { g(); }", "g();"],
    ),
    "javascript": ("f();\nif (a) { g() } // h", ["f();", "if (a) { g() }", "g()"]),
    "julia": ("function f(x)\n  y = 1\nend", ["function f(x)\n  y = 1\nend", "y = 1"]),
    "markdown": ("# a\n\nb\n", ["# a\n", "b\n"]),
    "r": ("f <- 1\nif (x) { y }", ["f <- 1", "if (x) { y }", "y"]),
    "rust": ("fn f() { g(); }\nuse a;", ["fn f() { g(); }", "g();", "use a;"]),
    "sql": ("SELECT 1;\nSELECT 2", ["SELECT 1;", "SELECT 2"]),
    "tsx": ("f();", ["f();"]),
    "typescript": (
        "let a: A = 1;\ninterface B { c: number }",
        ["let a: A = 1;", "interface B { c: number }", "c: number"],
    ),
    "yaml": ("a: 1\nb:\n  - c", ["a: 1", "b:\n  - c", "- c"]),
}


@pytest.mark.parametrize(("cell", "language"), CELLS.items())
def test_the_language_of_a_cell(cell, language):
    assert of_cell(cell) == language


@pytest.mark.parametrize(("name", "language"), FILES.items())
def test_the_language_of_a_file(name, language):
    assert of_file(name) == language


def test_python_elsewhere_has_none_of_the_sessions_names():
    assert not magic_of("%%time\nx")
    assert magic_of("%%python3\nx")
    assert [language_of(cell) for cell in ("x", "%%time\nx", "%%python3\nx", "%%writefile a.py\nx", "%%sh\nls")] == [
        *("", "", "python3", "writefile", "bash")
    ]


@pytest.mark.parametrize(
    ("cell", "own"),
    [
        ("%%time\n%%bash\nls\n", "ls\n"),
        ("x", "x"),
        ("%%sql sqlite:// --save a\nSELECT 1", "SELECT 1"),
        ("%%sql SELECT a\nFROM t", "SELECT a\nFROM t"),
        ("%%bash", ""),
    ],
)
def test_a_cells_own_text_is_below_its_magics(cell, own):
    assert cell[begins_at(cell) :] == own


def test_every_language_has_its_tables():
    assert set(SOURCES) == set(STATEMENTS) == set(GRAMMARS)
    kept = {name.split(":")[0] for _, table in PARSED.values() for name in table}
    cut = {name.split(":")[0] for table, _ in PARSED.values() for name in table}
    assert set(GRAMMARS) - kept == set(GRAMMARS) - cut == {"tsx"}  # it is TypeScript


@pytest.mark.parametrize("language", GRAMMARS)
def test_parses_or_does_not(language):
    right, wrong, line, said = SOURCES[language]
    assert available(language)
    assert problems(parse_text(language, right)) == []
    assert verdict(language, "", right, "") == (True, "")
    if wrong is not None:
        first = problems(parse_text(language, wrong))[0]
        assert (first.line, first.message if said else None) == (line, said)
        assert verdict(language, "", wrong, "")[0] is False


@pytest.mark.parametrize("language", STATEMENTS)
def test_statements(language):
    text, expected = STATEMENTS[language]
    assert [text[start:end] for start, end in statements(parse_text(language, text))] == expected


def test_positions_are_characters():
    text = "let 總和 = `é ${'😀'}`; f({ 值: 1 });\ng();"
    tree = parse_text("javascript", text)
    assert [text[a:b] for a, b in statements(tree)] == ["let 總和 = `é ${'😀'}`;", "f({ 值: 1 });", "g();"]
    assert [text[mark.start : mark.end] for mark in marks(tree)] == ["${", "}", "(", "{", "}", ")", "(", ")"]
    assert problems(parse_text("javascript", "\ud800 = (1;"))[0].line == 1


@pytest.mark.parametrize(
    ("language", "text", "inside"),
    [
        ("javascript", "f(`a ║b ${c}`);", "string"),
        ("javascript", "f(`a b ${║c}`);", ""),
        ("javascript", "f('a'║);", ""),
        ("javascript", "f(); // a║\ng();", "comment"),
        ("javascript", "/* a ║*/ g();", "comment"),
        ("javascript", "/* a */║ g();", ""),
        ("bash", 'echo "a ║b"', "string"),
        ("bash", "ls # a║", "comment"),
        ("julia", 'f("a║")', "string"),
        ("html", "<!-- a║ --><p>", "comment"),
        ("sql", "SELECT 1 -- a║\n", "comment"),
        ("rust", 'f("║");', "string"),
        ("r", 'f("║") # a', "string"),
        ("c", "int x; /* a║\n b */", "comment"),
        ("yaml", "a: 'b║c'", "string"),
    ],
)
def test_text_at(language, text, inside):
    assert text_at(parse_text(language, text.replace("║", "")), text.index("║")) == inside


@pytest.mark.parametrize(
    ("document", "middle", "passed", "said"),
    [
        ("%%js\nf(<cursor>);", "a, b", True, ""),
        ("%%js\nf(<cursor>);", "a)", False, "')' is not expected in line 2"),
        (
            "%%js\nlet @ = 1;\nf(<cursor>);",
            "a",
            None,
            "it cannot be parsed whatever is here: '@' is not expected in line 2",
        ),
        ("%%js\nlet @ = 1;\nf(<cursor>);", "a, (b", False, None),
        ("%%js\nfunction f() {\n  <cursor>", "g();\n}", True, ""),
        ("%%js\nfunction f() {\n  <cursor>", "g();", False, None),
        ("%%js\n<cursor>\n  g();\n}\n", "function f() {", True, ""),
        ("%%js\n<cursor>\n  g();\n}\n", "f();", False, None),
        ("%%bash\nif a; then\n  <cursor>\nfi\n", "b", True, ""),
        ("%%bash\nif a; then\n  <cursor>\nfi\n", "for x in a; do", False, None),
        ("%%html\n<ul>\n  <cursor>\n</ul>\n", "<li>a", True, ""),
        ("%%html\n<ul>\n  <cursor>\n</ul>\n", "<b>a", False, "<b> is not closed in line 3"),
        ("%%sql\nSELECT <cursor>\nFROM t", "(a", False, None),
        ("%%js\r\nf(<cursor>);\r\ng();\r\n", "a,\nb", True, ""),
        ("%%latex\n<cursor>", "$x", None, "not Python"),
    ],
)
def test_a_rebuilt_cell_is_judged_by_what_the_middle_adds(document, middle, passed, said):
    hole = parse(document)
    found = parses(hole.rebuild(middle), hole)
    assert found.passed is passed
    assert said is None or found.detail == said


def test_what_was_asked_for_in_another_language_is_unknown():
    found = look("%%bash\nls\n", check_spec=CheckSpec(("1",)))
    assert [(check.name, check.passed) for check in found] == [("parses", True), ("1", None)]
    # Nothing of a script is run as Python, though it has no magic.
    document = Document("x = ", "", language="javascript")
    found = look("x = 1", check_spec=CheckSpec(("x == 1",)), document=document)
    assert [(check.name, check.passed) for check in found] == [("parses", True), ("x == 1", None)]


@pytest.fixture
def without_parsers(monkeypatch):
    """As where tree-sitter is not installed: importing it fails."""
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("tree_sitter"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    parsing._loaded.cache_clear()
    parse_hole.cache_clear()
    yield
    parsing._loaded.cache_clear()
    parse_hole.cache_clear()


def test_without_the_extra_it_says_what_to_install(without_parsers):
    assert parse_text("javascript", "f(") is None
    assert to_install("javascript") == "fim-magic[languages]"
    assert to_install("r") == "fim-magic[languages-r]"
    assert to_install("latex") == ""
    (check,) = look("%%bash\nls )")
    assert (check.passed, check.detail) == (None, "not checked: pip install fim-magic[languages]")
    assert "-> pip install fim-magic[languages] fim-magic[languages-r]" in reports.doctor()


def test_the_doctor_names_the_parsers():
    (line,) = [line for line in reports.doctor().splitlines() if line.strip().startswith("parsers")]
    assert line.split(None, 1)[1] == ", ".join(["Python", *map(title, GRAMMARS)])


def test_nothing_is_loaded_before_it_is_needed():
    code = "import sys, fim_magic.languages; print(any(name.startswith('tree_sitter') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_text_of_another_language_keeps_it():
    document, blanks = split("f(<cursor>);\ng(<cursor>);", language="javascript")
    assert document.language == "javascript"
    assert blanks.hole(1, ["a"]).language == "javascript"
    assert split("f(", complete=True, language="javascript")[0].language == "javascript"
    assert Hole(document).language == "javascript"
    assert Hole(parse("%%time\nx = <cursor>")).language == "python"


def test_statement_ends_for_ranking():
    hole = Hole(parse("%%js\nif (a) {\n  <cursor>\n}\n"))
    text = "b(\n    1);\n  c();\n  d(e,"
    assert [text[:at] for at in statement_ends(hole, text)] == ["b(\n    1);\n", "b(\n    1);\n  c();\n"]


def test_infill_knows_a_file_by_its_ending(tmp_path, capsys):
    path = tmp_path / "add.js"
    path.write_text("function add(a, b) {\n  return <cursor>\n}\n")
    MODELS.adopt(ScriptedEngine("a + b;\n}\n\nconsole.log(add(1, 2));\n"))
    try:
        assert cli.main(["infill", str(path), "--model", "scripted"]) == 0
    finally:
        MODELS.unload()
    assert capsys.readouterr().out == "function add(a, b) {\n  return a + b;\n}\n"


# Pieces that the rules look at, so that chance builds texts that they fire on.
PIECES = {
    "bash": (
        "x=1",
        "if a; then",
        "fi",
        "for i in x; do",
        "done",
        "{",
        "}",
        "'",
        '"',
        "$(",
        ")",
        "<<EOF\n",
        "EOF",
        "#",
        ";;",
    ),
    "c": ("int f() {", "}", "x;", "(", ")", "#if A\n", "#endif\n", '"', "/*", "*/", "return 1;", "int main() {", "{"),
    "html": ("<p>", "</p>", "<ul>", "</ul>", "<b", "</b>", ">", "text", "<!--", "-->", "<br>", '"'),
    "javascript": (
        *("x", " = ", "f(", ")", "{", "}", "[", "]", "'", "`", "${", ";", ",", "//", "/*", "*/", "return ", "if (a) "),
        *("} else {", "=>", ".b()", "function g() {", "// Example\n", "console.log(g);", "case 1:"),
    ),
    "julia": ("function f(x)", "end", "if a", "for i in x", "[", "]", "(", ")", '"', "#", "x = 1", "do y"),
    "sql": ("SELECT ", "a, ", "FROM t", "(", ")", ";", "CASE ", "END ", "'", "--", "WHERE ", "ORDER BY a"),
    "yaml": ("a:", " b", "- ", "[", "]", "{", "|", '"', "#", ": "),
}
TEXTS = st.sampled_from(list(PIECES)).flatmap(
    lambda language: st.tuples(
        st.just(language),
        *[st.lists(st.sampled_from((*PIECES[language], "\n", "\n  ", "\n"))).map("".join)] * 4,
    )
)


@pytest.mark.parametrize("rule", PARSED)
@settings(max_examples=50, deadline=None)
@given(texts=TEXTS)
def test_more_text_does_not_move_a_cut(rule, texts):
    language, prefix, suffix, text, more = texts
    hole = Hole(Document(prefix, suffix, language=language))
    cut = RULES[rule](hole, text, False)
    assert cut is None or 0 <= cut <= len(text)
    assert cut is None or RULES[rule](hole, text + more, False) == cut
