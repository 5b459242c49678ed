from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from fim_magic.checks import bound_names
from fim_magic.context import Context, File
from fim_magic.context.cells import NotebookCell
from fim_magic.evaluate.notebooks import NEEDS, parse, read
from fim_magic.evaluate.notebooks.live import Kernel, KernelError, Kernels

TASKS = read()
BY_ID = {task.task_id: task for task in TASKS}

# Importing pandas and torch takes seconds: one process does it once, and runs each program in a namespace of its own.
RUNNER = """
import contextlib, io, json, sys
import matplotlib.pyplot, pandas, torch

torch.set_num_threads(1)
said = []
for program in json.load(sys.stdin):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
        said.append("")
    except BaseException as error:
        said.append(f"{type(error).__name__}: {error}" )
    matplotlib.pyplot.close("all")
print(json.dumps(said))
"""

SMALL = """\
# %% [topic sums]

# %% [markdown]
# Sums

# %%
names = ["a", "b"]

# %%
total = ⟦1|len(names)⟧ + ⟦2|1⟧

# %% [check 1 cells]
assert total == 3

# %% [wrong 1]
len(n)

# %% [also 1]
2

# %% [check 2 nothing]
assert total == 3

# %%
print(total)
"""


@pytest.fixture(scope="module")
def verdicts():
    """What each program that the tests need raises; "" where it raises nothing."""
    middles = [(task, middle) for task in TASKS for middle in (task.canonical, *task.also, "", *task.wrong)]
    programs = [task.program(middle) for task, middle in middles]
    environment = os.environ | {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps(programs),
        text=True,
        encoding="utf-8",
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    said = json.loads(done.stdout)
    return {(task.task_id, middle): word for (task, middle), word in zip(middles, said, strict=True)}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.task_id)
def test_right_middles_pass_and_wrong_ones_fail(task, verdicts):
    for middle in (task.canonical, *task.also):
        assert verdicts[task.task_id, middle] == "", middle
    for middle in ("", *task.wrong):
        assert verdicts[task.task_id, middle], middle


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.task_id)
def test_wrong_middles_are_plausible(task):
    assert task.wrong
    for middle in (task.canonical, *task.also, *task.wrong):
        ast.parse(task.document.rebuild(middle))
    assert len({task.canonical, *task.also, *task.wrong}) == 1 + len(task.also) + len(task.wrong)


def test_there_are_enough_holes_of_every_kind():
    needs = Counter(task.needs for task in TASKS)
    assert len(TASKS) >= 100
    assert set(needs) == set(NEEDS)
    assert needs["cells"] > len(TASKS) / 2
    assert needs["names"] >= len(TASKS) / 8
    assert len(TASKS) / 10 < needs["nothing"] < len(TASKS) / 5
    assert len(BY_ID) == len(TASKS)


def test_documents_rebuild_to_cells_of_the_notebook():
    for before, after in pairwise(TASKS):
        if before.notebook == after.notebook and len(after.cells) > len(before.cells):
            assert after.cells[len(before.cells)] == before.document.rebuild(before.canonical)
            assert after.cells[: len(before.cells)] == before.cells
    for task in TASKS:
        assert not re.search("[⟦⟧]|# %%", task.program(task.canonical))


def test_no_cell_reads_files_or_the_network():
    modules = {
        *(
            "ast",
            "base64",
            "collections",
            "dataclasses",
            "datetime",
            "io",
            "json",
            "math",
            "random",
            "re",
            "statistics",
        ),
        *("types", "zlib", "matplotlib", "numpy", "pandas", "torch"),
    }
    for task in TASKS:
        for source in (*task.cells, task.document.rebuild(task.canonical), task.check, *task.below):
            tree = ast.parse(source)
            imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
            imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
            assert {name.partition(".")[0] for name in imported} <= modules
            assert not re.search(
                r"\bopen\(|savefig|\.to_(csv|json|pickle)\(|np\.(load|save)|torch\.(load|save)", source
            )
            assert all("StringIO" in call for call in re.findall(r"read_\w+\(.*", source))


def test_a_hole_that_needs_names_is_not_given_away_by_literals_in_its_cell():
    for task in TASKS:
        if task.needs in {"cells", "names"}:
            for literal in re.findall(r'"(\w{3,})"', task.canonical):
                assert f'"{literal}"' not in task.document.prefix + task.document.suffix, task.task_id


