"""Intervals, tests and estimates against known values, and the numbers of a report from answers."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fim_magic.candidate import Candidate, Check, Cut, Ending
from fim_magic.document import Document
from fim_magic.evaluate.answers.answer import StoredAnswer
from fim_magic.evaluate.answers.benchmarks import Benchmark
from fim_magic.evaluate.answers.intervals import bootstrap, mcnemar, pass_at, wilson
from fim_magic.evaluate.answers.published import PUBLISHED, published
from fim_magic.evaluate.answers.reckoning import reckon
from fim_magic.evaluate.answers.report import BenchmarkReport, table
from fim_magic.evaluate.printing import WIDTH


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [(60, 100, 0.5020, 0.6906), (81, 263, 0.2553, 0.3662), (0, 20, 0.0, 0.1611), (29, 29, 0.8830, 1.0), (0, 0, 0, 1)],
)
def test_interval_of_a_share_is_wilsons(successes, total, low, high):
    found = wilson(
        successes, total
    )  # 81/263, 0/20 and 29/29 among others: Newcombe 1998, Statistics in Medicine 17:857
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@pytest.mark.parametrize(
    ("gained", "lost", "p"), [(10, 2, 158 / 4096), (2, 10, 158 / 4096), (0, 0, 1.0), (5, 5, 1.0), (6, 0, 2 / 64)]
)
def test_mcnemar_is_the_exact_binomial(gained, lost, p):
    assert mcnemar(gained, lost) == pytest.approx(p)


def test_mcnemar_holds_for_many_tasks():
    assert 0.0 <= mcnemar(3000, 1000) < 1e-100


def test_bootstrap_is_as_wide_as_theory_says():
    draw = random.Random(1)
    values = {str(n): float(draw.random() < 0.3) for n in range(400)}
    share = sum(values.values()) / 400
    found = bootstrap(values, {task: task for task in values})
    spread = 1.96 * (share * (1 - share) / 400) ** 0.5
    assert found.low == pytest.approx(share - spread, abs=0.008)
    assert found.high == pytest.approx(share + spread, abs=0.008)
    assert bootstrap(values, {task: task for task in values}) == found


def test_tasks_that_stand_or_fall_together_make_the_interval_wider():
    values = {f"{n} {copy}": float(n % 2) for n in range(40) for copy in range(10)}
    alone = bootstrap(values, {task: task for task in values})
    together = bootstrap(values, {task: task.partition(" ")[0] for task in values})
    assert together.high - together.low > 2.5 * (alone.high - alone.low)


def test_bootstrap_of_what_does_not_vary():
    found = bootstrap({"a": 0.5, "b": 0.5}, {"a": "a", "b": "b"})
    assert (found.low, found.high) == (0.5, 0.5)
    assert bootstrap({}, {}).low == -1.0


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.data())
def test_pass_at_k_is_the_mean_over_all_ways_to_draw(samples, data):
    k = data.draw(st.integers(1, len(samples)))
    draws = [any(drawn) for drawn in itertools.combinations(samples, k)]
    assert pass_at(k, len(samples), sum(samples)) == pytest.approx(sum(draws) / len(draws))


def test_published_numbers_are_of_the_models_that_the_catalogue_knows():
    from fim_magic import catalog

    names = {each.model for each in PUBLISHED} - {"FIM50 6.9B", "FIM90 6.9B", "code-davinci-002"}
    assert all(catalog.find(name) is not None for name in names)
    assert all(0 < each.percent < 100 and each.source for each in PUBLISHED)
    assert [(p.order, p.percent) for p in published("codellama-7b", "single-line")] == [("psm", 74.1), ("spm", 83.3)]
    assert published("codellama-7b", "random-span-light") == published("codellama-7b", "random-span")
    assert not published("qwen2.5-coder-0.5b", "single-line")


# --- from answers to numbers ---------------------------------------------------------------------


def task(name, topic=(), needs=()):
    return SimpleNamespace(
        task_id=name,
        document=Document("", ""),
        canonical="right\n",
        topic=topic,
        needs=needs,
        program=lambda middle: middle,
    )


def candidate(raw, rule=None, same=1):
    cut = None if rule is None else Cut(rule, raw.index("|"))
    return Candidate(raw, Ending.RULE if cut else Ending.STOP_TOKEN, cut, (1, 2), (-0.1, -0.2), (1, 2), same=same)


def answer(name, *candidates, same_as=""):
    return StoredAnswer(name, "key", "sha", candidates, 100, 40, 0.1, 0.5, "psm", "2026-01-02T03:04:05+00:00", same_as)


def numbers(
    answers,
    tasks,
    first=lambda a, checked: a.candidates[0].middle,
    passed=lambda t, m: m.startswith("right"),
    sampled=True,
):
    benchmark = Benchmark("single-line", tuple(tasks), 1033, "file.jsonl", "ab" * 32)
    return reckon(benchmark, answers, passed, first, model="codellama-7b", sampled=sampled)


def test_answer_is_read_back_as_it_was():
    whole = Candidate(
        "raw", Ending.RULE, Cut("dedent", 2), (1,), (-0.25,), (3,), (Check("parses", True),), 2, "because", ((0, 1),)
    )
    there = answer("t", whole, same_as="raw")
    assert StoredAnswer.from_json(there.to_json()) == there
    told = replace(there, canonical_logprob=-1.5)
    assert StoredAnswer.from_json(told.to_json()) == told
    earlier = {name: value for name, value in there.to_json().items() if name != "canonical_logprob"}
    assert StoredAnswer.from_json(earlier) == there


def test_checks_are_stored_as_they_were_in_the_first_results():
    first = {"name": "names", "passed": False, "said": "undefined: x", "share": 0.0, "names": ["x"]}
    whole = Candidate("raw", Ending.RULE, checks=(Check("names", False, "undefined: x", names=("x",)),))
    row = answer("t", whole).to_json()
    assert row["candidates"][0]["checks"] == [first | {"names": ("x",)}]
    row["candidates"][0]["checks"] = [first]
    assert StoredAnswer.from_json(row).candidates[0] == whole


def test_how_probable_the_right_middles_are_is_told_on_the_same_tasks():
    def read(name, logprob):
        return replace(answer(name, candidate("right")), canonical_logprob=logprob)

    answers = {
        "trimmed": {"0": read("0", -4.0), "1": read("1", -6.0), "2": read("2", None)},
        "context auto": {"0": read("0", -3.0), "1": read("1", -3.0), "2": read("2", -99.0)},
        "many": {"0": answer("0", candidate("right"))},
    }
    found = numbers(answers, [task(str(n)) for n in range(3)])
    trimmed, auto = found.likelihoods
    assert (trimmed.name, trimmed.tasks, trimmed.nats, trimmed.gained, trimmed.interval) == ("trimmed", 2, -5, 0, None)
    assert (auto.name, auto.tasks, auto.nats, auto.gained) == ("context auto", 2, -3.0, 2.0)
    assert (auto.interval.low, auto.interval.high) == (1.0, 3.0)
    shown = table(BenchmarkReport({}, [found]))
    assert "  -3.0  +2.0  +1.0 to +3.0" in shown
    assert "nats a task" in shown
    assert "nats a task" not in table(BenchmarkReport({}, [numbers({"trimmed": answers["many"]}, [task("0")])]))


def test_rules_are_told_with_what_they_mended_and_broke():
    tasks = [task(str(n)) for n in range(4)]
    answers = {
        "raw": {str(n): answer(str(n), candidate("wrong")) for n in range(4)},
        "healed": {
            "0": answer("0", candidate("wrong|x")),
            "1": answer("1", candidate("right|x")),
            "2": answer("2", candidate("right")),
            "3": answer("3", candidate("wrong")),
        },
        "trimmed": {
            "0": answer("0", candidate("right|x", "dedent")),
            "1": answer("1", candidate("wrong|x", "dedent")),
            "2": answer("2", candidate("right")),
            "3": answer("3", candidate("right|", "end-of-line")),
        },
    }
    found = numbers(answers, tasks)
    assert found.untrimmed == "healed"
    assert {t.rule: (t.fired, t.share, t.mended, t.broke) for t in found.trimming} == {
        "dedent": (2, 0.5, 1, 1),
        "no rule": (1, 0.25, 0, 0),
        "end-of-line": (1, 0.25, 1, 0),
    }
    assert {arm.name: (arm.share, arm.exact) for arm in found.arms} == {
        "raw": (0, 0),
        "healed": (0.5, 0.25),
        "trimmed": (0.75, 0.75),
    }
    (difference,) = (d for d in found.differences if (d.first, d.second) == ("healed", "trimmed"))
    assert (difference.gained, difference.lost, difference.difference, difference.p) == (2, 1, 0.25, 1.0)
    assert found.arms[0].tokens == 2
    assert found.arms[0].reused_tokens == 40


def test_candidates_that_say_the_same_count_as_many():
    answers = {"many": {"a": answer("a", candidate("wrong", same=3), candidate("right"))}}
    found = numbers(answers, [task("a")], first=lambda a, checked: a.candidates[1 if checked else 0].middle)
    assert {arm.name: arm.share for arm in found.arms} == {"random": 0.25, "chosen": 0.0, "checked": 1.0, "any": 1.0}
    assert found.pass_at == {1: 0.25, 2: 0.5, 3: 0.75, 4: 1.0}
    assert numbers(answers, [task("a")], sampled=False).pass_at == {}
    methods = {arm.name: arm.interval.method for arm in found.arms}
    assert methods == {"random": "bootstrap", "chosen": "Wilson", "checked": "Wilson", "any": "Wilson"}


def test_what_was_not_run_does_not_count():
    answers = {"trimmed": {"a": answer("a", candidate("right")), "b": answer("b", candidate("unknown"))}}
    found = numbers(answers, [task("a"), task("b")], passed=lambda t, m: None if m == "unknown" else True)
    assert [(arm.tasks, arm.share) for arm in found.arms] == [(1, 1.0)]


def test_set_is_broken_down_by_what_its_tasks_say():
    tasks = [task("a", "plots", ("names", "cells")), task("b", "plots"), task("c", "tables", ("names",))]
    answers = {
        "trimmed": {name: answer(name, candidate("wrong" if name == "b" else "right")) for name in "abc"},
    }
    parts = {(p.facet, p.word): (p.tasks, p.passed["trimmed"]) for p in numbers(answers, tasks).parts}
    assert parts == {
        ("topic", "plots"): (2, (1.0, 2)),
        ("topic", "tables"): (1, (1.0, 1)),
        ("needs", "names"): (2, (2.0, 2)),
        ("needs", "cells"): (1, (1.0, 1)),
    }


def test_report_says_what_is_compared_and_with_what():
    tasks = [task(str(n), "plots") for n in range(4)]
    said = ["right", "wrong", "right", "wrong"]
    answers = {
        "raw": {str(n): answer(str(n), candidate(said[n])) for n in range(4)},
        "trimmed": {str(n): answer(str(n), candidate("right|x", "dedent")) for n in range(4)},
    }
    about = {
        "model": "codellama-7b",
        "revision": "abc",
        "machine": "a processor",
        "command": "fim-magic eval",
        "date": "2026-01-02",
        "every": 250,
        "offset": 3,
        "candidates": 5,
    }
    told = table(BenchmarkReport(about, [numbers(answers, tasks)], ["It was hot."], ["A remark."]))
    lines = told.splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert lines[:8] == [
        "fim-magic eval: codellama-7b",
        "  revision: abc",
        "  machine:  a processor",
        "  command:  fim-magic eval",
        "  date:     2026-01-02",
        "WARNING: It was hot.",
        "",
        "single-line: 4 of 1,033 tasks, those whose index leaves 3 when divided by 250; file.jsonl, sha256",
    ]
    for line in (
        "  50.0 %  15.0 to 85.0     50.0 %      4     2.0     0.50  raw",
        " 100.0 %  51.0 to 100.0   100.0 %      4     2.0     0.50  trimmed",
        "  74.1 %  published (psm, arXiv 2308.12950, table 14, greedy)",
        "     +50.0  +0.0 to +100.0   2 gained, 0 lost, p 0.5             trimmed less raw",
        "    dedent              4 tasks, 100.0 %: mended 2, broke 0",
        "    plots                        4   50.0 %  100.0 %",
        "A remark.",
    ):
        assert line in lines, told
