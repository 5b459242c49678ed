from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from checkpoints import CONTEXT
from gguf_files import write_gguf
from hypothesis import given
from hypothesis import strategies as st
from scripted import ScriptedEngine

from fim_magic import cli
from fim_magic.catalog import QWEN_0_5B_GGUF
from fim_magic.engines.torch import gguf_conversion, precision
from fim_magic.engines.torch.devices import dtype_for
from fim_magic.engines.torch.precision import Costs
from fim_magic.engines.torch.quantised_tensors import unpacked
from fim_magic.errors import FimError, ModelError, OptionError
from fim_magic.evaluate import picture
from fim_magic.evaluate.printing import WIDTH
from fim_magic.evaluate.speed import bench, fresh, llama_server, machine, measure, plot, subject
from fim_magic.evaluate.speed.arms import (
    GENERATE,
    GGUF,
    LLAMA_CPP,
    OURS,
    PLAIN,
    EngineArm,
    GenerateArm,
    LlamaCppArm,
    TimedAnswer,
)
from fim_magic.evaluate.speed.measure import Fresh, Record, Timing, TokenCheck, rotated
from fim_magic.evaluate.speed.random_weights import (
    LAYOUTS,
    SHAPES,
    _RandomTensors,
    build,
    config_of,
    tokenizer_for,
)
from fim_magic.evaluate.speed.ratios import limit, share_of_limit
from fim_magic.evaluate.speed.report import SpeedReport, table
from fim_magic.evaluate.speed.workloads import MEASURES, Workload, edited, workloads
from fim_magic.loading.memory import MemoryProbe

CPU = torch.device("cpu")
INFILL = Workload("infill", "infill 1", tuple(range(20)), 6)


class FakeArm:
    """Answers what it is told to, and keeps a diary."""

    device = CPU

    def __init__(self, name: str, ids=(1, 2, 3, 4, 5, 6), diary=None, seconds=1.0) -> None:
        self.name = name
        self.ids = list(ids)
        self.diary = [] if diary is None else diary
        self.seconds = seconds

    def forget(self):
        self.diary.append((self.name, "forget"))

    def ask(self, prompt, workload):
        self.diary.append((self.name, tuple(prompt)))
        ids = [self.ids[: workload.new_tokens]] * workload.candidates
        return TimedAnswer(
            ids, [self.seconds * (at + 1) for at in range(workload.new_tokens)], self.seconds * 10, reused=3
        )

    def bytes_per_token(self, context):
        return 1000


def asked(arms, *found: Workload, rounds=1) -> Record:
    record = Record()
    measure.measure(arms, found, rounds, record, lambda *_: None)
    return record


def timing(arm, seconds, *, measured="infill", name="infill 1", first=0.5, rate=10.0, at_round=0, **more) -> Timing:
    return Timing(measured, name, arm, at_round, 500, 64, more.pop("candidates", 1), first, seconds, rate, **more)


# --- in turns ------------------------------------------------------------------------------------


@given(st.lists(st.integers(), max_size=5, unique=True), st.integers(-3, 10))
def test_an_order_is_turned_and_loses_nobody(items, by):
    turned = rotated(items, by)
    assert sorted(turned) == sorted(items)
    assert rotated(turned, -by) == items


def test_every_arm_is_first_in_its_turn():
    diary = []
    asked([FakeArm(name, diary=diary) for name in (GENERATE, OURS, PLAIN)], INFILL, rounds=3)
    who = [name for name, what in diary if what != "forget"][3:]  # the warm-up comes first
    assert who == [GENERATE, OURS, PLAIN, OURS, PLAIN, GENERATE, PLAIN, GENERATE, OURS]


def test_warm_ups_are_asked_and_kept_apart():
    arm = FakeArm(GENERATE)
    record = asked([arm], INFILL, rounds=2)
    assert [each.round for each in record.timings] == [0, 1]
    assert [each.round for each in record.warm_ups] == [-1]
    assert arm.diary.count((GENERATE, INFILL.prompt)) == 3


def test_the_longest_prompts_are_read_less_often_on_a_cpu_and_only_there():
    longest = Workload("lengths", "8000 tokens", (1,) * 8000, 2)
    arm = FakeArm(GENERATE)
    assert len(asked([arm], longest, rounds=5).timings) == measure.LONG_ROUNDS
    assert len(asked([arm], longest, rounds=1).timings) == 1
    arm.device = torch.device("cuda")
    assert len(asked([arm], longest, rounds=5).timings) == 5


def test_every_request_begins_cold_but_for_the_one_before_an_edit():
    arm = FakeArm(OURS)
    edit = Workload("edit", "an edit", (1, 2, 9), 2, before=(1, 2, 3))
    asked([arm], INFILL, edit)
    cold = [(OURS, "forget"), (OURS, INFILL.prompt)]
    assert arm.diary == [*cold, *cold, *[(OURS, "forget"), (OURS, edit.before), (OURS, edit.prompt)] * 2]


def test_an_arm_takes_part_only_where_it_says_something():
    arms = [FakeArm(name) for name in (GENERATE, OURS, PLAIN, GGUF, LLAMA_CPP)]
    edit = Workload("edit", "an edit", (1, 2, 9), 2, before=(1, 2, 3))
    assert {each.arm for each in asked(arms, edit).timings} == {GENERATE, OURS, GGUF}


