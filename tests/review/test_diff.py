from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fim_magic import holes
from fim_magic.document import Document, parse
from fim_magic.holes import MultiHoleDocument
from fim_magic.line_ends import lines_with_ends
from fim_magic.placing import with_imports
from fim_magic.review.diff import Gap, Line, Removed, Segment, addition, diff, elided, with_removed, writing_at
from fim_magic.review.render import MARKS

# Whitespace and repetition are where insertions can be told in several ways.
TEXT = st.one_of(st.text(max_size=40), st.text("ab \t\n", max_size=20), st.text("a\r\n", max_size=12))


def kinds(marked, middle):
    return [line.kind for line in diff(parse(marked), middle)]


def added(line):
    return "".join(segment.text for segment in line.segments if segment.added)


@given(TEXT, TEXT, TEXT)
def test_segments_are_the_rebuilt_text(prefix, middle, suffix):
    document = Document(prefix, suffix)
    assert "".join(line.text for line in diff(document, middle)) == document.rebuild(middle)


@given(TEXT, TEXT, TEXT)
def test_old_segments_are_the_users_text(prefix, middle, suffix):
    segments = [part for line in diff(Document(prefix, suffix), middle) for part in line.segments]
    assert "".join(part.text for part in segments if not part.added) == prefix + suffix


CODE = st.one_of(TEXT, st.sampled_from(["x = 1\n", "import os\n", "# why\n", "%%time\n", "import os\r\nx()\r\n", "x"]))
IMPORTS = st.lists(st.sampled_from(["import re", "from a import b"]), min_size=1, max_size=2)


@given(CODE, CODE, CODE, IMPORTS)
def test_imports_are_lines_of_their_own_and_can_be_left_out(prefix, middle, suffix, imports):
    document = Document(prefix, suffix)
    whole = addition(document, middle, imports=imports)
    assert whole.text == with_imports(document.rebuild(middle), imports)
    assert whole.without_imports.text == document.rebuild(middle)
    lines = diff(document, middle, imports=imports)
    assert "".join(line.text for line in lines) == whole.text
    assert [line.text.strip() for line in lines if line.kind == "added" and added(line).strip() in imports] >= imports
    segments = [part for line in lines for part in line.segments]
    assert "".join(part.text for part in segments if not part.added) == prefix + suffix


@pytest.mark.parametrize(
    ("marked", "middle", "shown"),
    [
        ("c = <cursor>\n", "Counter(xs)", "+import x|~c = Counter(xs)"),
        ("%%time\n# why\nc = <cursor>\n", "Counter(xs)", " %%time| # why|+import x|~c = Counter(xs)"),
        ("import os\nc = <cursor>\n", "Counter(xs)", " import os|+import x|~c = Counter(xs)"),
        ("<cursor>\nprint(c)", "import os\nc = Counter(xs)", "+import os|+import x|+c = Counter(xs)| print(c)"),
        ("<cursor>", "c = Counter(xs)", "+import x|+c = Counter(xs)"),
        ("import os<cursor>", "\nCounter(xs)", " import os|+import x|+Counter(xs)"),
    ],
)
def test_where_an_import_is_shown(marked, middle, shown):
    lines = diff(parse(marked), middle, imports=["import x"])
    assert "|".join(MARKS[line.kind] + line.text.rstrip("\n") for line in lines) == shown


@given(TEXT, TEXT, TEXT)
def test_lines_are_lines(prefix, middle, suffix):
    lines = diff(Document(prefix, suffix), middle)
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    assert all("\n" not in line.text[:-1] for line in lines)
    assert all(line.text.endswith(("\n", "\r")) for line in lines[:-1])


@given(TEXT, TEXT, TEXT)
def test_kinds_say_what_the_segments_say(prefix, middle, suffix):
    for line in diff(Document(prefix, suffix), middle):
        old = "".join(part.text for part in line.segments if not part.added)
        if line.kind == "same":
            assert not added(line).strip()
        elif line.kind == "added":
            assert not old.strip()
            assert added(line)
        else:
            assert old.strip()
            assert added(line)


