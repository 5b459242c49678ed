"""What the tour says, in both languages."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import chinese
import pytest
from IPython.core.magic_arguments import parse_argstring

from fim_magic.magics import FimMagics
from fim_magic.markers import MARKERS
from fim_magic.tour.language import language_for, typed_language
from fim_magic.tour.steps import MANUAL, SAID, STEPS, Surroundings, heading, listed, steps_for

CODE = re.compile(r"`[^`\n]+`|https://\S+")
TEXTS = [*(step.text for step in STEPS), *SAID, heading(2, 8), listed(["%fim", "%%fim"])]
PLACES = [
    Surroundings(has_model=has_model, accepts_by_click=accepts_by_click, cursor=cursor)
    for has_model in (False, True)
    for accepts_by_click in (False, True)
    for cursor in ("page", "terminal", "")
]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.english[:30])
def test_both_languages_name_the_same_code_and_numbers(text):
    assert sorted(CODE.findall(text.chinese)) == sorted(CODE.findall(text.english))
    english, other = (CODE.sub("", each) for each in (text.english, text.chinese))
    assert sorted(re.findall(r"\d+(?:\.\d+)?", other)) == sorted(re.findall(r"\d+(?:\.\d+)?", english))
    for button in ("Accept", "Replace", "Tab", "F8", "Alt+\\"):
        assert (button in other) == (button in english)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.english[:30])
def test_chinese_is_chinese_with_full_width_punctuation(text):
    assert chinese.faults(CODE.sub("]", text.chinese)) == []
    assert "權杖" not in text.chinese
    assert re.search(r"[\u4e00-\u9fff]", CODE.sub("", text.chinese)) or not CODE.sub("", text.english).strip(" ,")
    assert text.english.isascii()


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.name}-{step.first_line}")
def test_every_cell_is_one_that_can_be_run(step):
    first, _, body = step.code.partition("\n")
    magic, _, line = first.partition(" ")
    if magic in ("%%fim", "%%complete"):
        parse_argstring(getattr(FimMagics, magic[2:]), line)
        assert sum(body.count(marker) for marker in MARKERS) == (magic == "%%fim")
    elif magic == "%fim":
        assert not body
        assert f"%fim {line.split(' ')[0]}".strip() in FimMagics.command.__doc__
    else:
        (node,) = ast.parse(step.code).body
        sets = node.name if isinstance(node, ast.FunctionDef) else ""
        assert sets or isinstance(node, ast.Expr)
        assert sets in ("", "mean_word_length"), "a cell of the tour sets no name that the user may have"


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_a_tour_is_short_and_ends_with_its_end(place):
    steps = steps_for(place)
    names = [step.name for step in steps]
    assert 7 <= len(names) - 1 <= 8
    assert len(set(names)) == len(names)
    assert set(steps) <= set(STEPS)
    order = list(dict.fromkeys(step.name for step in STEPS))
    assert [name for name in order if name in names] == names
    assert names[-1] == order[-1]


def test_every_step_is_shown_somewhere():
    assert {step for place in PLACES for step in steps_for(place)} == set(STEPS)


def test_the_manual_is_where_the_project_is():
    project = Path(__file__).parents[2] / "pyproject.toml"
    (address,) = re.findall(r'^Repository = "(.+)"$', project.read_text("utf-8"), re.MULTILINE)
    assert f"{address}/blob/main/notebooks/README.md" == MANUAL


@pytest.mark.parametrize(
    ("of_page", "system", "language"),
    [
        (["en", "zh-TW"], {}, "zh-TW"),  # JupyterLab in English, in a browser from Taiwan
        (["zh-TW", "en-US"], {"LANG": "en_US.UTF-8"}, "zh-TW"),
        (["zh-Hant-HK"], {}, "zh-TW"),
        (["en", "en-GB"], {"LANG": "zh_TW.UTF-8"}, "en"),  # the kernel is elsewhere
        (["zh-CN"], {}, "en"),
        (["zh"], {}, "en"),
        ([], {"LANG": "zh_TW.UTF-8"}, "zh-TW"),
        ([], {"LANG": "zh_TW.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ([], {"LANG": "de_DE.UTF-8", "LANGUAGE": "zh_TW:en"}, "zh-TW"),
        ([], {"LANG": "C", "LANGUAGE": "zh_TW:en"}, "en"),
        ([], {"LC_MESSAGES": "zh_HK", "LANG": "en_US"}, "zh-TW"),
        ([], {"LANG": "Chinese (Traditional)_Taiwan.950"}, "zh-TW"),
        ([], {"LANG": "tw_GH"}, "en"),  # Twi
    ],
)
def test_it_speaks_the_language_of_the_page_or_of_the_system(of_page, system, language):
    assert language_for(of_page, system) == language


def test_without_any_variable_the_locale_is_asked(monkeypatch):
    monkeypatch.setattr("locale.getlocale", lambda: ("Chinese_Taiwan", "950"))
    assert language_for((), {}) == "zh-TW"
    monkeypatch.setattr("locale.getlocale", lambda: (None, None))
    assert language_for((), {}) == "en"

    def unknown():
        raise ValueError("unknown locale: UTF-8")

    monkeypatch.setattr("locale.getlocale", unknown)
    assert language_for((), {}) == "en"


@pytest.mark.parametrize(("word", "language"), [("EN", "en"), ("zh_TW", "zh-TW"), ("zh-tw", "zh-TW"), ("zh", None)])
def test_a_language_is_typed_in_any_spelling(word, language):
    assert typed_language(word) == language