def test_bandwidth_is_read_around_each_infill_and_the_higher_reading_counts():
    readings = iter([30e9, 20e9, 50e9])
    record = Record(bandwidth=[10e9])
    edit = Workload("edit", "an edit", (1, 2, 9), 2, before=(1, 2, 3))
    measure.measure([FakeArm(OURS)], [INFILL, edit], 2, record, lambda *_: None, read_bandwidth=lambda: next(readings))
    assert record.bandwidth == [10e9, 30e9, 20e9, 50e9]
    assert [each.bandwidth for each in record.warm_ups] == [30e9, None]
    assert [each.bandwidth for each in record.timings] == [30e9, 50e9, None, None]


def test_what_was_measured_before_an_interrupt_stays():
    class Interrupted(FakeArm):
        def ask(self, prompt, workload):
            if self.diary.count((self.name, workload.prompt)) == 3:
                raise KeyboardInterrupt
            return super().ask(prompt, workload)

    record = Record()
    with pytest.raises(KeyboardInterrupt):
        measure.measure([Interrupted(GENERATE)], [INFILL], 5, record, lambda *_: None)
    assert len(record.timings) == 2


# --- the same tokens -----------------------------------------------------------------------------


def test_an_arm_that_answers_otherwise_fails_the_check():
    liar = FakeArm(OURS, (1, 2, 3, 0, 5, 6))
    record = asked([FakeArm(GENERATE), liar, FakeArm(PLAIN)], INFILL)
    wrong, right = sorted(record.checks, key=lambda check: check.arm)
    assert (wrong.arm, wrong.passed, str(wrong)) == (OURS, False, "other from token 4 on")
    assert (right.arm, right.passed, str(right)) == (PLAIN, True, "6 of 6 the same")
    report = SpeedReport({}, record)
    assert report.failed_checks == [wrong]
    assert re.search(r"DIFFERENT +infill, infill 1 +fim-magic +other from token 4 on", table(report))


def test_an_answer_that_is_too_short_fails_the_check():
    record = asked([FakeArm(GENERATE), FakeArm(OURS, (1, 2, 3))], INFILL)
    assert not record.checks[0].passed


def test_another_engine_is_compared_and_may_differ():
    record = asked([FakeArm(GENERATE), FakeArm(GGUF, (9,) * 6)], INFILL)
    assert [check.passed for check in record.checks] == [False]
    assert SpeedReport({}, record).failed_checks == []
    assert "  different" in table(SpeedReport({}, record))


def test_an_arm_that_tells_no_ids_is_not_compared():
    silent = FakeArm(LLAMA_CPP)
    silent.ask = lambda _prompt, _workload: TimedAnswer([], [1.0, 2.0], 3.0)
    assert asked([FakeArm(GENERATE), silent], INFILL).checks == []


def test_drawn_tokens_are_not_compared():
    drawn = Workload("candidates", "4 candidates", (1, 2), 6, 4, sampled=True)
    assert asked([FakeArm(GENERATE), FakeArm(OURS, (9,) * 6)], drawn).checks == []


# --- rates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "tokens", "rate"),
    [
        ([1.0, 2.0, 3.0], 3, 1.0),
        ([1.0, 2.0, 2.0, 2.0], 4, 3.0),  # three at once, by speculation
        ([1.0, 1.0, 2.0], 3, 1.0),  # the first two at once count for the first moment
        ([1.0, 3.0], 5, 2.0),  # a server held some back
        ([1.0], 1, None),
        ([1.0, 1.0], 2, None),
    ],
)
def test_decode_rate(at, tokens, rate):
    assert measure.decode_rate(at, tokens) == rate


def test_the_limit_is_bandwidth_by_bytes():
    record = Record(bandwidth=[18e9, 22e9], bytes_per_token={OURS: 10**9})
    assert limit(record, OURS) == 20.0
    assert limit(record, GENERATE) is None


def test_a_share_of_the_limit_is_that_of_the_moment():
    record = Record(bandwidth=[20e9], bytes_per_token={OURS: 10**9})
    assert share_of_limit(record, timing(OURS, 1.0, rate=10.0)) == 0.5
    assert share_of_limit(record, timing(OURS, 1.0, rate=10.0, bandwidth=40e9)) == 0.25
    assert share_of_limit(record, timing(OURS, 1.0, rate=None)) is None
    assert share_of_limit(record, timing(GENERATE, 1.0)) is None


@pytest.mark.parametrize(
    ("readings", "load", "told"),
    [
        ([10e9, 11e9], 0.0, ()),
        ([10e9, 12e9], 0.1, ("from 10.0 to 12.0 GB/s",)),
        ([10e9], 1.5, ("load average was 1.5",)),
        ([10e9, 8e9], 2.0, ("not steady", "something else runs")),
        ([], None, ()),
    ],
)
def test_a_disturbed_machine_is_told(readings, load, told):
    found = machine.disturbances(readings, load)
    assert len(found) == len(told)
    assert all(words in warning for words, warning in zip(told, found, strict=True))


