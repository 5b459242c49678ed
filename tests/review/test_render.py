from __future__ import annotations

import html
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fim_magic import holes
from fim_magic.columns import clipped, columns_of
from fim_magic.document import Document, parse
from fim_magic.review.diff import diff, elided, with_removed
from fim_magic.review.render import code_html, note_html, to_ansi, to_html, to_text

CODE = "def mean(xs):\n    total = <cursor>\n    return total / len(xs)\n"


class Outline(HTMLParser):
    """The tags of some HTML, and the text inside code and captions."""

    def __init__(self, source):
        super().__init__()
        self.tags = []
        self.open = []
        self.code = ""
        self.new = ""
        self.small = ""
        self.feed(source)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.open.append((tag, dict(attributes).get("class")))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, text):
        if ("span", "fim-code") in self.open:
            self.code += text
            if ("ins", None) in self.open:
                self.new += text
        if ("small", None) in self.open:
            self.small += text


def rows(marked, middle):
    return elided(diff(parse(marked), middle))


def test_text():
    assert to_text(rows("a\n  <cursor>\nc = <cursor>"[:16], "b\n  c"), "tiny") == ("  a\n+   b\n+   c\n  c =\n\ntiny")


def test_text_shows_the_new_part_of_a_line():
    assert to_text(rows(CODE, "sum(xs)")) == ("  def mean(xs):\n~     total = ⟦sum(xs)⟧\n      return total / len(xs)")


def test_text_of_a_long_cell():
    text = to_text(elided(diff(Document("a\n" * 50, "b\n" * 50), "new\n")))
    assert text.splitlines()[0] == "  ⋯ 47 unchanged lines"


def test_what_is_replaced(monkeypatch):
    document = Document("a = ", " + <b>\n", replaced="x<i>")
    drawn = with_removed(elided(diff(document, "y")), document)
    assert to_text(drawn) == "- a = ⟦x<i>⟧ + <b>\n~ a = ⟦y⟧ + <b>"
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert to_ansi(drawn).split("\n")[0] == "- a = \x1b[30;41mx<i>\x1b[0m + <b>"
    assert "<del>x&lt;i&gt;</del> + &lt;b&gt;" in to_html(drawn, "")
    whole = Document("a\n", "c\n", replaced="b\n")
    assert to_text(with_removed(elided(diff(whole, "d\n")), whole)) == "  a\n- b\n+ d\n  c"


