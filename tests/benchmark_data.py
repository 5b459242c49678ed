"""Where the data of HumanEval-Infilling is on a developer's machine, and tasks for tests that need none."""

from __future__ import annotations

import json
import os
from pathlib import Path

DATA = Path(os.environ.get("FIM_MAGIC_DATA") or Path(__file__).parents[2] / "shared") / "human-eval-infilling"


def row(task_id="SingleLineInfilling/HumanEval/0/L0", **changed):
    """A task whose only right middle is `total = sum(xs)`, or what does the same."""
    return {
        "task_id": task_id,
        "entry_point": "mean",
        "prompt": "def mean(xs):\n    ",
        "suffix": "\n    return total / len(xs)\n",
        "canonical_solution": "total = sum(xs)",
        "test": "def check(candidate):\n    assert candidate([1, 2, 6]) == 3\n",
    } | changed


def write_tasks(path, rows):
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), "utf-8")
    return path