def test_a_notebook_is_read():
    first, second = parse("small", SMALL)
    assert (first.task_id, first.notebook, first.topic, first.needs) == ("small/1", "small", "sums", "cells")
    assert (first.document.prefix, first.canonical, first.document.suffix) == ("total = ", "len(names)", " + 1")
    assert (second.document.prefix, second.canonical, second.document.suffix) == ("total = len(names) + ", "1", "")
    assert first.above == (NotebookCell("# Sums", markdown=True), NotebookCell('names = ["a", "b"]', markdown=False))
    assert (first.cells, first.below) == (('names = ["a", "b"]',), ("print(total)",))
    assert first.saved == (
        NotebookCell("# Sums", markdown=True),
        NotebookCell('names = ["a", "b"]', markdown=False),
        NotebookCell("total =  + 1", markdown=False),
        NotebookCell("print(total)", markdown=False),
    )
    assert (first.wrong, first.also) == (("len(n)",), ("2",))
    assert first.program("2").endswith('names = ["a", "b"]\n\ntotal = 2 + 1\n\nassert total == 3\n')


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("# %% [check 2 nothing]", "# %% [check 2 luck]", "hole 2 needs one check"),
        ("# %% [check 2 nothing]", "# %% [check 1 nothing]", "hole 1 needs one check"),
        ("# %% [wrong 1]", "# %% [wrong 3]", "there is no hole 3"),
        ("# %% [markdown]", "# %% [raw]", r"no such block: # %% \[raw\]"),
        ("# %% [topic sums]", "# %% [markdown]", "it has 0 topics"),
    ],
)
def test_a_file_that_is_not_in_the_format_is_refused(old, new, complaint):
    with pytest.raises(ValueError, match=f"small: {complaint}"):
        parse("small", SMALL.replace(old, new))


def columns(shell, document, mode):
    """A builder: what the kernel knows of a frame, and how often it was asked."""
    frame = shell.user_ns.get("station")
    said = "" if frame is None else ", ".join(frame.columns)
    return Context(path=mode, files=(File(str(len(shell.user_ns["In"])), said), File("cell", document.prefix)))


BUILDER = f"{__name__}:columns"


def test_contexts_are_built_where_the_cells_have_run():
    tasks = [BY_ID["roof_station/1"], BY_ID["roof_station/6"], BY_ID["stromzaehler_de/1"]]
    with Kernels(BUILDER) as kernels:
        first, last, other = (kernels.context_of(task, "names") for task in tasks)
    assert first.path == "names"
    assert first.files[0] == File("3", "ts, t_out_c, rh_pct, wind_ms, rain_mm")
    assert first.files[1].text == tasks[0].document.prefix
    # The cells in between have run once, in the same kernel; the other notebook has one of its own.
    assert last.files[0] == File("9", "ts, t_out_c, rh_pct, wind_ms, rain_mm, dew")
    assert other.files[0] == File("2", "")


def test_names_that_a_task_knows_are_those_that_its_notebook_defines():
    task = BY_ID["corner_shop/3"]
    with Kernels() as kernels:
        kernels.context_of(task, "none")
        told = kernels._kernel.ask("fim_magic.kernel:defined_names")
    own = bound_names(task.document.rebuild(task.canonical))  # the saved notebook has the hole's cell, too
    assert {"receipts", "busiest_days"} <= task.known
    assert task.known | own == told | own


def test_the_product_s_own_context_has_cells_above_and_below_texts_and_names():
    task = BY_ID["corner_shop/3"]
    with Kernels() as kernels:
        found, everything = (kernels.context_of(task, mode) for mode in ("auto", "all"))
    assert "import pandas as pd" in found.above_text
    assert "# receipts: DataFrame, 10 rows, columns: weekday str, item str, qty int64" in found.above_text
    assert found.below_text == ""
    assert "def busiest_days" in everything.below_text
    assert task.canonical not in found.above_text
    assert "1 text" in found.describe()


def test_a_cell_that_fails_is_told():
    with Kernel() as kernel:
        kernel.run(["number = 1"])
        with pytest.raises(KernelError, match=r"NameError: name 'numbre' is not defined.*fim-magic"):
            kernel.run(["numbre"])
        with pytest.raises(KernelError, match="AttributeError"):
            kernel.ask("fim_magic.context:nothing_of_this_name")


def test_a_kernel_leaves_no_folder_behind():
    with Kernel() as kernel:
        kernel.run(["number = 1"])
        folder = Path(kernel._folder.name)
        assert (folder / "profile_default").is_dir()
    assert not folder.exists()


def test_a_kernel_that_ends_is_told():
    with Kernel() as kernel, pytest.raises(KernelError, match="ended"):
        kernel.run(["import os; os._exit(3)"])