def test_ansi(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert to_ansi(rows("a = <cursor> + 2", "1")) == "~ a = \x1b[30;42m1\x1b[0m + 2"


def test_ansi_without_colour(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert to_ansi(rows("a = <cursor> + 2", "1"), "tiny") == "~ a = ⟦1⟧ + 2\n\ntiny"


@pytest.mark.parametrize(("width", "expected"), [(4, "+ 日"), (5, "+ 日"), (6, "+ 日本"), (None, "+ 日本")])
def test_ansi_is_clipped_by_columns(monkeypatch, width, expected):
    monkeypatch.delenv("NO_COLOR", raising=False)
    drawn = to_ansi(rows("<cursor>", "日本"), width=width)
    assert re.sub(r"\x1b\[[\d;]*m", "", drawn) == expected


def test_what_a_terminal_draws_as_one_character_is_measured_and_kept_as_one():
    scientist = "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}"
    assert [columns_of(text) for text in (scientist, "e\N{COMBINING ACUTE ACCENT}", "a\N{ZERO WIDTH SPACE}b")] == [
        2,
        1,
        2,
    ]
    assert clipped(f"a{scientist}b", 2) == "a"
    assert clipped(f"a{scientist}b", 3) == f"a{scientist}"


def test_a_terminal_gets_no_escape_sequences_from_the_model(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    drawn = to_ansi(rows("<cursor>", "a = '\x1b]0;pwned\x07'"))
    assert drawn == "+ a = '<U+001B>]0;pwned<U+0007>'"


# Control characters are shown by name, so they are left out here.
PLAIN = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp"], include_characters="\n\t"))


@given(PLAIN, PLAIN, PLAIN)
def test_html_shows_exactly_the_text(prefix, middle, suffix):
    document = Document(prefix, suffix)
    lines = diff(document, middle)
    shown = Outline(to_html(lines, ""))
    assert shown.code == "".join(
        "".join(part.text.replace("\n", "↵") for part in line.visible()) + "\n" for line in lines
    )
    assert shown.code.replace("↵", "").removesuffix("\n") == document.rebuild(middle).replace("↵", "").removesuffix(
        "\n"
    )


EVIL = [
    "<script>pwned()</script>",
    "<img src=x onerror=pwned()>",
    "</pre><svg onload=pwned()>",
    "</style><script>pwned()</script>",
    "&lt;b&gt;",
    "\"'><b>",
    "\x00\x1b[31m\u202e</span>",
]


@given(st.text(), st.text(), st.text())
def test_html_has_only_our_tags(prefix, middle, suffix):
    allowed = {"div", "style", "pre", "span", "ins", "p", "small", "i"}
    drawn = to_html(diff(Document(prefix, suffix), middle), prefix, live=True)
    assert set(Outline(drawn).tags) <= allowed


@pytest.mark.parametrize("evil", EVIL)
def test_untrusted_text_is_escaped_everywhere(evil):
    lines = diff(Document(f"{evil}\n'''{evil}", f"{evil}#{evil}"), evil)
    drawn = to_html(lines, evil, others=[(lines, evil)]) + note_html(evil)
    tags = set(Outline(drawn).tags)
    assert tags <= {"div", "style", "pre", "span", "ins", "p", "small", "details", "summary"}
    assert "<b>" not in drawn
    assert "\x1b" not in drawn
    assert "\u202e" not in drawn
    assert evil in Outline(drawn).small or not evil.isprintable()


def test_text_that_reorders_is_shown_by_name():
    drawn = Outline(to_html(rows("a = <cursor>", "'\u202e)'"), ""))
    assert drawn.new == "'<U+202E>)'"


def test_the_lines_of_a_hint_are_those_of_python():
    drawn = code_html("Hint", "a\x0cb\nc\u2028d\re\n")
    assert re.findall(r'fim-gutter">(\d+) ', drawn) == ["1", "2", "3"]


def test_html_marks_what_is_new_without_any_style():
    drawn = to_html(rows(CODE, "sum(xs)"), "tiny")
    assert Outline(drawn).new == "sum(xs)"
    plain = html.unescape(re.sub(r"<style>.*?</style>|<[^>]+>", "", drawn))
    assert "2 ~     total = sum(xs)\n3       return" in plain
    assert "<script" not in drawn


def test_html_line_numbers_are_aligned():
    drawn = to_html(elided(diff(Document("a\n" * 99, ""), "b\n")), "")
    assert re.findall(r'class="fim-gutter">(.*?)</span>', drawn)[-2:] == [" 99   ", "100 + "]


def test_one_line_stands_below_the_diff_and_all_the_rest_behind_it():
    other = (rows(CODE, "0"), "Candidate 2 of 2")
    drawn = to_html(rows(CODE, "sum(xs)"), "tiny · 1 s", details="<dl></dl>", others=[other])
    below = drawn[drawn.index("</pre>") :]
    line = '<span class="fim-caption">tiny · 1 s</span> <span class="fim-more">Details</span>'
    assert below.startswith(f'</pre><details class="fim-other"><summary><small>{line}</small></summary><dl></dl>')
    assert below.count("<details") == 2
    assert below.endswith("</pre></details></details></div>")
    assert "total = <ins>0</ins>" in re.sub(r"</?span[^>]*>", "", below)
    opened = to_html(rows(CODE, "sum(xs)"), "tiny", details="<dl></dl>", others=[other], unfolded=True)
    assert opened.count("<details") == 2
    assert opened.count('class="fim-other" open>') == 1


def test_where_there_are_no_details_the_line_is_a_paragraph():
    assert to_html((), "tiny").endswith('<p class="fim-caption"><small>tiny</small></p></div>')


def test_details_stand_below_the_line_in_plain_text_and_on_a_terminal(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert to_text(rows("a = <cursor>", "1"), "tiny", "Model  tiny\nOrder\x1b") == (
        "~ a = ⟦1⟧\n\ntiny\nModel  tiny\nOrder<U+001B>"
    )
    assert to_ansi((), "tiny", "Model  tiny") == "\n\x1b[2mtiny\x1b[0m\n\x1b[2mModel  tiny\x1b[0m"


def test_the_caret_is_where_the_model_writes():
    drawn = to_html(rows("a\n<cursor>b\n", "x\ny"), "", live=True)
    assert drawn.count("fim-caret") - to_html((), "").count("fim-caret") == 1
    assert re.search(r'y</ins><i class="fim-caret"></i>b', drawn)
    assert re.search(r'a = <i class="fim-caret"></i>', to_html(rows("a = <cursor>", ""), "", live=True))


def test_control_characters_stay_out_of_captions_in_a_terminal(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert to_ansi((), "a\x1b[31m") == to_text((), "a\x1b[31m") == "\na<U+001B>[31m"


# --- several holes -------------------------------------------------------------------------------


def rows_of(marked, *middles):
    blanks = holes.parse(marked)
    return elided(diff(blanks.document, *blanks.joined(middles)))


def test_each_hole_of_a_line_is_marked():
    drawn = rows_of("f(█, a, █)\n█", "x", "y", "z = 1\n")
    assert to_text(drawn) == "~ f(⟦x⟧, a, ⟦y⟧)\n+ z = 1"
    assert Outline(to_html(drawn, "")).new == "xyz = 1"
    assert "f(<ins>x</ins>, a, <ins>y</ins>)" in re.sub(r"</?span[^>]*>", "", to_html(drawn, ""))


@pytest.mark.parametrize(
    ("middles", "written"),
    [
        ([], r"f\(\^, a, \)"),
        (["x"], r"f\(x\^, a, \)"),
        (["x", "y"], r"f\(x, a, y\^\)"),
        (["", "y\n"], r"f\(, a, y\^"),
    ],
)
def test_one_caret_is_where_the_model_writes(middles, written):
    drawn = to_html(rows_of("f(█, a, █)\n", *middles), "", live=True)
    shown = re.sub(r"<style>.*?</style>|<[^>]+>", "", drawn.replace('<i class="fim-caret"></i>', "^"))
    assert re.search(written, shown)
    assert shown.count("^") == 1


def test_drawing_needs_no_widgets():
    check = (
        "import sys, fim_magic.review.diff, fim_magic.review.render\n"
        "assert not {'ipywidgets', 'anywidget', 'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