def test_bandwidth_is_that_of_some_memory():
    assert 1e6 < machine.bandwidth(CPU, buffer_bytes=2**20) < 1e14


# --- the report ----------------------------------------------------------------------------------


@pytest.fixture
def full() -> SpeedReport:
    """A report with every row and every goal: medians differ from means, so that they cannot be mistaken."""
    record = Record(bandwidth=[20e9, 20e9], bytes_per_token={GENERATE: 2 * 10**9, OURS: 10**9, PLAIN: 10**9})
    record.warm_ups += [timing(GENERATE, 20.0, at_round=-1), timing(OURS, 40.0, at_round=-1)]
    speeds = {GENERATE: 10.0, OURS: 4.0, PLAIN: 5.0, GGUF: 2.0, LLAMA_CPP: 3.0}
    for arm, seconds in speeds.items():
        record.timings += [timing(arm, value, rate=80 / seconds) for value in (seconds, seconds, 100.0)]
    for arm, first in {GENERATE: 3.0, OURS: 0.1}.items():
        before = None if arm == GENERATE else 4.0
        record.timings.append(timing(arm, 1.0, measured="edit", name="the last 20 tokens", first=first, before=before))
    for n, seconds in ((1, 4.0), (4, 6.0), (8, 12.0)):
        more = {"measured": "candidates", "name": f"{n} candidates", "candidates": n}
        record.timings += [timing(GENERATE, seconds * 2, **more), timing(OURS, seconds, **more)]
    for tokens, first in ((500, 1.0), (2000, 4.5), (8000, 24.0)):
        for arm in (GENERATE, OURS):
            each = timing(arm, 1.0, measured="lengths", name=f"{tokens} tokens", first=first)
            record.timings.append(Timing(**{**vars(each), "prompt_tokens": tokens}))
    record.fresh += [Fresh(GENERATE, 0, 2.0, 3.0, 2 * 10**9), Fresh(OURS, 0, 1.0, 1.5, 10**9)]
    record.load_ext = {"fim_magic": [0.04, 0.04, 0.9], "bare": [0.01, 0.01, 0.01]}
    record.checks += [
        TokenCheck("infill, infill 1", OURS, 64, 64, True),
        TokenCheck("infill, infill 1", GGUF, 3, 64, False),
    ]
    return SpeedReport({"model": "a-model", "command": "fim-magic bench", "rounds": 3}, record, ["It was loud."])


def ratio(report, what, arm, against) -> float:
    (row,) = (r for r in report.rows if r.what.startswith(what) and r.arm == arm and r.against == against)
    return row.ratio


@pytest.mark.parametrize(
    ("what", "arm", "against", "expected"),
    [
        ("whole infill", OURS, GENERATE, 2.5),
        ("whole infill", GGUF, LLAMA_CPP, 1.5),
        ("whole infill", OURS, LLAMA_CPP, 0.75),
        ("decode", OURS, GENERATE, 2.5),
        ("decode", PLAIN, "the limit", 16 / 20),
        ("the first infill", OURS, GENERATE, 0.5),
        ("edit: the last", OURS, GENERATE, 30.0),
        ("edit: the last", OURS, "its first request", 0.025),
        ("n = 4", OURS, GENERATE, 2.0),
        ("n = 4", OURS, "itself, n = 1", 1.5),
        ("n = 8", OURS, "generate(), n = 1", 1.5),
        ("prefill of 8000", OURS, "itself, shortest", 1.5),
        ("peak memory", OURS, GENERATE, 2.0),
        ("load and first", OURS, GENERATE, 2.0),
    ],
)
def test_ratios_are_those_of_medians(full, what, arm, against, expected):
    assert ratio(full, what, arm, against) == pytest.approx(expected)


def test_goals_of_a_cpu(full):
    found = {goal.what: (round(goal.measured, 3), goal.reached) for goal in full.goals}
    assert found == {
        "whole infill against generate()": (2.5, True),
        "decode without speculation, of the memory limit": (80.0, True),
        "repeat after an edit, of the first request": (2.5, True),
        "4 candidates against one": (1.5, True),
        "8 candidates against one plain generate()": (1.5, True),
        "best engine here against llama.cpp": (1.5, True),
        "%load_ext beyond a bare extension": (30.0, True),
        "prefill per token, 8k against 0.5k": (1.5, True),
    }


def test_goals_of_a_gpu(full):
    full.on_gpu = True
    found = {goal.what: (round(goal.measured, 3), goal.reached) for goal in full.goals}
    assert found["decode without speculation, of the memory limit"] == (80.0, True)
    assert found["decode against generate()"] == (2.5, False)
    assert found["8 candidates against one"] == (3.0, False)


def test_speculation_does_not_count_with_random_weights(full):
    full.random_weights = True
    assert full.goals[0].measured == 2.0


def test_what_was_not_measured_is_not_reached_either():
    found = SpeedReport({}).goals
    assert len(found) == 8
    assert {goal.verdict for goal in found} == {"not measured"}


