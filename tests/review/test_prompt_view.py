from __future__ import annotations

import html
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from scripted import spaced_tokenizer

from fim_magic.formats import Piece, Prompt
from fim_magic.review.prompt import lay_out, show, to_ansi, to_html, to_text

ESCAPES = re.compile(r"\x1b\[[\d;]*m")
STOPS = {7: "<eot>", 8: "<file_sep>"}
PRE, SUF, MID = Piece("sentinel", "<PRE>", (1,)), Piece("sentinel", "<SUF>", (2,)), Piece("sentinel", "<MID>", (3,))
KINDS = ("sentinel", "context", "text", "prefix", "suffix")


class Vocabulary:
    """Ids from 100 on stand for the byte strings that it has met, in their order."""

    def __init__(self):
        self.tokens = []

    def piece(self, kind, *tokens):
        ids = []
        for token in (token.encode() if isinstance(token, str) else token for token in tokens):
            if token not in self.tokens:
                self.tokens.append(token)
            ids.append(100 + self.tokens.index(token))
        return Piece(kind, b"".join(self.tokens[i - 100] for i in ids).decode(errors="replace"), tuple(ids))

    def token_bytes(self, token_id):
        return self.tokens[token_id - 100]

    def decode(self, ids):
        return "".join(STOPS[token] for token in ids)


class Outline(HTMLParser):
    """The boxes of some HTML and the texts of its pieces, as somebody gets them who copies from the page."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes = set(), set()
        self.boxes, self.pieces, self.copied = [], [], []
        self.text = ""
        self._open = []
        self.feed(re.sub(r"<style>.*?</style>", "", source, flags=re.DOTALL))
        assert not self._open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.add(tag)
        self.attributes |= attributes.keys()
        if tag == "br":
            return
        if tag == "pre":
            self.copied.append("")
        if attributes.get("class", "").startswith("fim-piece"):
            self.pieces.append(attributes["class"].split()[1].removeprefix("fim-of-"))
        if tag == "span" and self._open[-1] == "pre":
            self.boxes.append((attributes["title"], ""))
        self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, text):
        self.text += text
        if "pre" in self._open:
            self.copied[-1] += text
            if "span" in self._open:
                ids, so_far = self.boxes[-1]
                self.boxes[-1] = ids, so_far + text


def prompt(*pieces, order="psm", **more):
    return Prompt(pieces, frozenset(STOPS), order, **more)


def sheet(*pieces, vocabulary=None, other=None, **more):
    return lay_out(prompt(*pieces, **more), other, vocabulary or Vocabulary(), "tiny (1.0), Tiny")


def hello(**more):
    """`def f(x):` and an indented hole, in PSM and in SPM."""
    words = Vocabulary()
    prefix = words.piece("prefix", "def", " f", "(x):\n", "    ")
    suffix = words.piece("suffix", "\n", "f", "(", ")")
    other = prompt(PRE, SUF, suffix, MID, prefix, order="spm")
    return sheet(PRE, prefix, SUF, suffix, MID, vocabulary=words, other=other, **more)


def test_every_token_is_a_box_with_its_id():
    words = Vocabulary()
    page = Outline(to_html(sheet(PRE, words.piece("prefix", "def", " f", "(x):\n", "\t"), vocabulary=words)))
    assert page.boxes == [("1", "<PRE>"), ("100", "def"), ("101", " f"), ("102", "(x):\n"), ("103", "\t")]


def test_tokens_that_only_together_are_a_character_share_a_box():
    words = Vocabulary()
    prefix = words.piece("prefix", b"a \xe6\xb8", b"\xb8", "b", b"\xf0", b"\x9f\x99", b"\x82c")
    page = Outline(to_html(sheet(prefix, vocabulary=words)))
    assert page.boxes == [("100 101", "a 游"), ("102", "b"), ("103 104 105", "🙂c")]


def test_the_space_that_sentencepiece_puts_before_a_text_is_seen():
    tokenizer = spaced_tokenizer(["<eot>"])
    stop = tokenizer.sentinel("<eot>")
    piece = Piece("prefix", "x 游", tuple(tokenizer.encode("x 游")))
    view = lay_out(Prompt((piece,), frozenset({stop}), "spm"), None, tokenizer, "tiny")
    assert [text for _, text in Outline(to_html(view)).boxes] == [" ", "x", " ", "游"]
    assert facts(view)["stop tokens"] == f"<eot> ({stop})"


@pytest.mark.parametrize("tokens", [[b"a", b"\xe6\xb8"], [b"\xb8", b"a"], [b"\xe6", b"a"]])
def test_a_piece_that_was_cut_inside_a_character_is_shown_all_the_same(tokens):
    words = Vocabulary()
    page = Outline(to_html(sheet(words.piece("prefix", *tokens), vocabulary=words)))
    assert " ".join(ids for ids, _ in page.boxes) == "100 101"
    assert "\ufffd" in page.copied[0]
    assert "a" in page.copied[0]


@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp"], include_characters="\n\t"), max_size=150)
)
def test_what_is_copied_is_the_text(text):
    words = Vocabulary()
    page = Outline(to_html(sheet(words.piece("suffix", *(bytes([b]) for b in text.encode())), vocabulary=words)))
    if len(text.encode()) <= 160:
        assert page.copied == [text]


def test_white_space_is_marked_by_the_style_alone_and_in_text_by_signs():
    drawn = to_html(hello())
    assert '<span title="101" style="background-color: #1f78eb5c"><span class="fim-space"> </span>f</span>' in drawn
    assert '(x):<span class="fim-newline">\n</span>' in drawn
    assert "⏎" not in re.sub(r"<style>.*?</style>", "", drawn)
    assert "␣f" in to_text(hello())
    assert "(x):⏎" in to_text(hello())


def test_text():
    shown = to_text(hello(order_reason="it was trained so"), width=75)
    assert (
        shown
        == """\