@given(TEXT, TEXT.filter(str.strip), TEXT)
def test_new_code_is_never_shown_as_old(prefix, middle, suffix):
    assert any(line.kind != "same" for line in diff(Document(prefix, suffix), middle))


@given(TEXT, TEXT)
def test_an_empty_middle_changes_nothing(prefix, suffix):
    lines = diff(Document(prefix, suffix), "")
    assert {line.kind for line in lines} <= {"same"}
    assert sum(line.has_hole for line in lines) <= 1


@pytest.mark.parametrize(
    ("marked", "middle", "expected"),
    [
        ("a\n<cursor>c", "b\n", ["same", "added", "same"]),
        ("a<cursor>\nc", "\nb", ["same", "added", "same"]),
        ("a\n<cursor>\nc", "b", ["same", "added", "same"]),
        ("a\n<cursor>", "b", ["same", "added"]),
        ("a<cursor>", "\nb", ["same", "added"]),
        ("<cursor>", "a\nb", ["added", "added"]),
        # The indentation was there, but a reader sees a new line.
        ("a\n    <cursor>\n", "x\n    y", ["same", "added", "added"]),
        # The same text as "x = 1" before an untouched "return x".
        ("def f():\n    <cursor>return x", "x = 1\n    ", ["same", "added", "same"]),
        # The blank line was there.
        ("a\n    <cursor>\n    c", "\n    b", ["same", "same", "added", "same"]),
        ("a\n\n<cursor>", "\nb", ["same", "same", "added", "added"]),
        ("x = <cursor>", "1", ["changed"]),
        ("x = <cursor> + 2", "1", ["changed"]),
        ("x = <cursor> + 2", "(1\n  + 1)", ["changed", "changed"]),
        ("f(<cursor>)", "\n    1,\n", ["changed", "added", "same"]),
        ("f(<cursor>)", "\n", ["changed", "same"]),
        ("x = 1<cursor>", "  ", ["changed"]),
    ],
)
def test_kinds(marked, middle, expected):
    assert kinds(marked, middle) == expected


def test_segments_of_a_changed_line():
    (line,) = diff(parse("x = <cursor> + 2\n"), "1")
    assert line.segments == (Segment("x = ", False), Segment("1", True), Segment(" + 2\n", False))
    assert line.visible()[-1] == Segment(" + 2", False)


def test_windows_line_ends():
    lines = diff(parse("a\r\n<cursor>\r\nd"), "b\nc")
    assert [line.kind for line in lines] == ["same", "added", "added", "same"]
    assert ["".join(part.text for part in line.visible()) for line in lines] == list("abcd")


def test_a_split_line_shows_its_new_line_end():
    first, second = diff(parse("f(<cursor>)"), "\n")
    assert first.visible() == (Segment("f(", False), Segment("\n", True))
    assert second.visible() == (Segment(")", False),)


def test_the_empty_hole_is_known():
    lines = diff(parse("a\n  <cursor>b\nc"), "")
    assert [line.has_hole for line in lines] == [False, True, False]
    assert lines[1].segments == (Segment("  ", False), Segment("", True), Segment("b\n", False))


def numbers(rows):
    return [row.number if isinstance(row, Line) else f"{row.count} more" for row in rows]


def test_long_unchanged_runs_are_elided():
    before, after = "a\n" * 50, "b\n" * 50
    rows = elided(diff(Document(before, after), "new\n"))
    assert numbers(rows) == ["47 more", 48, 49, 50, 51, 52, 53, 54, "47 more"]
    assert rows[4].kind == "added"
    assert rows[0] == Gap(47)


def test_short_texts_are_whole():
    lines = diff(Document("a\n" * 29, "b\n" * 30), "new\n")
    assert elided(lines) == lines


def test_an_unfilled_hole_stays_in_view():
    rows = elided(diff(Document("a\n" * 50, "b\n" * 50), ""))
    assert numbers(rows) == ["47 more", 48, 49, 50, 51, 52, 53, 54, "46 more"]


