from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fim_magic.context import Fitted, fit
from fim_magic.engines.reuse import known_tokens

ROOM = 1000
STEP = 93  # an eighth of the 750 that are the prefix's


def step_of(room):
    return max(1, share_of(room) // 8)


def share_of(room):
    return int(max(room, 0) * 0.75)


@pytest.mark.parametrize(
    ("prefix", "suffix", "room", "kept_prefix", "kept_suffix"),
    [
        pytest.param(5, 5, 10, 5, 5, id="all fits"),
        pytest.param(0, 0, 10, 0, 0, id="nothing to fit"),
        # A room of 40 has 30 for the prefix, and so a step of 3.
        pytest.param(102, 100, 40, 30, 10, id="three to one"),
        pytest.param(100, 100, 40, 28, 10, id="three to one, 72 dropped where 70 would do"),
        pytest.param(100, 4, 40, 34, 4, id="a short suffix leaves room: 66 dropped where 64 would do"),
        pytest.param(102, 4, 40, 36, 4, id="a short suffix leaves room, just at a step"),
        pytest.param(10, 100, 40, 10, 28, id="a short prefix leaves room for 6 steps of 6 2/3"),
        pytest.param(9, 100, 40, 9, 31, id="a short prefix leaves room for 7 steps"),
        pytest.param(10, 30, 40, 10, 30, id="a suffix that just fits is not cut to a step"),
        pytest.param(10, 31, 40, 10, 28, id="one that does not is"),
        pytest.param(100, 0, 40, 40, 0, id="no suffix"),
        pytest.param(101, 0, 40, 38, 0, id="no suffix, 63 dropped where 61 would do"),
        pytest.param(0, 100, 40, 0, 40, id="no prefix"),
        pytest.param(100, 100, 8, 6, 2, id="a tiny room is used wholly"),
        pytest.param(5, 5, 0, 0, 0, id="no room"),
        pytest.param(5, 5, -3, 0, 0, id="less than no room"),
        pytest.param(5, 5, 1, 0, 1, id="room for one"),
        pytest.param(5, 0, 1, 1, 0, id="room for one, no suffix"),
    ],
)
def test_how_much_is_kept(prefix, suffix, room, kept_prefix, kept_suffix):
    fitted = fit(range(prefix), range(1000, 1000 + suffix), room)
    assert fitted == Fitted(
        list(range(prefix - kept_prefix, prefix)),
        list(range(1000, 1000 + kept_suffix)),
        prefix - kept_prefix,
        suffix - kept_suffix,
    )


LENGTHS = st.integers(0, 60) | st.integers(0, 600)
ROOMS = st.integers(-5, 130) | st.integers(0, 800)


@given(LENGTHS, LENGTHS, ROOMS)
def test_all_the_room_but_less_than_a_step_is_used_and_no_more(prefix, suffix, room):
    fitted = fit(range(prefix), range(suffix), room)
    could = min(prefix + suffix, max(room, 0))
    kept = len(fitted.prefix) + len(fitted.suffix)
    assert could - step_of(room) < kept <= could
    assert (fitted.dropped_prefix + fitted.dropped_suffix == 0) == (prefix + suffix <= max(room, 0))
    assert fitted.prefix == list(range(fitted.dropped_prefix, prefix))
    assert fitted.suffix == list(range(suffix - fitted.dropped_suffix))


@given(LENGTHS, LENGTHS, ROOMS)
def test_each_side_loses_less_than_a_step_more_than_it_must(prefix, suffix, room):
    fitted = fit(range(prefix), range(suffix), room)
    room, share = max(room, 0), share_of(room)
    assert 0 <= fitted.dropped_suffix - max(0, suffix - max(room - prefix, room - share)) < step_of(room)
    assert 0 <= fitted.dropped_prefix - max(0, prefix - max(room - suffix, share)) < step_of(room)


# Edits


def moves(values):
    return sum(before != after for before, after in itertools.pairwise(values))


EDITED = st.integers(0, 300)


@given(LENGTHS, LENGTHS, ROOMS, EDITED)
def test_tokens_typed_before_the_hole_rarely_move_the_cuts(prefix, suffix, room, typed):
    fits = [fit(range(prefix + more), range(suffix), room) for more in range(typed + 1)]
    steps = math.ceil(typed / step_of(room))
    assert moves(fitted.dropped_prefix for fitted in fits) <= steps
    assert moves(fitted.dropped_suffix for fitted in fits) <= steps + 1  # the first time by less than a step


@given(LENGTHS, LENGTHS, ROOMS, EDITED)
def test_tokens_typed_after_the_hole_rarely_move_the_start(prefix, suffix, room, typed):
    fits = [fit(range(prefix), range(suffix + more), room) for more in range(typed + 1)]
    assert moves(fitted.dropped_prefix for fitted in fits) <= math.ceil(typed / step_of(room))


@given(st.integers(0, 700), st.integers(0, 300), ROOMS)
def test_a_hole_that_moves_down_rarely_moves_the_start(text, moved, room):
    fits = [fit(range(at), range(at, text), room) for at in range(max(0, text - moved), text + 1)]
    assert moves(fitted.dropped_prefix for fitted in fits) <= math.ceil(moved / step_of(room))


@given(st.integers(750, 2000), st.integers(251, 2000), st.integers(0, 2000))
def test_where_both_are_too_long_the_suffix_depends_on_the_room_alone(prefix, suffix, more):
    assert len(fit(range(prefix), range(suffix + more), ROOM).suffix) == 250


def test_the_start_moves_once_in_a_step():
    drops = [fit(range(5000 + typed), range(5000), ROOM).dropped_prefix for typed in range(10 * STEP)]
    # 4250 must go before the first token and 5179 after the last: from 45.7 to 55.7 steps.
    assert drops == sorted(drops)
    assert set(drops) == {STEP * n for n in range(46, 57)}


# What the engine has to read again


def cut_exactly(prefix, suffix, room):
    """Fill the room to the last token."""
    kept = min(len(suffix), max(room - len(prefix), room - share_of(room)))
    dropped = max(0, len(prefix) - (room - kept))
    return Fitted(list(prefix[dropped:]), list(suffix[:kept]), dropped, len(suffix) - kept)


def typing(prefix, edits):
    """Prefixes as they stand after each edit: a few tokens more, or one less."""
    chance = random.Random(0)
    text, new = list(range(prefix)), itertools.count(prefix)
    for _ in range(edits):
        if chance.random() < 0.25:
            del text[-1]
        else:
            text += itertools.islice(new, chance.randint(1, 3))
        yield list(text)


def reused(cut, order, suffix):
    """The share of a typing session's prompt tokens that the prompt before has in common."""
    after = list(range(10**6, 10**6 + suffix))
    prompts = []
    for before in typing(3000, edits=300):
        fitted = cut(before, after, ROOM)
        assert len(fitted.prefix) + len(fitted.suffix) <= ROOM
        first, second = (fitted.prefix, fitted.suffix) if order == "psm" else (fitted.suffix, fitted.prefix)
        prompts.append([-1, *first, -2, *second, -3] if order == "psm" else [-1, -2, *first, -3, *second])
    known = [known_tokens(read, prompt) for read, prompt in itertools.pairwise(prompts)]
    return sum(known) / sum(len(prompt) for prompt in prompts[1:])


@pytest.mark.parametrize(
    ("order", "suffix", "exact", "stepped"),
    [
        pytest.param("psm", 0, 0.01, 0.95, id="psm, at the text's end"),
        pytest.param("psm", 40, 0.01, 0.9, id="psm, near the text's end"),
        # Tokens behind an edit have to be read again: of the suffix, more than a quarter of the prompt, none is reused.
        pytest.param("psm", 3000, 0.01, 0.7, id="psm, in the middle"),
        pytest.param("spm", 0, 0.01, 0.95, id="spm, at the text's end"),
        pytest.param("spm", 40, 0.05, 0.95, id="spm, near the text's end"),
        # The suffix comes first here, and does not move: that quarter is reused even so.
        pytest.param("spm", 3000, 0.3, 0.95, id="spm, in the middle"),
    ],
)
def test_typing_in_a_long_text_reuses_what_was_read(order, suffix, exact, stepped):
    assert reused(cut_exactly, order, suffix) < exact
    assert reused(fit, order, suffix) > stepped