Prompt tiny (1.0), Tiny
tokens       11: 3 sentinels, 4 prefix, 4 suffix
order        PSM (prefix, suffix, middle): it was trained so
SPM          the same text in the other order, for comparison; it was not
             sent
stop tokens  <eot> (7), <file_sep> (8)

PSM, 11 tokens

sentinel     <PRE>
             1

prefix       def ␣f  (x):⏎
4 tokens     100 101 102
             ␣␣␣␣
             103

sentinel     <SUF>
             2

suffix       ⏎
4 tokens     104
             f   (   )
             105 106 107

sentinel     <MID>
             3

SPM, 11 tokens, for comparison

sentinel     <PRE>
             1

sentinel     <SUF>
             2

suffix       ⏎
4 tokens     104
             f   (   )
             105 106 107

sentinel     <MID>
             3

prefix       def ␣f  (x):⏎
4 tokens     100 101 102
             ␣␣␣␣
             103"""
    )


def test_wide_characters_keep_the_columns_of_text():
    words = Vocabulary()
    shown = to_text(sheet(words.piece("prefix", "游標", "=", b"\xe6\xb8", b"\xb8", "x"), vocabulary=words))
    assert "prefix       游標 =   游      x\n5 tokens     100  101 102+103 104" in shown


def test_lines_are_no_wider_than_the_terminal():
    words = Vocabulary()
    prefix = words.piece("prefix", *(f"word{n} " for n in range(60)))
    drawn = to_text(sheet(PRE, prefix, vocabulary=words), width=50)
    assert max(map(len, drawn.split("\n"))) <= 50
    assert all(f"word{n}␣" in drawn for n in range(60))


def test_terminal_colours_tell_pieces_and_neighbours_apart(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    drawn = to_ansi(hello())
    shades = {text: shade for shade, text in re.findall(r"\x1b\[([\d;]+)m([^\x1b\n]+)\x1b\[0m", drawn)}
    assert len({shades["<PRE>"], shades["def"], shades["␣f"], shades["f"], shades["("]}) == 5
    assert shades["<PRE>"] == shades["<MID>"]
    assert [line.rstrip() for line in ESCAPES.sub("", drawn).split("\n")] == to_text(hello()).split("\n")


def test_no_colour(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert to_ansi(hello()) == to_text(hello())


def test_pieces_are_coloured_apart():
    words = Vocabulary()
    pieces = [PRE, *(words.piece(kind, kind) for kind in KINDS[1:])]
    drawn = to_html(sheet(*pieces, vocabulary=words))
    assert Outline(drawn).pieces == list(KINDS)
    edges = re.findall(r'class="fim-piece fim-of-\w+" style="border-left: 3px solid (#[0-9a-f]{8})"', drawn)
    assert len(set(edges)) == len(edges) == len(KINDS)
    terminal = to_ansi(sheet(*pieces, vocabulary=words))
    assert len(set(re.findall(r"\x1b\[30;\d+m", terminal))) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_are_told_apart_where_the_style_is_taken_away(kind):
    words = Vocabulary()
    piece = PRE if kind == "sentinel" else words.piece(kind, "a", "b", "c")
    drawn = re.sub(r"<style>.*?</style>", "", to_html(sheet(piece, vocabulary=words)))
    grounds = re.findall(r'<span title="\d+" style="background-color: (#[0-9a-f]{8})">', drawn)
    assert len(grounds) == len(piece.ids)
    assert all(one != other for one, other in pairwise(grounds))
    assert grounds[0] == grounds[-1]


def test_ids_are_there_to_be_copied():
    page = Outline(to_html(hello()))
    assert page.text.count("100, 101, 102, 103") == 2
    assert page.text.count("104, 105, 106, 107") == 2


def test_the_other_order_stands_beside_it():
    page = Outline(to_html(hello()))
    assert page.pieces == [
        *("sentinel", "prefix", "sentinel", "suffix", "sentinel"),
        *("sentinel", "sentinel", "suffix", "sentinel", "prefix"),
    ]
    assert "PSM, 11 tokens" in page.text
    assert "SPM, 11 tokens, for comparison" in page.text


def facts(view):
    return dict(view.facts)


@pytest.mark.parametrize(("order", "missing"), [("psm", "SPM"), ("spm", "PSM")])
def test_an_order_that_was_not_trained_is_told(order, missing):
    view = sheet(PRE, order=order)
    assert "the vendor documents none" in facts(view)[missing]
    assert "the vendor documents none" in to_text(view)
    assert "the vendor documents none" in Outline(to_html(view)).text
    assert len(view.columns) == 1


def test_left_to_right():
    view = sheet(Vocabulary().piece("prefix"), order="")
    assert facts(view)["order"].startswith("left to right")
    assert not {"PSM", "SPM"} & facts(view).keys()
    assert view.columns[0].heading == "Left to right, 0 tokens"
    assert "prefix\n0 tokens" in to_text(view)
    assert Outline(to_html(view)).boxes == []


def test_why_an_order_was_taken():
    assert facts(sheet(order_reason="it was trained so"))["order"].endswith("): it was trained so")
    assert facts(sheet())["order"].endswith("), as asked for")


def test_totals():
    words = Vocabulary()
    pieces = [words.piece(kind, *"abc"[:n]) for n, kind in ((3, "context"), (1, "text"), (2, "prefix"), (1, "suffix"))]
    view = sheet(PRE, *pieces, SUF, vocabulary=words)
    assert facts(view)["tokens"] == "9: 2 sentinels, 3 context, 1 template, 2 prefix, 1 suffix"


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        (1, 0, "1 token at the start of the prefix, to"),
        (0, 1234, "1,234 tokens at the end of the suffix, to"),
        (2, 3, "2 tokens at the start of the prefix and 3 tokens at the end of the suffix, to"),
        (0, 0, None),
    ],
)
def test_what_was_cut_off_to_fit(start, end, told):
    said = facts(sheet(dropped_prefix_tokens=start, dropped_suffix_tokens=end)).get("cut off")
    assert said is None if told is None else said.startswith(told)


def test_what_token_healing_took_back():
    view = hello(healed=" pri")
    assert facts(view)["taken back"].startswith("␣pri ")
    assert '<del title="taken back for token healing"><span class="fim-space"> </span>pri</del></pre>' in to_html(view)
    assert "taken back" not in facts(hello())
    assert "<del" not in to_html(hello())


def test_what_ends_the_answer():
    assert facts(sheet())["stop tokens"] == "<eot> (7), <file_sep> (8)"
    view = lay_out(Prompt((PRE,), frozenset(), ""), None, Vocabulary(), "tiny")
    assert facts(view)["stop tokens"].startswith("none")


def long_prompt(pieces=1, tokens=50_000):
    words = Vocabulary()
    tokens = [f"w{n % 500} " for n in range(tokens)]
    texts = [words.piece("context", *tokens) for _ in range(pieces)]
    texts += [words.piece("prefix", "first ", *tokens, "last "), words.piece("suffix", *tokens)]
    psm = prompt(*texts[:-1], SUF, texts[-1])
    return lay_out(psm, prompt(*reversed(psm.pieces), order="spm"), words, "tiny")


def test_a_long_piece_is_shown_by_its_ends():
    view = long_prompt(0)
    drawn = to_html(view)
    page = Outline(drawn)
    assert len(drawn) < 100_000
    assert len(to_text(view)) < 50_000
    assert page.copied[0].startswith("first w0 w1 ")
    assert page.copied[0].endswith(" w498 w499 last ")
    assert "… 49,842 tokens …" in page.copied[0]
    assert "50,002 tokens" in page.text  # of the whole piece
    assert "… 49,842 tokens …" in to_text(view)
    assert "only the two ends" in facts(view)["shown"]
    assert "shown" not in facts(hello())


def test_a_piece_of_160_tokens_is_shown_whole():
    words = Vocabulary()
    whole, longer = (words.piece("prefix", *map(str, range(n))) for n in (160, 161))
    assert len(Outline(to_html(sheet(whole, vocabulary=words))).boxes) == 160
    assert "… 1 token …" in to_html(sheet(longer, vocabulary=words))


def test_many_long_pieces_share_the_room():
    assert len(to_html(long_prompt(200, 300))) < 500_000


EVIL = [
    "<script>pwned()</script>",
    "<img src=x onerror=pwned()>",
    "</pre><svg onload=pwned()>",
    "</style><script>pwned()</script>",
    "\"'><b>",
    "\x00\x1b[31m\u202e</span>",
    "%s {0} {}",
]
OUR_TAGS = {"div", "p", "b", "br", "small", "pre", "span", "i", "del", "details", "summary"}


@pytest.mark.parametrize("evil", EVIL)
def test_untrusted_text_is_escaped_everywhere(evil, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setitem(STOPS, 7, evil)
    words = Vocabulary()
    pieces = [Piece("sentinel", evil, (1,)), *(words.piece(kind, evil) for kind in KINDS[1:])]
    view = lay_out(prompt(*pieces, healed=evil, order_reason=evil), prompt(*pieces, order="spm"), words, evil)
    drawn = to_html(view)
    page = Outline(drawn)
    assert page.tags <= OUR_TAGS
    assert page.attributes <= {"class", "title", "style"}
    for shown in (drawn, to_text(view), to_ansi(view)):
        assert not re.search(r"[\x00\x1b\u202e]", shown)
    if evil.isprintable():
        # Title, reason, stop token; pieces twice; what was taken back, in words and where it belongs.
        assert page.text.replace("␣", " ").count(evil) == 3 + 2 * 5 + 2
        assert page.copied.count(evil) == 2 * 4 + 1


@given(st.text(), st.lists(st.binary(max_size=4)), st.text())
def test_html_has_only_our_tags(sentinel, tokens, title):
    words = Vocabulary()
    pieces = (Piece("sentinel", sentinel, (1,)), words.piece("prefix", *tokens))
    view = lay_out(prompt(*pieces, healed=sentinel), None, words, title)
    assert Outline(to_html(view)).tags <= OUR_TAGS
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", to_html(view) + to_text(view))


def test_without_any_style_it_can_still_be_read():
    plain = html.unescape(re.sub(r"<style>.*?</style>|<br>|<[^>]+>", " ", to_html(hello())))
    assert " ".join(plain.split()).startswith("Prompt tiny (1.0), Tiny tokens 11: 3 sentinels")
    assert re.search(r"sentinel\s+<PRE>\s+1\s+prefix\s+4 tokens\s+def\s+f\s+\(x\):", plain)


def test_a_page_gets_html_and_text_in_one_output():
    shell = InteractiveShell.instance()
    shell.kernel = SimpleNamespace(get_parent=dict)
    try:
        with capture_output() as captured:
            show(shell, hello())
    finally:
        del shell.kernel
        InteractiveShell.clear_instance()
    (output,) = captured.outputs
    assert output.data == {"text/html": to_html(hello()), "text/plain": to_text(hello())}
    assert captured.stdout == ""


def test_a_file_gets_text_and_a_terminal_colours(capsys, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    show(SimpleNamespace(), hello())
    assert capsys.readouterr().out == to_text(hello()) + "\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show(SimpleNamespace(), hello())
    assert capsys.readouterr().out == to_ansi(hello(), width=60) + "\n"


def test_drawing_needs_neither_models_nor_widgets():
    check = (
        "import sys, fim_magic.review.prompt\n"
        "assert not {'ipywidgets', 'anywidget', 'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