def test_a_gap_never_hides_a_single_line():
    rows = elided(diff(Document("a\n" * 4, "b\n" * 4), "new\n" * 70))
    assert not [row for row in rows if isinstance(row, Gap)]


def test_the_hole_after_the_last_line():
    rows = elided(diff(Document("a\n" * 70, ""), ""))
    assert numbers(rows) == ["66 more", 67, 68, 69, 70]


@given(TEXT, TEXT, TEXT, st.integers(0, 3), st.integers(0, 4))
def test_elided_keeps_changes_and_counts(prefix, middle, suffix, context, longest):
    lines = diff(Document(prefix, suffix), middle)
    rows = elided(lines, context, longest)
    shown = [row for row in rows if isinstance(row, Line)]
    assert len(shown) + sum(row.count for row in rows if isinstance(row, Gap)) == len(lines)
    assert {line for line in lines if line.kind != "same"} <= set(shown)


# --- several holes -------------------------------------------------------------------------------


@st.composite
def filled(draw):
    """A text with one to four holes, and something or nothing for each."""
    between = draw(st.lists(TEXT.filter(bool), max_size=3))
    middles = draw(st.lists(TEXT, min_size=len(between) + 1, max_size=len(between) + 1))
    return MultiHoleDocument((draw(TEXT), *between, draw(TEXT)), "█"), middles


def diff_of(marked, *middles):
    blanks = holes.parse(marked)
    return diff(blanks.document, *blanks.joined(middles))


@given(filled())
def test_segments_of_several_holes_are_the_rebuilt_text(made):
    blanks, middles = made
    middle, kept = blanks.joined(middles)
    lines = diff(blanks.document, middle, kept)
    assert "".join(line.text for line in lines) == blanks.document.rebuild(middle)
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    assert all("\n" not in line.text[:-1] for line in lines)


@given(filled())
def test_what_is_not_marked_is_exactly_the_users_text(made):
    blanks, middles = made
    segments = [part for line in diff(blanks.document, *blanks.joined(middles)) for part in line.segments]
    assert "".join(part.text for part in segments if not part.added) == "".join(blanks.texts)
    new = sum(len(part.text) for part in segments if part.added)
    assert new == len(blanks.document.rebuild(blanks.joined(middles)[0])) - len("".join(blanks.texts))


@given(filled())
def test_kinds_of_several_holes_say_what_the_segments_say(made):
    blanks, middles = made
    for line in diff(blanks.document, *blanks.joined(middles)):
        old = "".join(part.text for part in line.segments if not part.added)
        assert line.kind != "same" or not added(line).strip()
        assert line.kind != "added" or (not old.strip() and added(line))
        assert line.kind != "changed" or (old.strip() and added(line))


@given(filled())
def test_an_addition_is_told_hole_by_hole(made):
    blanks, middles = made
    middle, kept = blanks.joined(middles)
    whole = addition(blanks.document, middle, kept)
    assert whole.text == blanks.document.rebuild(middle)
    assert "".join(whole.texts) == "".join(blanks.texts)
    assert len(whole.texts) == len(whole.added) + 1 == len(whole.whole_lines) + 1 == blanks.count + 1


@pytest.mark.parametrize(
    ("marked", "middles", "expected"),
    [
        pytest.param("█ + █", ["a", "b"], ["changed"], id="two in one line"),
        pytest.param("f(█, █)", ["1,\n  2", "3"], ["changed", "changed"], id="the first tears the line"),
        pytest.param("f(█, █)", ["\n", "3"], ["changed", "changed"], id="a line end and text"),
        pytest.param("a\n█\nb\n█\nc", ["x", "y\nz"], ["same", "added", "same", "added", "added", "same"], id="lines"),
        pytest.param("a█\nb█\nc", ["\nx", "\ny"], ["same", "added", "same", "added", "same"], id="as whole lines"),
        pytest.param("    █\n    █\n", ["x", "y"], ["added", "added"], id="indented lines"),
        pytest.param("a = █\nb = █\n", ["1", ""], ["changed", "same"], id="one is not filled"),
    ],
)
def test_kinds_of_lines_with_several_holes(marked, middles, expected):
    assert [line.kind for line in diff_of(marked, *middles)] == expected