def test_packed_weights_have_goals_of_their_own_and_may_say_something_else(full):
    full.record.checks.append(TokenCheck("infill, 1", OURS, 3, 64, demanded=True))
    assert full.failed_checks
    assert "  DIFFERENT" in table(full)
    full.is_packed = True
    assert not full.failed_checks
    assert "  DIFFERENT" not in table(full)
    found = {goal.what: goal for goal in full.goals}
    assert found["whole infill against generate()"].bound == 4.0
    assert found["whole infill against generate()"].measured == 2.5
    assert found["8 candidates against one plain generate()"].bound == 0.35
    assert SpeedReport.from_json(full.to_json()).goals == full.goals


def test_the_table_fits_and_ends_with_the_goals(full):
    full.remarks.append("A long remark. " * 20)
    full.about["command"] = "fim-magic bench " + "--json file " * 20
    lines = table(full).splitlines()
    assert max(map(len, lines)) <= WIDTH
    ending = lines[lines.index("Goals:") + 1 :]
    assert [re.split(r"\s{2,}", line.strip())[1] for line in ending] == [goal.what for goal in full.goals]
    assert any("2.50x  generate()" in line and line.endswith(">= 2.00x") for line in lines)
    assert any(line.startswith("WARNING: It was loud.") for line in lines)


def test_long_times_and_large_sizes_fit_too(full):
    full.record.timings = [
        Timing(**{**vars(t), "first": t.first * 9e3, "seconds": t.seconds * 9e3}) for t in full.record.timings
    ]
    full.record.fresh = [Fresh(f.arm, 0, 1234.5, 2345.6, 140 * 10**9) for f in full.record.fresh]
    assert max(map(len, table(full).splitlines())) <= WIDTH


def test_json_comes_back_as_it_went(full):
    text = full.to_json()
    again = SpeedReport.from_json(text)
    assert again == full
    assert again.to_json() == text
    told = json.loads(text)
    assert told["goals"][0]["reached"] is True
    assert told["rows"][0]["samples"] == [10.0, 10.0, 100.0]


