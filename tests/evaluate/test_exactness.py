"""How far one way of computing a model is from another."""

from __future__ import annotations

import gzip
import json
import math

import numpy as np
import pytest
from gguf_files import write_gguf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fim_magic import cli
from fim_magic.document import Document
from fim_magic.engines.llama_cpp.gguf import GgufEngine
from fim_magic.errors import OptionError
from fim_magic.evaluate.exactness.comparison import READ, WRITTEN, Compared, Places, compare
from fim_magic.evaluate.exactness.divergence import agrees, divergence
from fim_magic.evaluate.exactness.prompts import ANSWER_TOKENS, PYTHON, Excerpt, excerpts, prompts_of
from fim_magic.evaluate.exactness.report import ExactnessReport, table
from fim_magic.evaluate.printing import WIDTH
from fim_magic.progress import silent

HOLE = Excerpt("one", "one", Document("def add(a, b):\n    return ", "\n\nprint(add(1, 2))\n"), "a + b")
OTHER = Excerpt("two", "two", Document("def mean(xs):\n    total = ", "\n    return total\n"), "sum(xs)")


def logits(*probabilities: float) -> np.ndarray:
    """Logits of these probabilities; what is added to all of them makes no difference."""
    with np.errstate(divide="ignore"):
        return np.log(np.array(probabilities, np.float32)) + np.float32(3)


# --- two distributions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "other", "nats"),
    [
        ((0.5, 0.5), (0.5, 0.5), 0.0),
        ((0.5, 0.5), (0.25, 0.75), 0.5 * math.log(2) + 0.5 * math.log(2 / 3)),
        ((0.25, 0.75), (0.5, 0.5), 0.25 * math.log(0.5) + 0.75 * math.log(1.5)),
        ((1.0, 0.0), (0.5, 0.5), math.log(2)),
        ((0.5, 0.5), (1.0, 0.0), math.inf),
        ((0.7, 0.2, 0.1), (0.6, 0.3, 0.1), 0.7 * math.log(7 / 6) + 0.2 * math.log(2 / 3)),
    ],
)
def test_the_divergence_is_that_of_kullback_and_leibler(reference, other, nats):
    assert divergence(logits(*reference), logits(*other)) == pytest.approx(nats, abs=1e-6)


def test_columns_that_one_matrix_has_more_count_for_neither():
    padded = np.append(logits(0.25, 0.75), np.float32(9))
    assert divergence(logits(0.5, 0.5), padded) == pytest.approx(divergence(logits(0.5, 0.5), logits(0.25, 0.75)))
    assert agrees(logits(0.25, 0.75), padded)


_rows = arrays(np.float32, 50, elements=st.floats(-30, 30, width=32))


@given(_rows, _rows)
def test_no_divergence_is_below_0_and_that_from_oneself_is_0(one, other):
    assert divergence(one, other) >= 0.0
    assert divergence(one, one) == 0.0


def test_small_divergences_are_not_lost_in_rounding():
    # Of two distributions that are a factor of 1 + e apart in one token, half of e² p (1 - p).
    one = np.zeros(100_000, np.float32)
    other = one.copy()
    other[0] = 1e-3
    share = 1e-5
    assert divergence(one, other) == pytest.approx(1e-6 * share * (1 - share) / 2, rel=1e-2)


@pytest.mark.parametrize(
    ("reference", "other", "same"), [((0.6, 0.4), (0.9, 0.1), True), ((0.6, 0.4), (0.4, 0.6), False)]
)
def test_they_agree_where_the_most_probable_token_is_the_same(reference, other, same):
    assert agrees(logits(*reference), logits(*other)) is same


# --- what engines say ----------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 3, 64])
def test_all_that_an_engine_says_is_what_its_most_probable_tokens_are_taken_from(engine, tmp_path, at_once):
    write_gguf(tmp_path / "model.gguf", exact=True)
    llama = GgufEngine.load(tmp_path / "model.gguf", name="tiny", revision="r")
    for asked in (engine("qwen2"), llama):
        rows = list(asked.logits([1, 2, 3], [4, 5, 6, 7], at_once))
        told = asked.top_logprobs([1, 2, 3], [4, 5, 6, 7], 1)
        assert len(rows) == len(told) == 5
        for row, [best] in zip(rows, told, strict=True):
            shifted = row.astype(np.float64) - row.max()
            assert row.dtype == np.float32
            assert int(row.argmax()) == best.id
            assert -math.log(np.exp(shifted).sum()) == pytest.approx(best.logprob, abs=1e-4)


