"""Holes in anybody's files: where they are, which are drawn, and what is known around them."""

from __future__ import annotations

import ast
import json
import os
import textwrap
from collections import Counter

import pytest
from own_files import REAL, SHOP, write_notebook

from fim_magic.errors import OptionError
from fim_magic.evaluate.own import KINDS, surroundings, tasks_of
from fim_magic.evaluate.own.punching import python_holes
from fim_magic.evaluate.own.sampling import sample
from fim_magic.evaluate.own.sources import OwnFile, Unread, files_of, read

needs_data = pytest.mark.skipif(not REAL.is_dir(), reason="the data is not on this machine: FIM_MAGIC_DATA")


def missing(text, kind):
    return [text[hole.start : hole.end] for hole in python_holes(text) if hole.kind == kind]


def rests(text):
    return {hole.place: text[hole.start : hole.end] for hole in python_holes(text) if hole.kind == "rest"}


def test_rest_begins_behind_what_people_stop_at():
    text = "first = 1\ntotal = frame.groupby(key)\n"
    assert set(missing(text, "rest")) == {"frame.groupby(key)", "groupby(key)", "key)"}
    assert rests("first = 1\nif ready and done:\n    print(first)\n")["keyword"] in {"ready and done:", "done:"}
    assert rests("first = 1\nx = names[first]\n")["bracket"] == "first]"
    assert rests("first = 1\nsum(first, other)\n")["operator"] == "other)"


def test_rest_is_of_a_logical_line():
    text = "first = 1\ntable = make(\n    rows,\n    columns,\n)\n"
    assert "make(\n    rows,\n    columns,\n)" in missing(text, "rest")
    assert not any(each.startswith("rows") for each in missing(text, "rest"))  # behind a line end nobody stops


def test_nothing_is_punched_where_a_comment_would_be_missing():
    text = "first = 1\ntotal = price * count  # of all\nprint(total,  # twice\n      total)\n"
    assert not [each for kind in KINDS for each in missing(text, kind) if "#" in each]
    assert missing(text, "line") == ["first = 1"]


def test_line_stands_alone_with_its_indentation_before_it():
    text = "if ready:\n    first = begin(1)\n    second = 2; third = 3\nelse: first = begin(0)\nlast = (first,\n        1)\n"
    (hole,) = [hole for hole in python_holes(text) if hole.kind == "line"]
    assert text[hole.start : hole.end] == "first = begin(1)"
    assert text[: hole.start].endswith("\n    ")
    assert text[hole.end] == "\n"


def test_arguments_are_what_stands_between_brackets():
    text = "plot(\n    first,\n    second,\n)\nempty()\nprint(f'{shown(first)}')\n"
    holes = [hole for hole in python_holes(text) if hole.kind == "arguments"]
    assert [text[hole.start : hole.end] for hole in holes] == ["first,\n    second,", "f'{shown(first)}'"]
    assert all(text[hole.end :].lstrip().startswith(")") for hole in holes)


def test_block_is_a_body_without_its_docstring():
    text = (
        "class Basket:\n"
        "    def total(self):\n"
        '        """All of it."""\n'
        "        # by name\n"
        "        cost = sum(self.prices)\n"
        "        return cost\n"
        "if ready: start()\n"
        "elif late:\n"
        "    finish(late)\n"
        "else:\n"
        "    pass\n"
        "try:\n"
        "    begin(late)\n"
        "except OSError:\n"
        "    ...\n"
    )
    assert missing(text, "block") == [
        text[text.index("def total") : text.index("\nif ready")],
        "cost = sum(self.prices)\n        return cost",
        "finish(late)",
        "begin(late)",
    ]


def test_lines_are_two_to_five_simple_statements():
    text = "alpha = 1\nomega = 2\n\nalpha += omega\n# so far\nprint(alpha)\nfor each in alpha:\n    print(each)\n"
    assert missing(text, "lines") == [
        "alpha = 1\nomega = 2",
        "alpha = 1\nomega = 2\n\nalpha += omega",
        "omega = 2\n\nalpha += omega",
    ]
    text = "".join(f"name_{n} = {n}\n" for n in range(9))
    assert {hole.statements for hole in python_holes(text) if hole.kind == "lines"} == {2, 3, 4, 5}
    assert missing("alpha = 1\nomega = 2\n", "lines") == []  # nothing would be left


@pytest.mark.parametrize(
    "text",
    [
        "import numpy as np\nfrom pathlib import Path",
        "# a comment alone",
        '"""A docstring."""',
        "this is no Python",
        "%%bash\necho hello; total = 1",
        "%%html\n<p>print(alpha)</p>",
        "",
    ],
)
def test_cells_without_python_have_no_holes(text):
    assert python_holes(text) == []


