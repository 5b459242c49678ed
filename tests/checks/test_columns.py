"""Whether the columns that a cell takes from DataFrames are there."""

import pandas as pd
import pytest

from fim_magic.checks import look
from fim_magic.checks.columns import columns_there
from fim_magic.context.namespace import describe

FRAMES = {"sales": frozenset({"city", "units", "price"})}


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("sales['units'].sum()", None),
        ("sales['unit'].sum()", "unit"),
        ("x = 1\nsales[['city', 'unit']]", "unit"),
        ("sales.groupby('city')['unit'].sum()", "unit"),
        ("sales['revenue'] = sales['revenue'].sum()", "revenue"),
        ("sales['revenue'] = sales.units * 2\nsales.groupby('city')['revenue'].sum()", None),
        ("sales['revenue'] += 1", "revenue"),
        ("for c in 'ab':\n    sales['z'] = 1\n    sales['z']", None),
        ("if x:\n    print(sales['z'])", "z"),
        ("other['z']", None),
        ("sales[column]", None),
        ("sales[0]", None),
        # What may change it in ways that are not followed.
        ("sales = load()\nsales['z']", None),
        ("add(sales)\nsales['z']", None),
        ("sales.insert(0, 'z', 1)\nsales['z']", None),
        ("sales.rename(columns=str.upper, inplace=True)\nsales['Z']", None),
        ("sales.columns = list('xyz')\nsales['z']", None),
        ("sales[names] = 1\nsales['z']", None),
        ("del sales['z']\nsales['z']", None),
        ("def f(sales):\n    return sales['z']", None),
        ("get = lambda: sales['z']", None),
        ("try:\n    sales['z']\nexcept KeyError:\n    pass", None),
        ("%time sales['z']", "z"),
        ("sales['銷售額']", "銷售額"),
        ("sales['z'", None),
        ("", None),
    ],
)
def test_a_column_that_is_not_there(text, column):
    found = columns_there(text, FRAMES)
    assert (found and found.detail) == (column and f"sales has no column {column!r}")
    assert found is None or (found.name, found.passed) == ("columns", False)


def test_where_no_frame_is_known_nothing_is_said():
    assert columns_there("sales['z']", {}) is None


def test_a_cell_is_checked_for_them():
    found = look("sales['z']", known=frozenset({"sales"}), frames=FRAMES)
    assert [(check.name, check.passed) for check in found] == [("parses", True), ("names", True), ("columns", False)]


def test_a_frame_is_described_with_all_its_columns_if_they_have_names():
    many = pd.DataFrame({f"column_{at:02}": [at] for at in range(40)})
    frames = describe(["many", "numbered"], {"many": many, "numbered": pd.DataFrame([[1, 2]])})
    assert [each.columns for each in frames] == [tuple(many.columns), None]