def test_the_picture_is_drawn(full, tmp_path):
    for name, begins in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml")):
        plot.draw(full, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(begins)
    drawn = (tmp_path / "a.svg").read_text()
    assert len(drawn) > 10_000


def test_the_picture_of_nothing_can_be_drawn(tmp_path):
    plot.draw(SpeedReport({}), tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


def test_without_matplotlib_the_error_says_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(OptionError, match=r"pip install 'fim-magic\[bench\]'"):
        picture.require(tmp_path / "a.png")


# --- what is asked -------------------------------------------------------------------------------


def test_infills_of_real_code_are_several_and_have_their_length(engine):
    local = engine("qwen2")
    found = workloads(local, ["infill"], new_tokens=64)
    assert [len(each.prompt) for each in found] == [500, 500, 500]
    assert len({each.prompt for each in found}) == 3
    middle = local.tokenizer.sentinel("<|fim_middle|>")
    assert all(each.prompt.count(middle) == 1 for each in found)
    assert found == workloads(local, ["infill"], new_tokens=64)
    assert "def " in local.tokenizer.decode(list(found[0].prompt))


def test_a_model_that_only_completes_is_given_code_as_well(engine):
    (one, *_) = workloads(engine("llama"), ["infill"])
    assert len(one.prompt) == 500


def test_what_exceeds_the_context_is_not_asked(engine):
    found = workloads(engine("qwen2"), MEASURES)
    assert all(len(each.prompt) + each.new_tokens <= CONTEXT for each in found)
    assert {each.measure for each in found} == {"infill", "candidates", "lengths"}
    assert [each.candidates for each in found if each.measure == "candidates"] == [1, 4, 8]


def test_an_edit_changes_what_it_says():
    base, other = list(range(100)), list(range(60, 160))
    after = edited(base, other)
    assert len(after) == len(base)
    assert list(after[:79]) == base[:79]
    assert after[79] != base[79]
    assert after[-1] == base[-1]
    assert edited(base, base)[79] != base[79]  # even where the other text has the same there


def test_edits_of_real_code_share_their_beginning():
    engine = ScriptedEngine("x")
    engine.context_length = 16384
    last, middle = workloads(engine, ["edit"])
    for each, least in ((last, 1900), (middle, 500)):
        assert measure.common_prefix(each.before, each.prompt) >= least
        assert each.prompt != each.before
    assert len(last.prompt) == 2000
    # What follows the hole has to be read again: it comes after the edit.
    shared = measure.common_prefix(middle.before, middle.prompt)
    assert shared < len(middle.prompt) * 2 / 3


def test_arbitrary_prompts_have_only_ids_that_there_are():
    engine = ScriptedEngine("x")
    engine.context_length = 16384
    found = workloads(engine, MEASURES, vocabulary=50)
    assert {each.measure for each in found} == {"infill", "edit", "candidates", "lengths"}
    assert all(0 <= token < 50 for each in found for token in (*each.prompt, *each.before))
    assert [len(each.prompt) for each in found if each.measure == "lengths"] == [500, 2000, 8000]


# --- who answers ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    return build("1M", "llama", CPU, torch.float32)


def test_generate_and_our_engine_say_the_same(checkpoint, engine):
    """On a real architecture with real tokenizer files; the engine is told to ignore that a text has ended."""
    folder = checkpoint("qwen2")
    plain = GenerateArm(subject.load_plain(subject.Subject("tiny", str(folder)), CPU))
    local = engine("qwen2")
    arms = [plain, EngineArm(OURS, local, CPU), EngineArm(PLAIN, local, CPU, speculate=False)]
    found = workloads(local, ["infill"], new_tokens=24)
    record = asked(arms, *found)
    assert [check.same for check in record.checks] == [24] * 6
    assert all(len(each.at) == 24 for each in record.timings)
    assert all(0 < each.first <= each.seconds for each in record.timings)


def test_generate_goes_on_behind_an_end_token_and_without_a_penalty(small):
    workload = Workload("infill", "x", (5, 6, 7), 12)
    free = GenerateArm(small).ask(workload.prompt, workload)
    small.generation_config.eos_token_id = free.ids[0][0]
    small.generation_config.repetition_penalty = 1.5
    try:
        assert GenerateArm(small).ask(workload.prompt, workload).ids == free.ids
    finally:
        small.generation_config.eos_token_id = None
        small.generation_config.repetition_penalty = None


def test_candidates_each_have_all_their_tokens(small):
    from fim_magic.engines.torch.library_model import LibraryModel
    from fim_magic.engines.torch.local import LocalEngine

    local = LocalEngine(LibraryModel(small), tokenizer_for(small), "small", "random")
    workload = Workload("candidates", "4 candidates", (5, 6, 7), 8, 4, sampled=True)
    for arm in (GenerateArm(small), EngineArm(OURS, local, CPU)):
        answer = arm.ask(workload.prompt, workload)
        assert [len(ids) for ids in answer.ids] == [8] * 4
        assert len(answer.times) == 8


class Bursts:
    """An engine that answers several tokens a step, more than it is asked for."""

    def __init__(self, *steps):
        self.steps = [[SimpleNamespace(candidate=0, id=token, logprob=0.0) for token in step] for step in steps]
        self.finished = []
        self.reused = 2

    def generate(self, prompt, **_options):
        return self

    def prefill(self):
        yield 1

    def step(self):
        return self.steps.pop(0)

    def close(self, candidate=None):
        self.finished.append(candidate)


def test_tokens_of_one_step_come_at_one_moment_and_superfluous_ones_are_left_away():
    engine = Bursts([1], [2, 3, 4], [5, 6, 7, 8])
    answer = EngineArm(OURS, engine, CPU).ask((1,), INFILL)
    assert answer.ids == [[1, 2, 3, 4, 5, 6]]
    assert len(set(answer.times)) == 3
    assert engine.finished == [0]
    assert answer.reused == 2


def test_speculation_is_off_where_it_says_so(engine):
    loaded = engine("qwen2")
    EngineArm(PLAIN, loaded, CPU, speculate=False).ask((1,), INFILL)
    assert loaded.speculate is False
    EngineArm(OURS, loaded, CPU).ask((1,), INFILL)
    assert loaded.speculate is True


def test_an_engine_says_what_it_reads_and_forgets_when_told():
    told = []
    engine = SimpleNamespace(bytes_per_token=lambda context: context * 7, forget=lambda: told.append("forget"))
    arm = EngineArm(OURS, engine, CPU)
    arm.forget()
    assert told == ["forget"]
    assert arm.bytes_per_token(10) == 70
    assert EngineArm(GGUF, ScriptedEngine(""), CPU).bytes_per_token(10) is None


def test_an_engine_that_stops_by_itself_is_an_error_and_no_endless_loop():
    with pytest.raises(ModelError, match="ignore end tokens"):
        EngineArm(OURS, Bursts([1], []), CPU).ask((1,), INFILL)


def test_bytes_per_token_are_those_of_weights_and_cache(small):
    weights = sum(each.numel() for each in small.parameters()) * 4
    config = small.config
    head = config.hidden_size // config.num_attention_heads
    cache = 2 * config.num_hidden_layers * config.num_key_value_heads * head * 100 * 4
    assert GenerateArm(small).bytes_per_token(100) == weights + cache


class FakeServer:
    """Answers as `xllamacpp.Server` does: a chunk for each token, and one that says why it ended."""

    def __init__(self, params):
        self.params = params

    def handle_completions(self, request, on_chunk):
        self.request = request
        chunks = [{"choices": [{"text": "x", "finish_reason": None}]}] * request["max_tokens"]
        for chunk in [*chunks, {"choices": [{"text": "", "finish_reason": "length"}]}]:
            on_chunk(chunk)


@pytest.fixture
def binding(monkeypatch):
    def params():
        return SimpleNamespace(model=SimpleNamespace(), cpuparams=SimpleNamespace(), cpuparams_batch=SimpleNamespace())

    monkeypatch.setitem(sys.modules, "xllamacpp", SimpleNamespace(CommonParams=params, Server=FakeServer))


def test_llama_cpp_is_asked_plainly(binding):
    server = llama_server.load("model.gguf", context=100, threads=3)
    told = llama_server.answer(server, list(INFILL.prompt), INFILL.new_tokens)
    assert len(told["at"]) == INFILL.new_tokens
    asked_for = server.request
    assert asked_for["prompt"] == list(INFILL.prompt)
    assert (asked_for["temperature"], asked_for["cache_prompt"], asked_for["ignore_eos"]) == (0.0, False, True)
    params = server.params
    assert (params.n_ctx, params.cpuparams.n_threads, params.cpuparams_batch.n_threads) == (100, 3, 3)
    assert len(params.api_keys[0]) > 20


def test_llama_cpp_answers_from_a_process_of_its_own(tmp_path):
    write_gguf(tmp_path / "model.gguf", exact=True)
    arm = LlamaCppArm(tmp_path / "model.gguf", context=100, threads=1)
    assert arm._process.pid != os.getpid()
    for _ in range(2):
        answer = arm.ask(INFILL.prompt, INFILL)
        assert answer.ids == []
        assert answer.times == sorted(answer.times)
        assert 0 < answer.times[0] <= answer.times[-1] <= answer.seconds
    process = arm._process
    del arm
    assert process.wait(timeout=60) != 0


def test_llama_cpp_that_cannot_load_is_one_paragraph(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"no such file")
    with pytest.raises(ModelError, match=r"ended with status .* --only edit,candidates"):
        LlamaCppArm(tmp_path / "model.gguf", context=100, threads=1)


# --- random weights ------------------------------------------------------------------------------


def test_random_weights_are_the_same_each_time(small):
    again = build("1m", "llama", CPU, torch.float32)
    assert all(torch.equal(one, other) for one, other in zip(small.parameters(), again.parameters(), strict=True))
    assert {each.dtype for each in build("1M", "qwen2", CPU, torch.bfloat16).parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_computes(layout):
    model = build("1M", layout, CPU, torch.float32)
    assert model.config.model_type == layout
    assert len(GenerateArm(model).ask((1, 2, 3), INFILL).ids[0]) == INFILL.new_tokens


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_quantised_random_weights_are_written_and_loaded_without_others(tmp_path, layout, quantize):
    found = subject.made_in_place("1M", layout, quantize, tmp_path)
    engine = subject.load_engine(found, CPU)
    assert f"{quantize[0]} bits" in engine.info.precision
    decoder = engine._decoder
    logits = decoder.forward([1, 2, 3], decoder.new_cache(), all_logits=True)
    assert torch.isfinite(logits).all() and float(logits.std()) > 0
    weight = _RandomTensors(config_of("1M", layout), int(quantize[0])).packed("lm_head.weight")
    assert float(unpacked(weight).std()) == pytest.approx(0.02, rel=0.05)
    assert abs(float(unpacked(weight).mean())) < 0.001


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [size for size in SHAPES if size != "1M"])
def test_a_size_has_the_parameters_that_it_names(size, layout):
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of(size, layout))
    named = float(size[:-1]) * {"M": 1e6, "B": 1e9}[size[-1]]
    # One key and one value for all heads take a sixth off the 7B; learned positions add a quarter to the 25M.
    assert 0.78 * named < sum(each.numel() for each in model.parameters()) < 1.3 * named


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_once(tmp_path_factory):
    """The whole command once, on the smallest model, with everything that needs no process of its own."""
    folder = tmp_path_factory.mktemp("bench")
    report, whole = bench.run(
        bench.SpeedOptions(
            random_weights="1M",
            rounds=1,
            measures=("infill", "edit", "candidates"),
            json=folder / "bench.json",
            plot=folder / "bench.svg",
            new_tokens=8,
        )
    )
    assert whole
    bench.show(report, bench.SpeedOptions(json=folder / "bench.json", plot=folder / "bench.svg"))
    return report, folder


def test_the_command_measures_what_it_promises(run_once):
    report, _ = run_once
    timings = report.record.timings
    assert {each.measure for each in timings} == {"infill", "edit", "candidates"}
    assert {each.arm for each in timings} == {GENERATE, OURS, PLAIN}
    assert len(report.record.bandwidth) > 2  # around each infill, too
    assert report.record.bytes_per_token[GENERATE] > 1e6
    assert report.failed_checks == []
    assert len(report.record.checks) == 8
    assert "llama.cpp was left out" in table(report)
    assert max(map(len, table(report).splitlines())) <= WIDTH


def test_the_command_writes_json_and_picture(run_once):
    report, folder = run_once
    assert SpeedReport.from_json((folder / "bench.json").read_text("utf-8")) == report
    assert (folder / "bench.svg").stat().st_size > 10_000
    about = json.loads((folder / "bench.json").read_text("utf-8"))["about"]
    assert about["details"]["versions"]["torch"] == torch.__version__
    assert about["details"]["threads"] == torch.get_num_threads()


def instruments(**changed):
    """Some that measure nothing, but for what a test says."""
    quiet = {"bandwidth": lambda _device: 1e10, "requests": lambda *_, **__: None, "load_ext": lambda *_: None}
    return bench.Instruments(**quiet | {"remember": lambda *_: pytest.fail("it was remembered")} | changed)


def noting(*timings, then=None):
    def requests(_arms, _asked, _rounds, record, _on_step, **_):
        record.timings += timings
        if then is not None:
            raise then

    return requests


INFILLS = bench.SpeedOptions(random_weights="1M", measures=("infill",))


def test_quantised_weights_are_measured_without_generate_and_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "bench-999999999-killed").mkdir(parents=True)
    options = replace(INFILLS, quantize="4bit", rounds=1, new_tokens=4)
    report, whole = bench.run(options, instruments=instruments(requests=measure.measure))
    assert whole
    assert {each.arm for each in report.record.timings} == {OURS, PLAIN}
    assert "4 bits" in report.about["model"] and "packed (4 bits" in report.about["precision"]
    assert not list((tmp_path / "cache").glob("bench-*"))
    assert table(report)


