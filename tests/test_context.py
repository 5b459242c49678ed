from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fim_magic.context import Fitted, fit


@pytest.mark.parametrize(
    ("prefix", "suffix", "room", "kept_prefix", "kept_suffix"),
    [
        pytest.param(5, 5, 10, 5, 5, id="all fits"),
        pytest.param(0, 0, 10, 0, 0, id="nothing to fit"),
        pytest.param(100, 100, 40, 30, 10, id="three to one"),
        pytest.param(100, 4, 40, 36, 4, id="a short suffix leaves room"),
        pytest.param(10, 100, 40, 10, 30, id="a short prefix leaves room"),
        pytest.param(100, 0, 40, 40, 0, id="no suffix"),
        pytest.param(5, 5, 0, 0, 0, id="no room"),
        pytest.param(5, 5, -3, 0, 0, id="less than no room"),
        pytest.param(5, 5, 1, 0, 1, id="room for one"),
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


@given(st.integers(0, 60), st.integers(0, 60), st.integers(-5, 130))
def test_all_the_room_is_used_and_no_more(prefix, suffix, room):
    fitted = fit(range(prefix), range(suffix), room)
    assert len(fitted.prefix) + len(fitted.suffix) == min(prefix + suffix, max(room, 0))
    assert fitted.prefix == list(range(fitted.dropped_prefix, prefix))
    assert fitted.suffix == list(range(suffix - fitted.dropped_suffix))
