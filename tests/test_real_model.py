"""The whole line with the real model: what the tiny random ones cannot show."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from fim_magic import complete, infill
from fim_magic.candidate import Ending
from fim_magic.errors import ModelError
from fim_magic.loading.manager import MODELS

pytestmark = pytest.mark.real_model

MODEL = "qwen2.5-coder-0.5b"
MEAN = "def mean(xs):\n    <cursor>\n    return total / len(xs)\n"


@pytest.fixture(scope="module", autouse=True)
def free_afterwards():
    yield
    MODELS.unload()


def run(text: str, names: dict | None = None) -> dict:
    names = {} if names is None else names
    exec(text, names)
    return names


def test_mean_is_filled_and_right():
    result = infill(MEAN, model=MODEL)
    assert run(result.text)["mean"]([1, 2, 6]) == 3
    (candidate,) = result.candidates
    assert candidate.ending in (Ending.STOP_TOKEN, Ending.RULE)
    assert result.text == MEAN.replace("<cursor>", result.middle)


def test_the_rest_of_the_line_is_filled():
    result = infill("def mean(xs):\n    total = <cursor>\n    return total / len(xs)\n", model=MODEL)
    assert run(result.text)["mean"]([1, 2, 6]) == 3


def test_within_a_line_and_with_a_marker_in_another_script():
    result = infill('names = ["Ada", "Grace"]\nlengths = {name: <游標在這> for name in names}\n', model=MODEL)
    assert run(result.text)["lengths"] == {"Ada": 3, "Grace": 5}


def test_sentinels_in_the_text_are_text():
    text = (
        'MIDDLE = "<|fim_middle|>"\nSTOP = "<|endoftext|>"\ndef mean(xs):\n    <cursor>\n    return total / len(xs)\n'
    )
    result = infill(text, model=MODEL)
    assert run(result.text)["mean"]([1, 2, 6]) == 3


def test_greedy_is_the_same_twice():
    assert infill(MEAN, model=MODEL).middle == infill(MEAN, model=MODEL).middle


def test_several_candidates_differ_and_a_seed_repeats_them():
    first = infill(MEAN, model=MODEL, candidates=4, seed=7, temperature=1.0)
    again = infill(MEAN, model=MODEL, candidates=4, seed=7, temperature=1.0)
    middles = [candidate.middle for candidate in first.candidates]
    assert len(set(middles)) > 1
    assert middles == [candidate.middle for candidate in again.candidates]


def test_complete_continues_and_ends_with_the_function():
    result = complete('def fibonacci(n):\n    """Return the n-th Fibonacci number."""\n    if n < 2:\n', model=MODEL)
    assert run(result.text)["fibonacci"](10) in (55, 89)


def test_a_model_without_fim_tokens_completes_and_is_refused_by_fim():
    with pytest.raises(ModelError, match="%%complete"):
        infill(MEAN, model="smollm2-135m")
    result = complete("The capital of France is", model="smollm2-135m", max_new_tokens=8)
    assert "Paris" in result.text


def test_demo_prints_a_working_function(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "fim_magic.cli", "demo"], capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    source = "\n".join(line[2:] for line in lines if line[:2] in ("  ", "+ "))
    text = tmp_path / "text"
    text.write_text("to be or\nnot to be\n")
    assert run(source)["count_words"](text) == {"to": 2, "be": 2, "or": 1, "not": 1}
    assert re.search(r"^qwen2\.5-coder-0\.5b · .*\d+\.\d s · ", done.stdout, re.MULTILINE)
