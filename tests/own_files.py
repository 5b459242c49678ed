"""Notebooks and source files as somebody may have them, written by a test."""

from __future__ import annotations

import json
import os
from pathlib import Path

REAL = Path(os.environ.get("FIM_MAGIC_DATA") or Path(__file__).parents[2] / "shared") / "real-notebooks"

SHOP = (
    "# A shop\n\nWhat it sells.",
    "import json\nfrom pathlib import Path",
    "prices = {'apple': 3, 'pear': 4}\nstock = [len(name) for name in prices]",
    "## Totals",
    (
        "def total(basket):\n"
        '    """Return what all of it costs."""\n'
        "    cost = 0\n"
        "    for name, count in basket.items():\n"
        "        cost += prices[name] * count\n"
        "    return cost"
    ),
    "basket = {'apple': 2, 'pear': 1}\ncost = total(basket)\nprint('It costs', cost)",
    "reduced = round(cost * 0.9, 2)\nprint(reduced, basket, sep=', ')",
)
"""Cells; those that begin with a # are texts."""


def write_notebook(path, cells=SHOP, **metadata):
    told = [
        {"cell_type": "markdown" if cell.startswith("#") else "code", "source": cell.splitlines(keepends=True)}
        for cell in cells
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": told, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}), "utf-8")
    return path