def test_only_random_weights_are_quantised_by_the_bench():
    with pytest.raises(OptionError, match="fim-magic bench --random-weights 7B --quantize 8bit"):
        bench.run(replace(INFILLS, random_weights="", quantize="8bit"))


def test_ctrl_c_shows_what_is_there(capsys):
    interrupted = noting(timing(GENERATE, 1.0), then=KeyboardInterrupt())
    report, whole = bench.run(INFILLS, instruments=instruments(requests=interrupted))
    assert not whole
    bench.show(report, INFILLS)
    told = capsys.readouterr().out
    assert "It was interrupted" in told
    assert "whole infill, 500 + 64 tokens" in told


def test_what_goes_wrong_later_leaves_what_is_there():
    broken = noting(timing(GENERATE, 1.0), then=ModelError("It broke."))
    report, whole = bench.run(INFILLS, instruments=instruments(requests=broken))
    assert not whole
    assert "It ended early. It broke." in report.warnings
    assert len(report.record.timings) == 1


def test_a_process_that_fails_does_not_end_the_run():
    def without_ipython(*_):
        raise ModelError("There is no IPython.")

    found = instruments(load_ext=without_ipython, requests=noting(timing(OURS, 1.0)))
    report, whole = bench.run(replace(INFILLS, measures=("infill", "load_ext")), instruments=found)
    assert whole
    assert "There is no IPython." in table(report)
    assert len(report.record.timings) == 1