def test_several_insertions_in_one_line():
    (line,) = diff_of("f(█, a, █)\n", "x", "y")
    assert line.segments == (
        Segment("f(", False),
        Segment("x", True),
        Segment(", a, ", False),
        Segment("y", True),
        Segment(")\n", False),
    )
    (line,) = diff_of("f(█, █)", "", "")
    assert [part.text for part in line.segments if part.added] == ["", ""]


def test_an_insertion_told_as_whole_lines_takes_nothing_of_the_next_hole():
    # "\nx" could be told as "x\n" if the "\n" behind it were the user's; the next hole has written it.
    lines = diff_of("a█b█", "\nx", "\nx")
    assert [[(part.text, part.added) for part in line.segments] for line in lines] == [
        [("a", False), ("\n", True)],
        [("x", True), ("b", False), ("\n", True)],
        [("x", True)],
    ]


def test_kept_text_is_found_where_line_ends_are_widened():
    # Not as `MultiHoleDocument` gives it: the document has one hole, so the middle comes with LF.
    lines = diff(Document("a\r\n", "\r\nd"), "b\nkeep\nc", ((2, 6),))
    assert [(line.text, line.kind) for line in lines] == [
        ("a\r\n", "same"),
        ("b\r\n", "added"),
        ("keep\r\n", "same"),
        ("c\r\n", "added"),
        ("d", "same"),
    ]


def test_what_lies_between_far_holes_is_elided():
    blanks = MultiHoleDocument(("a\n" * 20, "b\n" * 40, "c\n" * 20), "█")
    rows = elided(diff(blanks.document, *blanks.joined(["x\n", "y\n"])))
    assert numbers(rows) == ["17 more", 18, 19, 20, 21, 22, 23, 24, "34 more", 59, 60, 61, 62, 63, 64, 65, "17 more"]


@pytest.mark.parametrize(
    ("middles", "where"),
    [
        pytest.param([], (1, 0), id="nothing yet"),
        pytest.param(["1"], (1, 0), id="in the first"),
        pytest.param(["1", "2"], (1, 1), id="in the second, on the same line"),
        pytest.param(["", "2"], (1, 1), id="the first stays empty"),
        pytest.param(["1", "2", "3\n4"], (3, 0), id="in the last"),
    ],
)
def test_where_the_model_is_writing(middles, where):
    assert writing_at(diff_of("f(█, █)\n█", *middles)) == where


def test_nobody_writes_where_there_is_no_hole():
    assert writing_at(()) is None


# --- what an answer replaces -----------------------------------------------------------------------


@given(TEXT, TEXT, TEXT, TEXT)
def test_what_is_replaced_is_shown_as_it_was_and_the_rest_as_ever(prefix, replaced, suffix, middle):
    document = Document(prefix, suffix, replaced=replaced)
    lines = diff(document, middle)
    rows = with_removed(lines, document)
    gone = [row for row in rows if isinstance(row, Removed)]
    assert "".join(row.text for row in gone) == replaced
    assert tuple(row for row in rows if not isinstance(row, Removed)) == lines
    old = lines_with_ends(prefix + replaced + suffix)
    assert all(row.before + row.text + row.after in old for row in gone)


def test_a_replaced_line_stands_above_the_new_one():
    document = Document("a = 1\nb = ", "\nc = 3\n", replaced="f(2)")
    first, gone, changed, last = with_removed(diff(document, "g(2)"), document)
    assert (first.text, gone, changed.kind, last.text) == (
        "a = 1\n",
        Removed("b = ", "f(2)", "\n"),
        "changed",
        "c = 3\n",
    )
