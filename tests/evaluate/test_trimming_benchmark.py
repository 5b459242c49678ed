"""No rule cuts what people wrote: the benchmark's own middles, and holes made in its functions.

What is promised: a middle of whole statements of one block, and every middle of the benchmark, is kept whole. It is not
promised for a middle that leaves its block or function and begins another, nor for one that has in it, at the same
depth, the very lines that follow the hole: a model that runs on writes the same.
"""

from __future__ import annotations

import ast
import gzip
import json
import os
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fim_magic.document import Document
from fim_magic.trimming import Hole, trim

SHARED = Path(os.environ.get("FIM_MAGIC_DATA", Path(__file__).parents[3] / "shared"))
FOLDER = next((f for f in (SHARED, SHARED / "human-eval-infilling") if [*f.glob("HumanEval-*.jsonl.gz")]), None)
RUN_ON = "\n\n\n# Test the function\nif __name__ == '__main__':\n    print(1)\n"

pytestmark = pytest.mark.skipif(FOLDER is None, reason="needs HumanEval infilling: set FIM_MAGIC_DATA")


@cache
def tasks(kind):
    with gzip.open(FOLDER / f"HumanEval-{kind}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@cache
def block_holes():
    """Every run of neighbouring statements of a block, as (prefix, middle, suffix), marker in column 0 and indented."""
    sources = {task["prompt"] + task["canonical_solution"] + task["suffix"] for task in tasks("SingleLineInfilling")}
    found = []
    for source in sorted(sources):
        starts = [0]
        for line in source.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        for node in ast.walk(ast.parse(source)):
            for block in (getattr(node, name, None) for name in ("body", "orelse", "finalbody")):
                if not isinstance(block, list) or isinstance(node, ast.Module):
                    continue
                found += list(_runs(source, starts, block))
    return found


def _runs(source, starts, block):
    for first in range(len(block)):
        for last in range(first, len(block)):
            begin, end = starts[block[first].lineno - 1], starts[block[last].end_lineno]
            code = starts[block[first].lineno - 1] + block[first].col_offset
            if source[begin:code].strip() or not source[:end].endswith("\n"):
                continue
            yield source[:begin], source[begin:end], source[end:]
            yield source[:code], source[code : end - 1], source[end - 1 :]


def cut_of(prefix, middle, suffix):
    return trim(Hole(Document(prefix, suffix)), middle, final=True)


@pytest.mark.parametrize(("kind", "number"), [("SingleLineInfilling", 1033), ("RandomSpanInfillingLight", 164)])
def test_the_benchmarks_middles_are_kept_whole(kind, number):
    assert len(tasks(kind)) == number
    for task in tasks(kind):
        assert cut_of(task["prompt"], task["canonical_solution"], task["suffix"]) is None, task["task_id"]


def test_statements_of_a_block_are_kept_whole():
    holes = block_holes()
    assert len(holes) > 3000
    for prefix, middle, suffix in holes:
        assert cut_of(prefix, middle, suffix) is None, f"{prefix}│{middle}│{suffix}"


@given(data=st.data())
def test_a_stream_keeps_what_the_whole_text_keeps_or_less(data):
    prefix, middle, suffix = data.draw(st.sampled_from(block_holes()))
    text = middle + data.draw(st.sampled_from(("", suffix, RUN_ON, suffix + RUN_ON, "\n```\n", middle + middle)))
    hole = Hole(Document(prefix, suffix))
    whole = trim(hole, text, final=True)
    at = 0
    while at < len(text):
        at = min(len(text), at + data.draw(st.integers(1, 12)))
        cut = trim(Hole(Document(prefix, suffix)), text[:at], final=False)
        if cut is not None:
            assert trim(hole, text[:at] + RUN_ON, final=False).at <= cut.at
            assert whole is not None
            assert whole.at <= cut.at
            return
