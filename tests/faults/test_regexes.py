"""No text is looked at again and again: each regular expression takes time that grows as the text does.

`regex_attacks` finds every one by itself, and makes the texts out of what it is made of.
"""

from __future__ import annotations

import pytest
from regex_attacks import Found, attacks, patterns, seconds

# The rules about secrets are judged with their own set.
LEFT_OUT = "context/redaction"

FOUND = [found for found in patterns() if not found.place.startswith(LEFT_OUT)]

SMALL, LONG, LONGER, LONGEST = 2_000, 8_000, 32_000, 200_000  # characters
NOISE = 0.005  # seconds; less is not compared


def test_they_are_found():
    assert len(FOUND) > 120
    assert {found.place.partition("/")[0].partition(":")[0] for found in FOUND} >= {"lexing", "trimming", "review"}


@pytest.mark.parametrize("found", FOUND, ids=[found.place for found in FOUND])
def test_its_time_grows_as_the_text_does(found: Found):
    texts = attacks(found.pattern)
    for make in texts:  # the cubic ones would never end below
        assert seconds(found.run, make(250)) < 0.2, make(40)
    worst = sorted(texts, key=lambda make: seconds(found.run, make(SMALL)), reverse=True)[:3]
    for make in worst:
        assert seconds(found.run, make(SMALL)) < 0.2, make(40)
        assert_linear(found, make, LONG, LONGER)
    assert_linear(found, worst[0], LONGER, LONGEST)


def assert_linear(found: Found, make, length: int, longer: int) -> None:
    short, long = make(length), make(longer)
    taken = seconds(found.run, long)
    if taken <= NOISE:
        return
    assert taken < 2, make(40)
    growth = longer / length
    for _ in range(5):
        ratio = seconds(found.run, long, 2) / seconds(found.run, short, 2)
        if ratio < growth**2 / 2:  # of four times the text, eight times the time: its square would be sixteen
            return
    raise AssertionError(f"{make(40)!r} takes {ratio:.1f} times as long at {growth:.1f} times the length")