def test_load_ext_alone_needs_no_model():
    found = instruments(
        load_ext=lambda _rounds, record, _on_step: record.load_ext.update(fim_magic=[0.2]),
        find=lambda *_: pytest.fail("it was brought here"),
    )
    report, whole = bench.run(bench.SpeedOptions(measures=("load_ext",)), instruments=found)
    assert whole
    assert report.record.load_ext == {"fim_magic": [0.2]}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"random_weights": "9Q"}, "fim-magic bench --random-weights 1.3B"),
        ({"random_weights": "1M", "layout": "mamba"}, "--layout is one of llama"),
        ({"measures": ("infill", "speed")}, "'speed' is none of them"),
        ({"rounds": 0}, "--rounds is at least 1"),
        ({"threads": 0}, "--threads is at least 1"),
        ({"plot": Path("a.txt")}, "--plot is a file that ends in .png"),
        ({"json": Path("no-such-folder/a.json")}, "There is no folder 'no-such-folder'"),
        ({"model": "starcoder2-3bb", "measures": ("infill",)}, "starcoder2-3b"),
    ],
    ids=str,
)
def test_bad_options_are_told_before_anything_is_measured(options, told):
    measured = instruments(
        bandwidth=lambda _device: pytest.fail("it measured"), load_ext=lambda *_: pytest.fail("it measured")
    )
    with pytest.raises(FimError, match=re.escape(told)):
        bench.run(bench.SpeedOptions(**options), instruments=measured)


def test_bad_options_end_the_command(capsys):
    assert cli.main(["bench", "--random-weights", "1M", "--layout", "mamba"]) == 1
    assert "--layout is one of llama" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "faster"), [(3.0, "torch"), (1.0, "gguf")])
def test_the_faster_engine_is_remembered(seconds, faster):
    remembered = {}
    found = instruments(
        find=lambda *_: subject.Subject("a-model", size="1M"),
        requests=noting(timing(OURS, 2.0), timing(GGUF, seconds)),
        remember=remembered.__setitem__,
    )
    report, _ = bench.run(bench.SpeedOptions(measures=("infill",)), instruments=found)
    assert remembered == {"a-model": faster}
    assert any(f"takes {faster} for a-model" in remark for remark in report.remarks)


def test_nothing_is_remembered_of_another_form_than_the_one_that_is_loaded():
    found = instruments(
        find=lambda *_: subject.Subject("a-model", size="1M"),
        requests=noting(timing(OURS, 2.0), timing(GGUF, 1.0)),
    )
    bench.run(bench.SpeedOptions(measures=("infill",), precision="exact"), instruments=found)


def test_nothing_is_remembered_of_an_interrupted_run():
    interrupted = noting(timing(OURS, 2.0), timing(GGUF, 1.0), then=KeyboardInterrupt())
    assert bench.run(INFILLS, instruments=instruments(requests=interrupted))[1] is False


def test_nothing_is_remembered_of_one_engine_alone():
    report, _ = bench.run(INFILLS, instruments=instruments(requests=noting(timing(OURS, 2.0))))
    assert not [remark for remark in report.remarks if "--engine auto" in remark]


# --- in processes of their own -------------------------------------------------------------------


