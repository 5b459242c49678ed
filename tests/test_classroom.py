"""What a teacher's switch allows, and what a hint shows."""

from __future__ import annotations

import json

import pytest

from fim_magic import infill
from fim_magic.classroom import FILLING, FillingOffError, check, hint, hint_kind, of_notebook, strictest


def notebook(folder, metadata):
    path = folder / "n.ipynb"
    path.write_text(json.dumps({"cells": [], "metadata": metadata}), "utf-8")
    return path


@pytest.mark.parametrize("said", FILLING)
def test_a_notebook_says_what_it_allows(tmp_path, said):
    assert of_notebook(notebook(tmp_path, {"fim_magic": {"filling": said}})) == said


@pytest.mark.parametrize("metadata", [{}, {"fim_magic": {}}, {"fim_magic": None}])
def test_a_notebook_that_says_nothing_allows_everything(tmp_path, metadata):
    assert of_notebook(notebook(tmp_path, metadata)) == "on"


@pytest.mark.parametrize("said", ["Off", "none", 0, ["hints"]])
def test_a_mistyped_switch_is_not_on(tmp_path, said):
    assert of_notebook(notebook(tmp_path, {"fim_magic": {"filling": said}})) == "off"


def test_no_file_and_an_empty_one_allow_everything(tmp_path):
    path = tmp_path / "n.ipynb"
    path.touch()  # as front ends begin a notebook
    assert of_notebook(path) == of_notebook(tmp_path / "missing.ipynb") == of_notebook(None) == "on"


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"[]", b'{"metadata": 1}', b'{"metadata": {"fim_magic": ', b"[" * 99999]
)
def test_what_cannot_be_read_does_not_allow_everything(tmp_path, content):
    path = tmp_path / "n.ipynb"
    path.write_bytes(content)
    with pytest.raises(FillingOffError, match="cannot be read"):
        of_notebook(path)


@pytest.mark.parametrize(
    ("one", "other", "both"), [("on", "off", "off"), ("hints", "on", "hints"), ("off", "hints", "off")]
)
def test_the_stricter_of_two_counts(one, other, both):
    assert strictest(one, other) == strictest(other, one) == both


def test_what_each_switch_lets_through():
    check("on", hint=False)
    check("on", hint=True)
    check("hints", hint=True)
    with pytest.raises(FillingOffError, match="%%fim --hint line"):
        check("hints", hint=False)
    for asked in (True, False):
        with pytest.raises(FillingOffError, match="switched off in this notebook"):
            check("off", hint=asked)


MIDDLE = '\n    total = 0.0  # start\n    for x in xs.values():\n        total += f(x, "a b", 3)\n    if not total:\n        return None'


def test_a_hint_of_a_line_is_the_first_that_says_something():
    assert hint(MIDDLE, "line") == "    total = 0.0  # start"


def test_an_outline_keeps_the_kind_of_each_line_and_gives_no_name_away():
    assert hint(MIDDLE, "outline") == (
        "    … = … …\n    for … in …():\n        … += …(…, …, …)\n    if not …:\n        return None"
    )


@pytest.mark.parametrize(
    ("middle", "shown"),
    [
        ("return sum(xs) / len(xs)", "return …(…) / …(…)"),  # what to call is the exercise
        ('"""Return what is\nnot in any list.\n"""\nreturn 1', "…\n…\n…\nreturn …"),
        ("x = [\n    # not this\n]\npass", "… = [\n    …\n]\npass"),
    ],
)
def test_an_outline_gives_away_no_builtin_and_no_word_of_a_string(middle, shown):
    assert hint(middle, "outline") == shown


@pytest.mark.parametrize(
    ("middle", "kind"),
    [
        (MIDDLE, "line"),
        ("return sum(xs)", "outline"),
        ("\n    # add them\n    return sum(xs)\n", "outline"),
        ("total = max(\n    xs\n)", "line"),
        ("return max(xs\n)", "outline"),
        ("", "outline"),
    ],
)
def test_a_first_line_that_is_all_of_the_answer_is_no_hint(middle, kind):
    assert hint_kind(middle, "line") == kind
    assert hint_kind(middle, "outline") == "outline"


@pytest.mark.parametrize("kind", ["line", "outline"])
@pytest.mark.parametrize("middle", ["", "\n  \n"])
def test_there_is_no_hint_of_nothing(middle, kind):
    assert hint(middle, kind) == ""


@pytest.mark.parametrize("middle", ["資料 = 讀取(路徑)", "x = 'unclosed", "\tif\tx:", "@decorated", "lambda: (yield)"])
def test_an_outline_never_fails_and_holds_no_name(middle):
    shown = hint(middle, "outline")
    assert shown.startswith("\t") == middle.startswith("\t")
    assert not {"資料", "讀取", "unclosed", "x", "decorated"} & set(shown.replace("…", " ").split())


def test_the_python_interface_asks_the_configured_switch(monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_FILLING", "hints")
    with pytest.raises(FillingOffError, match="hints, not answers"):
        infill("total = <cursor>", model="no such model")
