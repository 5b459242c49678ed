"""Holes in other languages than Python."""

from __future__ import annotations

import pytest
from own_files import write_notebook

from fim_magic import languages
from fim_magic.evaluate.own import tasks_of
from fim_magic.evaluate.own.layout import layout_holes

SHOP = """\
// A shop
import { price } from './prices.js';

/* total
   of all */
export function total(basket) {
  let cost = 0;
  for (const [name, count] of Object.entries(basket)) {
    cost += price(name) * count;
  }
  const text = `costs ${cost.toFixed(2)} now`;
  const found = basket
    .filter((each) => each.count > 0)
    .map((each) => each.name);
  plot(basket,
       found);
  return cost; // all
}
"""


def missing(text, language, kind):
    return [text[hole.start : hole.end] for hole in layout_holes(text, language) if hole.kind == kind]


def test_lines_are_whole_statements():
    assert missing(SHOP, "javascript", "line") == [
        "import { price } from './prices.js';",
        "let cost = 0;",
        "cost += price(name) * count;",
        "const text = `costs ${cost.toFixed(2)} now`;",
    ]


def test_rests_begin_in_code_and_may_open_a_block():
    rests = missing(SHOP, "javascript", "rest")
    assert "basket) {" in rests
    assert "price(name) * count;" in rests
    assert "toFixed(2)} now`;" not in rests  # inside a string
    assert not [rest for rest in rests if "//" in rest or "found" in rest]


@pytest.mark.parametrize(
    ("language", "text", "line", "rest"),
    [
        ("sql", "SELECT name\nFROM orders\nWHERE price > 10;\n", "FROM orders", "orders"),
        ("go", "func f() {\n\tcost := total(all)\n}\n", "cost := total(all)", "total(all)"),
        ("r", "model <- lm(y ~ x, data = cars)\n", "model <- lm(y ~ x, data = cars)", "lm(y ~ x, data = cars)"),
        ("css", ".card {\n  color: red;\n}\n", "color: red;", "red;"),
        ("bash", "name=all\nfor each in *.csv; do\n  head each.csv\ndone\n", "head each.csv", "all"),
        ("yaml", "# A list\nname: basket\n", "name: basket", "basket"),
        ("cpp", "int total() {\n  auto cost = sum(all);\n}\n", "auto cost = sum(all);", "sum(all);"),
    ],
)
def test_languages(language, text, line, rest):
    assert line in missing(text, language, "line")
    assert rest in missing(text, language, "rest")


def test_unknown_language_has_no_holes():
    assert layout_holes("total = sum(all)\n", "no such language") == []


def test_holes_give_back_the_text_and_no_brackets_are_torn():
    for hole in layout_holes(SHOP, "javascript"):
        text = SHOP[hole.start : hole.end]
        assert text == text.strip()
        assert "\n" not in text
        assert SHOP[hole.end] == "\n"
        if hole.kind == "line":
            assert text.count("(") == text.count(")")


def test_files_and_cells_say_their_language(tmp_path):
    (tmp_path / "shop.js").write_text(SHOP, "utf-8")
    write_notebook(tmp_path / "shop.ipynb", ("total = sum(prices)\nprint(total)", "%%js\nconst total = sum(prices);"))
    julia = {"kernelspec": {"language": "julia", "name": "j"}}
    write_notebook(tmp_path / "other.ipynb", ("total = sum(prices)\nprintln(total)",), **julia)
    tasks = tasks_of(tmp_path, per_file=20)
    assert {(task.file, task.language) for task in tasks} == {
        ("shop.js", "javascript"),
        ("shop.ipynb", "python"),
        ("shop.ipynb", "javascript"),
        ("other.ipynb", "julia"),
    }
    for task in tasks:
        if task.language == "javascript":
            assert task.kind in ("rest", "line")
            assert "%%" not in task.canonical
            assert task.compare(task.canonical).exact
            assert task.compare(task.canonical + "\nmore();").exact_cut
        assert task.document.language == ("" if task.file == "shop.ipynb" else task.language)


def test_other_languages_are_parsed_where_their_parser_is(tmp_path):
    (tmp_path / "shop.js").write_text(SHOP, "utf-8")
    (task, *_) = tasks_of(tmp_path, kinds=("line",))
    right, wrong = (task.compare(answer).parses for answer in (task.canonical, "if (("))
    assert (right, wrong) == (True, False) if languages.available("javascript") else (None, None)