def test_a_fresh_process_loads_answers_and_says_what_that_took(checkpoint):
    record = Record()
    tiny = subject.Subject("tiny", str(checkpoint("qwen2")))
    fresh.measure_fresh(
        tiny, [GENERATE, OURS], Workload("fresh", "", (1, 2, 3), 4), rounds=1, record=record, on_step=lambda *_: None
    )
    assert [(found.arm, found.round) for found in record.fresh] == [(GENERATE, 0), (OURS, 0)]
    assert all(0 < found.load < found.answered for found in record.fresh)
    assert all(found.peak > 0 for found in record.fresh)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="an older Python always looks into the current folder")
def test_a_process_of_the_bench_imports_nothing_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "random.py").write_text("raise SystemExit('Not asked for.')")
    monkeypatch.chdir(tmp_path)
    assert fresh._run([sys.executable, "-c", "import random; print(random.__name__)"], "", {}) == "random\n"


def test_weights_made_in_place_are_not_loaded():
    job = {"subject": {"name": "r", "size": "1M"}, "arm": GENERATE, "prompt": [1, 2], "new_tokens": 2}
    told = fresh.answer_job({**job, "threads": torch.get_num_threads()})
    assert (told["load"], told["answered"]) == (None, None)
    assert told["peak"] >= 0


def test_a_process_that_fails_is_one_paragraph(tmp_path):
    tiny = subject.Subject("tiny", str(tmp_path))
    with pytest.raises(ModelError, match="Leave that measure out: fim-magic bench --only"):
        fresh.measure_fresh(
            tiny, [OURS], Workload("fresh", "", (1, 2), 2), rounds=1, record=Record(), on_step=lambda *_: None
        )


def test_the_users_settings_stay_out_of_those_processes(monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_MODEL", "starcoder2-3b")
    monkeypatch.setenv("FIM_MAGIC_CACHE", "here")
    said = fresh._run([sys.executable, "-c", "import os; print(sorted(os.environ))"], "", {"ONE": "more"})
    assert "FIM_MAGIC_MODEL" not in said
    assert "FIM_MAGIC_CACHE" in said
    assert "ONE" in said


def test_load_ext_is_measured_beside_a_bare_extension():
    record = Record()
    fresh.measure_load_ext(1, record, lambda *_: None)
    assert {name: len(samples) for name, samples in record.load_ext.items()} == {"fim_magic": 1, "bare": 1}
    assert all(seconds > 0 for samples in record.load_ext.values() for seconds in samples)


# --- the model that is measured ------------------------------------------------------------------


def test_a_folder_is_found(checkpoint):
    folder = checkpoint("starcoder")
    assert subject.find(str(folder)) == subject.Subject(str(folder), str(folder), revision="local folder")


def test_a_catalogued_gguf_file_gives_a_folder_and_the_file(monkeypatch, put_in_cache):
    put_in_cache(QWEN_0_5B_GGUF)
    monkeypatch.setattr(gguf_conversion, "converted", lambda gguf, *_: gguf.with_suffix(""))
    found = subject.find("auto", precision="exact", memory=MemoryProbe(may_have_gpu=lambda: False))
    assert found.name == "qwen2.5-coder-0.5b"
    assert found.gguf.endswith(".gguf")
    assert found.folder == found.gguf.removesuffix(".gguf")
    assert found.why
    assert subject.find("QWEN2.5-coder-0.5b", precision="exact") == found


@pytest.mark.parametrize("is_faster", [True, False])
def test_a_gguf_file_is_measured_in_the_form_in_which_it_is_loaded(tmp_path, monkeypatch, is_faster):
    write_gguf(tmp_path / "tiny.gguf")
    monkeypatch.setattr(precision, "costs", lambda _shape: Costs(1.0, *[0.5 if is_faster else 2.0] * 2))
    assert bool(subject.find(str(tmp_path / "tiny.gguf")).packed) == is_faster
    assert not subject.find(str(tmp_path / "tiny.gguf"), precision="exact").packed
    on_a_gpu = MemoryProbe(free_memory=lambda: {"cuda:0": 10**9, "cpu": 10**9}, may_have_gpu=lambda: True)
    assert not subject.find(str(tmp_path / "tiny.gguf"), memory=on_a_gpu).packed


def test_packed_weights_are_of_gguf_files_and_ours_alone(checkpoint, tmp_path):
    write_gguf(tmp_path / "tiny.gguf")
    found = subject.find(str(tmp_path / "tiny.gguf"), precision="packed")
    assert (Path(found.folder) / "model.safetensors").exists()
    assert (Path(found.packed) / "packed.safetensors").exists()
    assert subject.load_engine(found, CPU).info.runs_on.startswith("cpu, packed")
    assert subject.load_plain(found, CPU).dtype == torch.float32
    with pytest.raises(OptionError, match=r"is for \.gguf files, and .* is none"):
        subject.find(str(checkpoint("qwen2")), precision="packed")


def test_a_baseline_is_loaded_in_the_precision_in_which_we_compute(checkpoint):
    model = subject.load_plain(subject.Subject("tiny", str(checkpoint("deepseek"))), CPU)
    assert model.dtype == dtype_for(CPU) == torch.float32