def test_lines_of_ipython_are_left_alone():
    text = "%%time\n%matplotlib inline\nfiles = !ls -l\n%time total = sum(files)\nprint(total, files)\nhelp?\n"
    holes = python_holes(text)
    assert holes
    for hole in holes:
        assert hole.start >= text.index("print(")
        assert text[hole.start : hole.end].rstrip(")") in "print(total, files)"


def test_text_in_any_script_keeps_its_places():
    text = "größe = 'ü游標'; x = 1\nné = größe.upper('游標符')\nif né: print(né)\n"
    assert "größe.upper('游標符')" in missing(text, "rest")
    assert "'游標符'" in missing(text, "arguments")


@needs_data
def test_every_hole_gives_back_what_its_kind_says():
    """On other people's notebooks."""
    seen = Counter()
    for path in files_of(REAL)[::2]:
        for cell in read(path, path.name).cells:
            for hole in () if cell.markdown else python_holes(cell.source):
                seen[hole.kind] += 1
                before, text = cell.source[: hole.start].rpartition("\n")[2], cell.source[hole.start : hole.end]
                assert text == text.strip()
                if hole.kind in ("line", "lines", "block"):
                    assert not before.strip()
                    tree = ast.parse(textwrap.dedent(before + text))
                    assert len(tree.body) == hole.statements
                elif hole.kind == "rest":
                    assert before.strip()
    assert set(seen) == set(KINDS)
    assert min(seen.values()) > 100


def test_kinds_take_turns_and_files_have_no_more_than_their_share(tmp_path):
    write_notebook(tmp_path / "shop.ipynb")
    write_notebook(tmp_path / "deep" / "other.ipynb")
    tasks = tasks_of(tmp_path, per_file=5)
    assert Counter(task.kind for task in tasks) == dict.fromkeys(KINDS, 2)
    assert [task.task_id.partition("#")[0] for task in tasks] == ["deep/other.ipynb"] * 5 + ["shop.ipynb"] * 5
    assert {task.kind for task in tasks_of(tmp_path, kinds=("rest", "line"))} == {"rest", "line"}
    every = tasks_of(tmp_path / "shop.ipynb", per_file=100)
    assert len({(task.task_id.partition(":")[0], task.kind) for task in every}) == len(every)
    assert len({task.task_id for task in every}) == len(every)


