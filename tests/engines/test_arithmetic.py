"""Arithmetic sampling: what several points find, and how often a random one finds what."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fim_magic.engines import GREEDY, Sampling
from fim_magic.engines.arithmetic import Point, choose, points
from fim_magic.engines.torch.generation import choose as choose_with_torch

SAMPLED = Sampling(1.0, 0.95)


def with_numpy(logits, sampling, point):
    return choose(np.array(logits, np.float32), sampling, point)


def with_torch(logits, sampling, point):
    return int(choose_with_torch(torch.tensor(np.array([logits], np.float32)), sampling, [point])[0])


EITHER = pytest.mark.parametrize("choose_next", [with_numpy, with_torch])


@EITHER
@given(
    logits=st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=30),
    temperature=st.floats(0.1, 3.0),
    top_p=st.floats(0.05, 1.0),
    at=st.floats(0, 1, exclude_max=True),
)
def test_what_is_drawn_is_in_the_nucleus(choose_next, logits, temperature, top_p, at):
    point = Point(at, 0)
    drawn = choose_next(logits, Sampling(temperature, top_p), point)
    probabilities = torch.softmax(torch.tensor(logits, dtype=torch.float64) / temperature, dim=-1)
    # In any order of equally probable ones, all before it have less than top_p.
    more_likely = float(probabilities[probabilities > probabilities[drawn] * (1 + 1e-5)].sum())
    assert more_likely < top_p + 1e-5
    assert 0.0 <= point.position < 1.0


@EITHER
@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        pytest.param(Sampling(1.0, 1.0), [0.05, 0.5, 0.15, 0.3], id="as the model has it"),
        pytest.param(Sampling(1.0, 0.9), [0, 0.526, 0.158, 0.316], id="the tail is cut"),
        pytest.param(Sampling(1.0, 0.6), [0, 0.625, 0, 0.375], id="the token that crosses the line is kept"),
        pytest.param(Sampling(1.0, 0.4), [0, 1, 0, 0], id="one token is enough"),
        pytest.param(Sampling(1.0, 1e-9), [0, 1, 0, 0], id="never none"),
        pytest.param(Sampling(0.5, 1.0), [0.007, 0.685, 0.062, 0.247], id="colder"),
        pytest.param(Sampling(4.0, 1.0), [0.177, 0.314, 0.232, 0.277], id="hotter"),
        pytest.param(Sampling(0.5, 0.9), [0, 0.735, 0, 0.265], id="temperature comes before top-p"),
    ],
)
def test_tokens_are_drawn_with_the_right_probability(choose_next, sampling, expected):
    logits = np.log([0.05, 0.5, 0.15, 0.3])
    draws = 1000
    drawn = Counter(choose_next(logits, sampling, Point((at + 0.5) / draws, 0)) for at in range(draws))
    assert [drawn[token] / draws for token in range(4)] == pytest.approx(expected, abs=0.005)


# Answers of a model in two steps: after the first token, the second.
FIRST = [0.5, 0.3, 0.2]
SECOND = [[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]]


def answer(point):
    sampling = Sampling(1.0, 1.0)
    first = with_numpy(np.log(FIRST), sampling, point)
    return first, with_numpy(np.log(SECOND[first]), sampling, point)


def test_a_point_of_its_part_finds_each_answer():
    draws = 1000
    found = Counter(answer(Point((at + 0.5) / draws, 0)) for at in range(draws))
    expected = {(a, b): FIRST[a] * p for a in range(3) for b, p in enumerate(SECOND[a])}
    assert {each: times / draws for each, times in found.items()} == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize("seed", range(20))
def test_several_points_find_what_is_likely_and_nothing_rare_twice(seed):
    found = Counter(answer(point) for point in points(Sampling(1.0, 1.0, seed), 8))
    likely = {(a, b) for a in range(3) for b, p in enumerate(SECOND[a]) if FIRST[a] * p >= 2 / 8}
    assert likely <= found.keys()
    rare = {(a, b) for a in range(3) for b, p in enumerate(SECOND[a]) if FIRST[a] * p < 1 / 8}
    assert all(found[each] <= 1 for each in rare)


def test_the_first_of_several_is_greedy_and_stays_so():
    for sampling in (SAMPLED, Sampling(3.0, 1.0, 5)):
        first, *others = points(sampling, 4)
        chosen = [with_numpy([1.0, 1.2, 1.1], sampling, first) for _ in range(200)]
        assert set(chosen) == {1}
        assert not any(point.greedy for point in others)


def test_one_alone_is_not_greedy_and_hangs_on_the_seed():
    at = [points(Sampling(1.0, seed=seed), 1)[0].position for seed in range(50)]
    assert len({*at}) == 50
    assert 0.3 < sum(at) / 50 < 0.7


def test_at_temperature_zero_all_are_greedy():
    assert [point.position for point in points(GREEDY, 3)] == [0.0] * 3
    assert [with_torch([1.0, 3.0, 2.0], GREEDY, point) for point in points(GREEDY, 2)] == [1, 1]


def test_rounding_does_not_change_a_long_answer():
    """Logits differ in their last digits where other candidates have ended, or more of the prompt was kept."""
    noise, logits = np.random.default_rng(0), np.random.default_rng(1).normal(size=(60, 300))
    for seed in range(5):
        one, other = points(Sampling(1.0, 1.0, seed), 2)[1], points(Sampling(1.0, 1.0, seed), 2)[1]
        expected = [with_numpy(row, Sampling(1.0, 1.0), one) for row in logits]
        rounded = [row + 1e-6 * noise.normal(size=300) for row in logits]
        assert [with_numpy(row, Sampling(1.0, 1.0), other) for row in rounded] == expected


def test_a_long_answer_does_not_run_out_of_digits():
    """Of 2,000 tokens with one bit each, a double has digits for 52."""
    point = Point(random.Random(1).random(), 2)
    drawn = [with_numpy([0.0, 0.0], Sampling(1.0, 1.0), point) for _ in range(2000)]
    assert 900 < sum(drawn) < 1100
    pairs = Counter(itertools.pairwise(drawn))
    assert all(400 < pairs[a, b] < 600 for a in (0, 1) for b in (0, 1))


@EITHER
def test_a_token_that_cannot_come_is_never_drawn(choose_next):
    logits = [float("-inf"), 0.0, float("-inf"), -2.0]
    almost_one = float(np.nextafter(1.0, 0.0))
    drawn = {choose_next(logits, Sampling(1.0, 1.0), Point(at, 0)) for at in (1e-300, 0.5, almost_one)}
    assert drawn == {1, 3}


def test_torch_and_numpy_choose_alike_from_a_large_vocabulary():
    """Also where the most probable thousand tokens are too few for top-p."""
    random_logits = np.random.default_rng(0).normal(size=(6, 5000)).astype(np.float32)
    for scale in (1.0, 12.0):
        sampling = Sampling(1.0, 0.95, 3)
        one, other = points(sampling, 6), points(sampling, 6)
        alone = [choose(row * scale, sampling, point) for row, point in zip(random_logits, one, strict=True)]
        assert choose_with_torch(torch.tensor(random_logits * scale), sampling, other).tolist() == alone
        assert [point.position for point in one] == pytest.approx([point.position for point in other], abs=1e-2)


def test_only_what_is_allowed_comes():
    logits = np.array([1.0, 3.0, 2.0], np.float32)
    assert choose(logits, GREEDY, Point(0.0, 0), [0, 2]) == 2
    assert choose(logits, SAMPLED, Point(0.99, 0), [0, 2]) == 0