def test_an_engine_is_no_distance_from_itself_and_some_from_another(engine, tmp_path, checkpoint):
    from checkpoints import build

    from fim_magic.engines.torch.local import LocalEngine

    reference = engine("qwen2")
    other = LocalEngine.load(build("qwen2", tmp_path / "other", seed=1), name="other", revision="tiny")
    done: list[Compared] = []
    compare(reference, {"same": reference, "other": other}, [HOLE, OTHER], done, silent)
    assert [each.name for each in done] == ["one", "two"]
    for prompt, each in zip(prompts_of(reference, [HOLE, OTHER]), done, strict=True):
        for part, places in ((READ, len(prompt.ids) - 1), (WRITTEN, len(prompt.answer) + 1)):
            same, far = each.places["same"][part], each.places["other"][part]
            assert len(same.divergences) == len(same.agreed) == len(far.divergences) == places
            assert max(same.divergences) < 1e-6
            assert all(same.agreed)
            assert min(far.divergences) > 1e-3


def test_places_are_those_that_a_request_comes_through(engine):
    """A prompt's last token and all but the last of the answer are read one at a time, the rest at once."""
    reference = engine("qwen2")
    asked = []

    class Listening:
        info, family, tokenizer, context_length = (
            reference.info,
            reference.family,
            reference.tokenizer,
            reference.context_length,
        )

        def logits(self, prompt, continuation, at_once):
            asked.append((list(prompt), list(continuation), at_once))
            return reference.logits(prompt, continuation, at_once)

    compare(Listening(), {"same": reference}, [HOLE], [], silent)
    (prompt,) = prompts_of(reference, [HOLE])
    ids, answer = list(prompt.ids), list(prompt.answer)
    assert asked == [(ids[:1], ids[1:-1], 64), (ids, answer, 1)]


def test_other_tokens_for_the_same_text_are_refused(engine):
    with pytest.raises(OptionError, match="other tokens for the same text"):
        compare(engine("qwen2"), {"engine=gguf": engine("starcoder2")}, [HOLE], [], silent)


def test_what_was_compared_stays_when_it_is_interrupted(engine):
    reference, done = engine("qwen2"), []

    def interrupt(progress):
        if progress.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(reference, {"same": reference}, [HOLE, OTHER], done, interrupt)
    assert [each.name for each in done] == ["one"]


# --- prompts -------------------------------------------------------------------------------------


def benchmark(path, tasks: int):
    rows = [
        {
            "task_id": f"SingleLineInfilling/HumanEval/{number}/L0",
            "entry_point": "f",
            "prompt": f"def f{number}(x):\n    return ",
            "suffix": "\n",
            "canonical_solution": f"x + {number}",
            "test": "",
        }
        for number in range(tasks)
    ]
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    return path


@pytest.mark.parametrize(
    ("tasks", "limit", "taken"), [(10, 5, [0, 2, 4, 6, 8]), (3, 20, [0, 1, 2]), (7, 3, [0, 2, 4]), (4, 1, [0])]
)
def test_prompts_are_spread_over_the_set_and_the_same_each_time(engine, tmp_path, tasks, limit, taken):
    path = benchmark(tmp_path / "set.jsonl.gz", tasks)
    name, found = excerpts(str(path), limit, engine("qwen2"))
    assert name == "single-line"
    assert [each.middle for each in found] == [f"x + {number}" for number in taken]
    assert [each.group for each in found] == [f"HumanEval/{number}" for number in taken]
    assert excerpts(str(path), limit, engine("qwen2")) == (name, found)


def test_pythons_own_library_has_real_answers(engine):
    name, found = excerpts(None, 4, engine("qwen2"))
    assert name == PYTHON
    assert excerpts(None, 4, engine("qwen2")) == (name, found)
    assert len({each.document.prefix for each in found}) == 4
    for prompt in prompts_of(engine("qwen2"), found):
        assert 0 < len(prompt.answer) <= ANSWER_TOKENS
        assert len(prompt.ids) + len(prompt.answer) <= engine("qwen2").context_length


def test_a_model_that_cannot_infill_is_refused(engine):
    with pytest.raises(OptionError, match="cannot infill"):
        prompts_of(engine("llama"), [HOLE])


# --- the report ----------------------------------------------------------------------------------


def compared(name, group, **divergences) -> Compared:
    return Compared(
        name,
        group,
        {
            other: {part: Places(tuple(found), tuple(far < 0.5 for far in found)) for part in (READ, WRITTEN)}
            for other, found in divergences.items()
        },
    )


def report_of(*prompts) -> ExactnessReport:
    others = dict.fromkeys(prompts[0].places, "cpu") if prompts else {"a": "cpu"}
    return ExactnessReport({"model": "tiny", "reference": "cpu, float32"}, others, list(prompts))