def test_seed_draws(tmp_path):
    path = write_notebook(tmp_path / "shop.ipynb")
    first, again, other = (tasks_of(path, per_file=5, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert [task.task_id for task in first] != [task.task_id for task in other]


def test_cell_below_changes_no_hole_above(tmp_path):
    path = write_notebook(tmp_path / "shop.ipynb")
    before = {task.task_id for task in tasks_of(path, per_file=100)}
    write_notebook(path, (*SHOP, "alpha = list(basket)\nprint(alpha)"))
    assert before < {task.task_id for task in tasks_of(path, per_file=100)}


def test_source_file_is_one_document(tmp_path):
    path = tmp_path / "shop.py"
    path.write_text("\n\n".join(cell for cell in SHOP if not cell.startswith("#")) + "\n", "utf-8", newline="\r\n")
    tasks = tasks_of(tmp_path, per_file=20)
    text = path.read_text("utf-8")
    for task in tasks:
        assert task.document.rebuild(task.canonical) == text
        assert not task.above
        assert not task.context("auto").cells
    assert Counter(task.kind for task in tasks)["line"] > 1  # one in each statement, not in each file
    assert tasks[0].task_id.startswith("shop.py#0:")


def test_document_is_the_cell_and_the_cells_above_are_the_context(tmp_path):
    (task,) = tasks_of(write_notebook(tmp_path / "shop.ipynb"), per_file=1, kinds=("block",))
    assert task.document.rebuild(task.canonical) == SHOP[4]
    assert [cell.source for cell in task.above] == list(SHOP[:4])
    assert [cell.source for cell in task.below] == list(SHOP[5:])
    seen = task.context("auto")
    assert [cell.source for cell in seen.cells] == ["# # A shop\n#\n# What it sells.", *SHOP[1:3], "# ## Totals"]
    assert not seen.below
    assert not seen.described
    assert {"prices", "stock", "json", "basket", "reduced"} <= task.known  # as the product counts those below
    assert task.context("none") == task.context("names")
    assert [cell.source for cell in task.context("all").below] == [*SHOP[5:]]


def test_cells_above_run_where_asked(tmp_path):
    (tmp_path / "prices.json").write_text('{"apple": 3}', "utf-8")
    cells = (
        "from pathlib import Path\nimport json",
        "prices = json.loads(Path('prices.json').read_text())\nPath('prices.json').write_text('{}')",
        "import surely_not_installed\nrates = surely_not_installed.load()",
        "lines = !echo no",
        "import urllib.request\npage = urllib.request.urlopen('http://localhost:9/').read()",
        "while True:\n    pass",
        "names = sorted(prices)\nprint(names, prices)",
    )
    path = write_notebook(tmp_path / "shop.ipynb", cells)
    (file,) = [read(path, path.name)]
    tasks = [task for task in tasks_of(path, per_file=100) if task.task_id.startswith("shop.ipynb#6:")]
    holes = [(6, task.document) for task in tasks]
    assert holes
    for known in surroundings.look(file, holes, True, seconds=2):
        told = {each.name: each.line for each in known.everything.described}
        assert told["prices"] == "# prices: dict, 1 key: 'apple' int"
        assert not {"rates", "lines", "page"} & set(told)
        assert {"rates", "page", "prices", "json"} <= known.names
        shown = "\n".join(cell.source for cell in known.everything.cells)
        assert "surely_not_installed.load()" in shown  # whoever wrote it has it
        assert "while True" in shown
    assert (tmp_path / "prices.json").read_text("utf-8") == '{"apple": 3}'


def test_kernel_that_ends_leaves_the_cells(tmp_path):
    cells = ("import os\nalpha = 1", "os._exit(3)", "omega = alpha + 1\nprint(omega)")
    tasks = tasks_of(write_notebook(tmp_path / "end.ipynb", cells), per_file=100, run_cells=True)
    last = [task for task in tasks if "#2:" in task.task_id]
    assert last
    for task in last:
        assert [cell.source for cell in task.context("auto").cells] == list(cells[:2])
        assert not task.context("auto").described
        assert "alpha" in task.known


def test_only_small_files_are_copied(tmp_path):
    source, target = tmp_path / "from", tmp_path / "to"
    (source / "deep").mkdir(parents=True)
    (source / ".hidden").mkdir()
    target.mkdir()
    for name, size in (("a.csv", 6), ("b.csv", 20), ("deep/c.csv", 4), (".hidden/d", 0), ("deep/e.csv", 1)):
        (source / name).write_bytes(b"x" * size)
    surroundings.copy_small_files(source, target, most_bytes=10)
    assert sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()) == [
        "a.csv",
        "deep/c.csv",
    ]


def test_files_are_found_and_read(tmp_path):
    for name in ("b.py", "a.js", "README.md", ".git/c.py", "node_modules/d.js", "deep/e.R"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("alpha = 1\n", "utf-8")
    assert [path.relative_to(tmp_path).as_posix() for path in files_of(tmp_path)] == ["a.js", "b.py", "deep/e.R"]
    assert read(tmp_path / "deep/e.R", "e.R").language == "r"
    julia = write_notebook(tmp_path / "j.ipynb", kernelspec={"language": "julia", "name": "julia-1.11"})
    assert read(julia, "j").language == "julia"
    assert read(write_notebook(tmp_path / "p.ipynb"), "p").language == "python"
    odd = write_notebook(tmp_path / "o.ipynb")
    for metadata in (None, [], {"language_info": None, "kernelspec": []}, {"language_info": {"name": [["R"]]}}):
        odd.write_text(json.dumps({**json.loads(odd.read_text("utf-8")), "metadata": metadata}), "utf-8")
        assert read(odd, "o").language == "python"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes among its files")
@pytest.mark.parametrize("name", ["a.ipynb", "a.py"])
def test_what_has_no_end_is_left_out(tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert read(tmp_path / name, name) == Unread(name, f"{name} is a pipe, not a regular file")
    (tmp_path / "zero.ipynb").symlink_to("/dev/zero")
    assert read(tmp_path / "zero.ipynb", "zero").why == "zero.ipynb is a device, not a regular file"


@pytest.mark.parametrize(
    ("name", "text"), [("a.ipynb", b"{"), ("a.ipynb", b'{"worksheets": []}'), ("a.ipynb", b"[]"), ("a.py", b"\xff")]
)
def test_what_cannot_be_read_is_said(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text)
    found = read(path, name)
    assert isinstance(found, Unread)
    assert found.why
    assert tasks_of(path) == []


def test_folder_without_files_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("# Nothing", "utf-8")
    for path in (tmp_path, tmp_path / "README.md", tmp_path / "no-such"):
        with pytest.raises(OptionError, match="holds no notebook"):
            tasks_of(path)


@needs_data
def test_real_notebooks_have_holes_of_every_kind():
    tasks = tasks_of(REAL, every=8, offset=0, per_file=5)
    assert Counter(task.kind for task in tasks) == dict.fromkeys(KINDS, 2)
    for task in tasks:
        assert task.context("auto").cells
        found = task.compare(task.canonical)
        assert found.exact
        assert found.exact_cut
        assert found.parses
        assert (found.similarity, found.length) == (1.0, 1.0)
        assert found.statements == task.statements


def test_draw_without_holes_is_empty():
    assert sample("a", {}, KINDS, 5, 0, by_statement=False) == []
    assert not isinstance(Unread("a", "b"), OwnFile)
