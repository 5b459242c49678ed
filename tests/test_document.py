from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fim_magic.document import Document, parse
from fim_magic.errors import MarkerError
from fim_magic.markers import MARKERS

# Any script; no surrogates, which no UTF-8 notebook can hold, none of the markers' own characters, no byte order mark.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<>█\r\ufeff"))
MIDDLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"))


@given(prefix=TEXT, suffix=TEXT, middle=MIDDLE, marker=st.sampled_from(MARKERS))
def test_only_the_marker_is_taken_out(prefix, suffix, middle, marker):
    document = parse(prefix + marker + suffix)
    assert document == Document(prefix, suffix, marker)
    assert document.rebuild(middle) == prefix + middle + suffix
    assert document.for_model() == document


@given(prefix=TEXT, suffix=TEXT, middle=MIDDLE)
def test_crlf_documents_are_rebuilt_with_crlf(prefix, suffix, middle):
    prefix, suffix = (part.replace("\n", "\r\n") for part in (prefix, suffix + "\n"))
    document = parse(f"{prefix}█{suffix}")
    assert document.rebuild(middle) == prefix + middle.replace("\n", "\r\n") + suffix
    assert "\r" not in document.for_model().prefix + document.for_model().suffix


def test_a_middle_that_has_crlf_already_gets_no_second_cr():
    assert parse("a\r\n█\r\n").rebuild("x\r\ny\nz") == "a\r\nx\r\ny\r\nz\r\n"


@pytest.mark.parametrize(
    ("text", "prefix", "suffix"),
    [
        pytest.param("<cursor>", "", "", id="nothing but the marker"),
        pytest.param("a = <cursor>", "a = ", "", id="at the end"),
        pytest.param("<cursor>\nb = 1\n", "", "\nb = 1\n", id="at the start"),
        pytest.param("f(<cursor>)", "f(", ")", id="within a line"),
        pytest.param("  \t <cursor>  \n", "  \t ", "  \n", id="white space around it"),
        pytest.param(
            "f'{x}' % <cursor> $y !z \\n\t", "f'{x}' % ", " $y !z \\n\t", id="characters that IPython expands"
        ),
        pytest.param("a < cursor > b <cursor>", "a < cursor > b ", "", id="almost a marker before it"),
        pytest.param("<<cursor>>", "<", ">", id="brackets of its own kind"),
    ],
)
def test_where_the_hole_is(text, prefix, suffix):
    assert parse(text) == Document(prefix, suffix, "<cursor>")


@pytest.mark.parametrize(
    ("markers", "text", "found"),
    [
        pytest.param(["HERE"], "a HERE b", "HERE", id="one of the user's own"),
        pytest.param(["##", "####"], "a #### b", "####", id="the longer of two, listed last"),
        pytest.param(["####", "##"], "a #### b", "####", id="the longer of two, listed first"),
        pytest.param(["##", "####"], "a ## b", "##", id="the shorter, alone"),
        pytest.param(["(.*)"], "a (.*) b", "(.*)", id="one that is a regular expression"),
        pytest.param(["", "填"], "a 填 b", "填", id="an empty one is ignored"),
    ],
)
def test_markers_of_the_users_own(markers, text, found):
    assert parse(text, markers) == Document("a ", " b", found)


def test_the_users_own_markers_replace_the_default_ones():
    with pytest.raises(MarkerError):
        parse("a <cursor> b", ["HERE"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("x = 1\n", ["no cursor marker", "<cursor>", "%%complete"], id="none"),
        pytest.param(
            "a = <cursor>\nbc = <cursor>\n",
            ["2 cursor markers", "<cursor> in line 1, column 5", "<cursor> in line 2, column 6"],
            id="two of one kind",
        ),
        pytest.param(
            "中文█\n\n<FILL_ME>",
            ["2 different cursor markers", "█ in line 1, column 3", "<FILL_ME> in line 3, column 1"],
            id="two kinds",
        ),
        pytest.param("<cursor><cursor>", ["line 1, column 1", "line 1, column 9"], id="side by side"),
    ],
)
def test_what_is_said_about_the_wrong_number_of_markers(text, said):
    with pytest.raises(MarkerError) as caught:
        parse(text)
    for words in said:
        assert words in str(caught.value)


def test_completion_needs_no_marker_but_takes_one():
    assert parse("x = 1\n", required=False) == Document("x = 1\n", "", "")
    assert parse("x = █\n", required=False) == Document("x = ", "\n", "█")
    with pytest.raises(
        MarkerError, match="a completion goes on from one: █ in line 1, column 1; █ in line 1, column 3"
    ):
        parse("█ █", required=False)


def test_the_middle_of_several_holes_holds_text_of_the_users_and_is_taken_as_it_is():
    several = Document("a\r\n", "\r\n", "█", holes=2)
    assert several.rebuild("x\ny") == "a\r\nx\ny\r\n"
    assert several.for_model() == Document("a\n", "\n", "█", holes=2)
