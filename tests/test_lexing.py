from __future__ import annotations

import inspect
import io
import token
import tokenize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fim_magic.lexing import State, braces, events, safe_split, state_after

# What matters to the scanner, so that chance finds its combinations.
CODE = st.text(st.sampled_from("abc \t\n\\'\"#()[]{}%!?=中"), max_size=60)
STATES = st.sampled_from([State(), State(("(", "[")), State((), "'"), State(("{",), '"""'), State(comment=True)])


@pytest.mark.parametrize(
    ("text", "brackets", "string", "comment"),
    [
        pytest.param("", "", "", False, id="nothing"),
        pytest.param("f(a[0], {", "({", "", False, id="brackets"),
        pytest.param("f(a)]]) + (", "(", "", False, id="closers without openers"),
        pytest.param("x = 'it", "", "'", False, id="single quotes"),
        pytest.param("x = \"it's", "", '"', False, id="the other quote inside"),
        pytest.param("x = 'a' + \"b\" + ", "", "", False, id="closed strings"),
        pytest.param("x = 'a\\'b", "", "'", False, id="escaped quote"),
        pytest.param("x = 'a\\\\'", "", "", False, id="escaped backslash"),
        pytest.param("x = r'a\\'b", "", "'", False, id="raw strings escape quotes too"),
        pytest.param('x = rb"""a\n"b', "", '"""', False, id="triple quotes over lines"),
        pytest.param("x = '''a\n''\n'''", "", "", False, id="triple quotes closed"),
        pytest.param("x = ''", "", "", False, id="empty string"),
        pytest.param("f'{a(", "", "'", False, id="f-string"),
        pytest.param("x = 'open\ny = (", "(", "", False, id="an unterminated string ends with its line"),
        pytest.param("x = 'a\\\nb", "", "'", False, id="a backslash takes a string over the line end"),
        pytest.param("x  # don't (", "", "", True, id="comment"),
        pytest.param("x  # don't (\n", "", "", False, id="comment ended"),
        pytest.param("'#' + ", "", "", False, id="a hash in a string"),
        pytest.param("!echo don't (\nx", "", "", False, id="shell line"),
        pytest.param("  %timeit f('\nx", "", "", False, id="line magic"),
        pytest.param("?don't\nx", "", "", False, id="help line"),
        pytest.param("files = !echo don't (\nx", "", "", False, id="shell line that is assigned"),
        pytest.param("if a != '(':\n    f(", "(", "", False, id="unequal is no shell line"),
        pytest.param("f(a\n  % (b", "((", "", False, id="a percent sign at the start of a line in brackets"),
        pytest.param("a = b \\\n% (c", "(", "", False, id="a percent sign after a continued line"),
    ],
)
def test_what_is_open(text, brackets, string, comment):
    found = state_after(text)
    assert ("".join(found.brackets), found.string, found.comment) == (brackets, string, comment)
    assert found.depth == len(brackets)
    assert found.in_code == (not string and not comment)


@pytest.mark.parametrize(
    ("text", "blank"),
    [
        ("", True),
        ("a", False),
        ("a\n", True),
        ("a\n \t", True),
        ("a\n b", False),
        ("'''a\n", True),
        ("'''a\n b", False),
    ],
)
def test_blank_line_tells_whether_anything_stands_before(text, blank):
    assert state_after(text).blank_line is blank


def test_events_name_every_change_and_where():
    assert [(e.position, e.kind) for e in events("f('a', [0])  # b\n")] == [
        (1, "open"),
        (2, "string"),
        (4, "end of string"),
        (7, "open"),
        (9, "close"),
        (10, "close"),
        (13, "comment"),
        (16, "newline"),
    ]


@given(text=st.text() | CODE, state=STATES)
def test_any_text_scans_to_its_end(text, state):
    found = list(events(text, state))
    assert [e.position for e in found] == sorted({e.position for e in found})
    assert all(0 <= e.position < len(text) for e in found)
    after = state_after(text, state)
    if found:
        assert (after.brackets, after.string, after.comment) == (
            found[-1].state.brackets,
            found[-1].state.string,
            found[-1].state.comment,
        )


@given(first=CODE, second=CODE, state=STATES)
def test_a_text_may_be_parted_where_safe_split_says(first, second, state):
    at = safe_split(first)
    assert state_after(first + second, state) == state_after(first[at:] + second, state_after(first[:at], state))


MODULES = [inspect, io, tokenize, pytest, __import__("argparse"), __import__("textwrap"), __import__("difflib")]
MODULES += [__import__("decimal"), __import__("string"), __import__("shlex"), __import__("pprint"), __import__("json")]


def open_at_line_ends(source):
    """For each line, the bracket depth and whether a string goes on, as Python's own tokenizer sees it."""
    depth = 0
    depths = [0] * (source.count("\n") + 1)
    in_string = [False] * len(depths)
    last = 0
    for kind, text, (first, _), (end, _), _ in tokenize.generate_tokens(io.StringIO(source).readline):
        for line in range(last, first - 1):
            depths[line] = depth
        last = max(last, first - 1)
        if kind == token.OP:
            depth += (text in "([{") - (text in ")]}")
        for line in range(first - 1, end - 1):
            depths[line] = depth
            in_string[line] = kind == token.STRING
        last = max(last, end - 1)
    return depths[:-1], in_string[:-1]


@pytest.mark.skipif(hasattr(token, "FSTRING_START"), reason="there tokenize takes f-strings apart, which we do not")
@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_pythons_own_tokenizer_agrees(module):
    source = inspect.getsource(module)
    depths, in_string = open_at_line_ends(source)
    ours = {e.position: e.state for e in events(source) if e.kind == "newline"}
    state, at, compared = State(), 0, 0
    for line, depth, inside in zip(source.splitlines(keepends=True), depths, in_string, strict=True):
        at += len(line)
        if at - 1 in ours:  # a line end after a backslash is no event
            state = ours[at - 1]
            assert (state.depth, bool(state.string)) == (depth, inside), line
            compared += 1
    assert compared > 0.9 * len(depths)


@pytest.mark.parametrize(
    ("text", "hash_comments", "found"),
    [
        pytest.param("", False, (0, []), id="nothing"),
        pytest.param("if (a) { b({", False, (2, []), id="open"),
        pytest.param("a } { b } }", False, (0, [2, 10]), id="closed"),
        pytest.param("'{' \"{\" `{\n{`", False, (0, []), id="strings"),
        pytest.param("'\\'{' {", False, (1, []), id="an escaped quote"),
        pytest.param("don't {\n{", False, (1, []), id="a string ends with its line"),
        pytest.param("// {\n/* {\n{ */ {", False, (1, []), id="comments"),
        pytest.param("/* {", False, (0, []), id="a comment that goes on"),
        pytest.param("# }\n}", True, (0, [4]), id="R"),
        pytest.param("#f() {", False, (1, []), id="a private method of JavaScript"),
    ],
)
def test_braces(text, hash_comments, found):
    assert braces(text, hash_comments=hash_comments) == found