def test_figures_are_over_all_places():
    found = report_of(compared("p", "p", a=[0.0, 0.2]), compared("q", "q", a=[1.0])).figures("a", READ)
    assert (found.places, found.highest, found.p99) == (3, 1.0, 1.0)
    assert found.mean == pytest.approx(0.4)
    assert found.agreement == pytest.approx(2 / 3)
    assert found.mean_interval.low == pytest.approx(0.1)  # the first prompt alone
    assert found.mean_interval.high == pytest.approx(1.0)  # the second


def test_p99_leaves_one_in_a_hundred_out():
    assert report_of(compared("p", "p", a=[number / 1000 for number in range(200)])).figures("a", WRITTEN).p99 == 0.197


def test_of_one_group_there_is_no_interval():
    found = report_of(compared("p", "g", a=[0.1]), compared("q", "g", a=[0.2])).figures("a", READ)
    assert (found.mean_interval, found.agreement_interval) == (None, None)


def test_others_are_compared_with_the_first_in_pairs():
    prompts = [compared(f"p{n}", f"p{n}", a=[n, n + 1.0], b=[n + 0.25, n + 1.25]) for n in range(6)]
    (change,) = report_of(*prompts).changes(READ)
    assert (change.name, change.against) == ("b", "a")
    assert change.mean == pytest.approx(0.25)
    # Prompts differ far more than that; paired, all of them say the same.
    assert (change.mean_interval.low, change.mean_interval.high) == pytest.approx((0.25, 0.25))


def test_a_report_says_everything_in_its_width():
    shown = table(report_of(*(compared(f"p{n}", f"p{n}", a=[0.001, 0.9], b=[0.0, 0.1]) for n in range(3))))
    assert max(map(len, shown.splitlines())) <= WIDTH
    for text in ("float32", "4.5e-01", "50.00 %", "b less a, place by place", "-4.0e-01", "+50.00 points"):
        assert text in shown


def test_nothing_compared_is_said():
    assert "none" in table(report_of())
    assert json.loads(report_of().to_json())["figures"] == {"a": {READ: None, WRITTEN: None}}


# --- the command ---------------------------------------------------------------------------------


def test_the_command_compares_a_file_with_itself_in_llama_cpp(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))
    write_gguf(tmp_path / "model.gguf", exact=True)
    path = benchmark(tmp_path / "set.jsonl.gz", 3)
    words = ["exactness", "-m", tmp_path / "model.gguf", "--set", path, "--json", tmp_path / "out.json"]
    assert cli.main([*map(str, words), "--against", "engine=gguf", "--against", "precision=exact"]) == 0
    told = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert list(told["others"]) == ["engine=gguf", "precision=exact"]
    assert "llama.cpp" in told["others"]["engine=gguf"]
    assert told["about"]["prompts"] == "3 of single-line"
    for part in (READ, WRITTEN):
        assert told["figures"]["precision=exact"][part]["mean"] < 1e-9
        # The tiny file's weights are exact in both; llama.cpp's own rounding is left.
        assert told["figures"]["engine=gguf"][part]["mean"] < 1e-3
        assert told["figures"]["engine=gguf"][part]["agreement"] > 0.9
    assert len(told["prompts"]) == 3
    shown = capsys.readouterr().out
    assert "precision=exact less engine=gguf" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--against", "gguf"], "--against takes NAME=VALUE"),
        (["--against", "seed=1"], "'seed=1' is not"),
        (["--against", "engine="], "'engine=' is not"),
        (["--against", ","], "--against names what is compared"),
        (["--limit", "0"], "--limit is at least 1"),
        (["--json", "/nowhere/at/all.json"], "There is no folder '/nowhere/at'"),
    ],
)
def test_options_that_make_no_sense_are_told_before_anything_is_loaded(words, said, capsys):
    assert cli.main(["exactness", "-m", "/no/model", *words]) == 1
    assert said in capsys.readouterr().err


def test_a_server_is_refused(capsys):
    assert cli.main(["exactness", "-m", "vllm://127.0.0.1:1"]) == 1
    assert "a server" in capsys.readouterr().err


@pytest.mark.real_model
def test_llama_cpp_is_near_the_float32_model(tmp_path):
    path = tmp_path / "out.json"
    words = ["exactness", "-m", "qwen2.5-coder-0.5b", "--limit", "1", "--json", str(path)]
    assert cli.main(words) == 0
    found = json.loads(path.read_text("utf-8"))["figures"]["engine=gguf"]
    assert found[READ]["places"] > 100
    assert found[WRITTEN]["places"] > 5
    for part in (READ, WRITTEN):
        assert 1e-6 < found[part]["mean"] < 5e-3
        assert found[part]["agreement"] > 0.95
