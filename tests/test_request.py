"""One request from document to result: what it streams, how it ends, and that it leaves the process usable."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from checkpoints import CONTEXT
from scripted import ScriptedEngine, word_tokenizer

from fim_magic.candidate import Cut, Ending
from fim_magic.document import Document
from fim_magic.engines import Sampling
from fim_magic.errors import BusyError, ModelError, OptionError
from fim_magic.events import Finished, Grew, PromptRead
from fim_magic.generation import prompt_for
from fim_magic.holes import split
from fim_magic.interruption import interruptible
from fim_magic.pipeline import run
from fim_magic.request import Request

INDENTATION = "    "  # before the hole of MEAN
MEAN = Document("def mean(xs):\n    ", "\n    return total / len(xs)\n")


def answered(engine, request=None, stop=None):
    *events, last = run(request or Request(MEAN), engine, stop)
    assert isinstance(last, Finished)
    return events, last.result


def test_the_stream_tells_of_the_prompt_then_of_each_token_then_the_result():
    engine = ScriptedEngine("total = 0")
    events, result = answered(engine)
    reading = [event for event in events if isinstance(event, PromptRead)]
    grew = [event for event in events if isinstance(event, Grew)]
    assert events == reading + grew
    assert (reading[-1].done, reading[-1].total) == (result.prompt_tokens, result.prompt_tokens)
    middles = [event.middle for event in grew]
    assert middles == ["total = 0"[:n] for n in range(1, 10)] + ["total = 0"]
    assert [event.tokens for event in grew] == [*range(1, 10), 9]
    assert [event.seconds for event in grew] == sorted(event.seconds for event in grew)
    assert result.text == "def mean(xs):\n    total = 0\n    return total / len(xs)\n"
    assert 0 < result.first_token_seconds <= result.seconds


@pytest.mark.parametrize(
    ("answer", "limit", "middle", "ending", "cut"),
    [
        pytest.param("total = 0", 99, "total = 0", Ending.STOP_TOKEN, None, id="by itself"),
        pytest.param("", 99, "", Ending.STOP_TOKEN, None, id="at once"),
        pytest.param("total = 0", 5, "total", Ending.LENGTH, None, id="at the limit"),
        pytest.param("total = 0", 9, "total = 0", Ending.LENGTH, None, id="at the limit, just before its end"),
        pytest.param("x = 1\n\ny", 99, "x = 1", Ending.RULE, Cut("dedent", 5), id="by a rule"),
        pytest.param(
            "x = 1\n    y = 22", 13, "x = 1", Ending.LENGTH, Cut("token-limit", 5), id="at the limit, in a statement"
        ),
        pytest.param("x = 1\n    y = 22", 5, "x = 1", Ending.LENGTH, None, id="at the limit, a statement"),
        pytest.param(
            "x = 1\n    # two\n    x = 22",
            18,
            "x = 1",
            Ending.RULE,
            Cut("statement-end", 5),
            id="at the limit, in a line behind a comment",
        ),
        pytest.param(
            "x = 1\n    log(total, mean)",
            24,
            "x = 1",
            Ending.RULE,
            Cut("repeats-suffix", 5),
            id="at the limit, within the suffix",
        ),
        pytest.param(
            "x = 1\n    log(total, mean)",
            99,
            "x = 1",
            Ending.STOP_TOKEN,
            Cut("repeats-suffix", 5),
            id="by itself, after the suffix",
        ),
    ],
)
def test_how_a_candidate_ends(answer, limit, middle, ending, cut):
    document = Document("def mean(xs):\n    ", "\n    log(total, mean)\n")
    _, result = answered(ScriptedEngine(answer), Request(document, max_new_tokens=limit))
    (candidate,) = result.candidates
    assert (candidate.middle, candidate.ending, candidate.cut) == (middle, ending, cut)
    assert len(candidate.token_ids) <= limit + len(INDENTATION)  # which is generated again, a token for each blank
    stop = ScriptedEngine("").tokenizer.sentinel("<|endoftext|>")
    assert stop not in candidate.token_ids


@pytest.mark.parametrize("answer", ["total = 0", "x = '數🙂'", ""])
def test_a_candidate_tells_how_far_the_text_had_come_with_each_token(answer):
    _, result = answered(ScriptedEngine(answer))
    (candidate,) = result.candidates
    tokens = len(INDENTATION) + len(answer.encode())  # a token is a byte here
    assert len(candidate.token_ends) == len(candidate.token_ids) == (tokens if answer else 0)
    ends = [len(answer.encode()[: n + 1].decode(errors="ignore")) for n in range(len(answer.encode()))]
    assert list(candidate.token_ends) == [0] * (len(candidate.token_ids) - len(ends)) + ends


def test_asking_again_asks_for_one_other_answer():
    greedy, sampled = Request(MEAN, candidates=3), Request(MEAN, order="psm", sampling=Sampling(0.3, 0.9, 7))
    assert (greedy.again().candidates, greedy.again().sampling.temperature) == (1, 0.8)
    again = sampled.again()
    assert (again.sampling.temperature, again.sampling.top_p, again.order) == (0.3, 0.9, "psm")
    assert len({request.again().sampling.seed for request in [sampled] * 8} | {7}) > 2


LINES = Document("import math\n\nsizes = [3, 1]\n", "\nprint(biggest)\n")
SCRIPT = "biggest = max(sizes)\n# Second\nsmallest = min(sizes)\nfor size in sizes:\n    print(size)\nlast = 1"


def test_asking_for_more_gets_the_same_answer_with_a_statement_after_it():
    engine = ScriptedEngine(SCRIPT)
    request = Request(LINES)
    _, short = answered(engine, request)
    assert short.middle == "biggest = max(sizes)"
    middles, longer = [], short
    for _ in range(2):
        request = request.longer(longer.candidates[0])
        _, longer = answered(engine, request)
        middles.append(longer.middle.removeprefix(short.middle))
    assert middles == [
        "\n# Second\nsmallest = min(sizes)",
        "\n# Second\nsmallest = min(sizes)\nfor size in sizes:\n    print(size)",
    ]
    assert longer.lines == 3
    begun = [ids for (ids,) in (told.values() for told in engine.allowed if told)]
    assert engine.tokenizer.decode([ids[0] for ids in begun[-len(request.begins) :]]).startswith(short.middle)


def test_more_of_an_answer_that_hit_the_token_limit_goes_on_behind_it():
    engine = ScriptedEngine("x = 1\ny = 2\n" * 9)
    request = Request(Document("", "", ""), method="complete", max_new_tokens=14)
    _, short = answered(engine, request)
    _, longer = answered(engine, request.longer(short.candidates[0]))
    assert longer.middle.startswith(short.middle)
    assert len(longer.middle) > len(short.middle)


def test_an_answer_to_several_holes_is_not_made_longer():
    document, blanks = split("a = <cursor>\nb = <cursor>\n")
    request = Request(document, blanks=blanks)
    _, result = answered(ScriptedEngine("1"), request)
    with pytest.raises(OptionError, match="Again asks for another"):
        request.longer(result.candidates[0])


def test_where_a_function_goes_on_an_answer_has_the_statements_that_are_asked_for():
    document = Document("def total_of(rows):\n    ", "\n    return total / count\n")
    engine = ScriptedEngine("total = 0\n    count = 0\n    name = 1\n    other = 2\n    last = 3\n    more = 4")
    for lines in (2, 3):
        _, result = answered(engine, Request(document, lines=lines))
        assert result.middle.count("\n") >= lines - 1


def test_a_result_says_what_its_prompt_and_its_sampling_were():
    request = Request(MEAN, max_new_tokens=7, sampling=Sampling(0.5, 0.9, 3))
    _, one = answered(ScriptedEngine("a"), request)
    _, same = answered(ScriptedEngine("b"), request)
    _, other = answered(ScriptedEngine("a"), Request(Document("x = ", "")))
    assert (one.sampling, one.max_new_tokens) == (request.sampling, 7)
    assert re.fullmatch("[0-9a-f]{64}", one.prompt_sha256)
    assert one.prompt_sha256 == same.prompt_sha256 != other.prompt_sha256


def test_finished_candidates_come_before_unfinished_ones():
    _, result = answered(ScriptedEngine("total = 0 + 1", "a = 1"), Request(MEAN, candidates=2, max_new_tokens=8))
    assert [(c.middle, c.ending) for c in result.candidates] == [
        ("a = 1", Ending.STOP_TOKEN),
        ("total = ", Ending.LENGTH),
    ]


@pytest.mark.parametrize(
    ("sampling", "seed"),
    [(Sampling(), None), (Sampling(temperature=0.5, seed=5), 5), (Sampling(temperature=0.5, seed=0), 0)],
    ids=["greedy", "sampled", "seed 0"],
)
def test_a_result_names_the_seed_that_mattered(sampling, seed):
    assert answered(ScriptedEngine("x"), Request(MEAN, sampling=sampling))[1].seed == seed


def test_the_model_sees_lf_and_the_document_keeps_crlf():
    engine = ScriptedEngine("x = (1 +\n    2)")
    _, result = answered(engine, Request(Document("def f():\r\n    ", "\r\n    return x\r\n")))
    assert "\r" not in engine.tokenizer.decode(engine.prompts[0])
    assert result.text == "def f():\r\n    x = (1 +\r\n    2)\r\n    return x\r\n"


def test_completion_keeps_the_suffix_from_the_model():
    engine = ScriptedEngine("x")
    answered(engine, Request(MEAN, method="complete"))
    assert engine.tokenizer.decode(engine.prompts[0]) + INDENTATION == MEAN.prefix


# Interrupting


@pytest.mark.parametrize("name", ["qwen2", "deepseek"])
@pytest.mark.parametrize("kept", [0, 1, 5])
def test_the_flag_keeps_what_is_there(engine, name, kept):
    request = Request(Document("x = ", ""), max_new_tokens=40)
    _, whole = answered(engine(name), request)
    assert len(whole.candidates[0].token_ids) > kept
    stop = threading.Event()
    grown = 0
    if kept == 0:
        stop.set()
    for event in run(request, engine(name), stop):
        grown += isinstance(event, Grew)
        if grown == kept:
            stop.set()
    candidate, (expected,) = event.result.candidates[0], whole.candidates
    healed = len(expected.token_ids) - sum(end > 0 for end in expected.token_ends)
    assert candidate.ending is Ending.INTERRUPTED
    assert candidate.token_ids == expected.token_ids[: kept and healed + kept]
    (again,) = answered(engine(name), request)[1].candidates
    assert again.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
    assert replace(again, logprobs=()) == replace(expected, logprobs=())


def test_the_flag_ends_a_prompt_that_is_being_read(engine):
    request = Request(Document("x = 1\n" * 300, ""), max_new_tokens=8)
    stop = threading.Event()
    events = []
    for event in run(request, engine("starcoder"), stop):
        events.append(event)
        stop.set()
    assert [type(event) for event in events] == [PromptRead, Finished]
    assert events[0].done < events[0].total
    assert event.result.candidates[0].ending is Ending.INTERRUPTED
    assert event.result.first_token_seconds == 0


def test_only_unfinished_candidates_count_as_interrupted():
    engine = ScriptedEngine("ab", "abcdefgh")
    stop = threading.Event()
    for event in run(Request(MEAN, candidates=2), engine, stop):
        if isinstance(event, Grew) and event.tokens == 5:
            stop.set()
    assert [(c.middle, c.ending) for c in event.result.candidates] == [
        ("ab", Ending.STOP_TOKEN),
        ("abcde", Ending.INTERRUPTED),
    ]


# One request at a time


def test_a_second_request_is_refused_while_one_runs():
    engine = ScriptedEngine("total = 0")
    first = run(Request(MEAN), engine)
    next(first)
    with pytest.raises(BusyError, match="busy"):
        next(run(Request(MEAN), engine))
    assert isinstance(list(first)[-1], Finished)
    answered(engine)


def test_a_request_on_another_thread_is_refused_too():
    engine = ScriptedEngine("total = 0")
    first = run(Request(MEAN), engine)
    next(first)
    caught = []

    def second():
        try:
            list(run(Request(MEAN), engine))
        except BusyError as error:
            caught.append(error)

    thread = threading.Thread(target=second)
    thread.start()
    thread.join()
    assert len(caught) == 1
    first.close()


class Boom(Exception):
    pass


def fail(step):
    if step == 2:
        raise Boom


def interrupt(step):
    if step == 2:
        raise KeyboardInterrupt


@pytest.mark.parametrize(("before_step", "error"), [(fail, Boom), (interrupt, KeyboardInterrupt)])
def test_an_exception_in_the_engine_comes_out_and_frees_it(before_step, error):
    engine = ScriptedEngine("total = 0")
    engine.before_step = before_step
    with pytest.raises(error):
        list(run(Request(MEAN), engine))
    engine.before_step = lambda _step: None
    answered(engine)


def test_closing_the_stream_frees_the_engine():
    engine = ScriptedEngine("total = 0")
    stream = run(Request(MEAN), engine)
    next(stream)
    stream.close()
    answered(engine)


def test_an_exception_thrown_into_the_stream_frees_the_engine():
    engine = ScriptedEngine("total = 0")
    stream = run(Request(MEAN), engine)
    next(stream)
    with pytest.raises(Boom):
        stream.throw(Boom())
    answered(engine)


def test_a_stream_that_is_dropped_frees_the_engine():
    engine = ScriptedEngine("total = 0")
    stream = run(Request(MEAN), engine)
    next(stream)
    del stream
    answered(engine)


# Token healing


CUT = Document("x = pri", ")\n")


def test_the_token_that_the_hole_cuts_is_generated_again_and_not_shown_twice():
    engine = ScriptedEngine("print(x", tokenizer=word_tokenizer())
    events, result = answered(engine, Request(CUT))
    assert engine.prompts[0] == [t for piece in prompt_for(Request(CUT), engine).pieces for t in piece.ids]
    assert [event.middle for event in events if isinstance(event, Grew)] == ["nt", "nt(", "nt(x", "nt(x"]
    assert result.candidates[0].raw == "nt(x"
    assert result.text == "x = print(x)\n"


def test_only_what_begins_with_the_cut_token_may_come_first():
    engine = ScriptedEngine("print(x", "p", tokenizer=word_tokenizer())
    answered(engine, Request(CUT, candidates=2, sampling=Sampling(0.5)))
    begin = {engine.tokenizer.token_bytes(token) for token in engine.allowed[0][0]}
    assert begin == {b"pri", b"prin", b"print", b"prime", b"p", b"pr"}
    # The first candidate's token settled it; the second's is a part of what it owes.
    assert list(engine.allowed[1]) == [1]
    assert {engine.tokenizer.token_bytes(token) for token in engine.allowed[1][1]} == {b"r"}


def test_an_answer_that_ends_before_it_has_begun_is_empty():
    engine = ScriptedEngine("p", tokenizer=word_tokenizer())
    _, result = answered(engine, Request(CUT))
    assert (result.middle, result.text) == ("", "x = pri)\n")


def test_rules_see_the_answer_without_the_healed_token():
    engine = ScriptedEngine("print(x)\ny = 1", tokenizer=word_tokenizer())
    _, result = answered(engine, Request(CUT))
    assert result.text == "x = print(x)\n"


def test_a_refused_request_does_not_hold_the_engine(engine):
    with pytest.raises(ModelError):
        list(run(Request(MEAN), engine("llama")))
    with pytest.raises(OptionError):
        list(run(Request(MEAN, order="spm"), engine("qwen2")))
    answered(engine("qwen2"))


# Room


def test_a_long_document_is_trimmed_to_the_context_and_the_result_says_so(engine):
    document = Document("far = 0\n" * 400 + "near = ", "\nafter(near)\n" + "far = 0\n" * 400)
    _, result = answered(engine("starcoder2"), Request(document, max_new_tokens=6))
    # Of the 1015 tokens beside the sentinels 761 are for the prefix's 2806, which are cut in steps of 95: 22, not 21.5.
    assert result.dropped_prefix_tokens == 22 * 95
    assert result.prompt_tokens == CONTEXT - 6 - 45
    assert result.dropped_suffix_tokens > 0
    assert result.text.startswith("far = 0\n" * 400 + "near = ")


@pytest.mark.parametrize("limit", [CONTEXT, CONTEXT - 15, 10**9])
@pytest.mark.parametrize("method", ["fim", "complete"])
def test_an_answer_that_leaves_no_room_for_the_prompt_is_refused(engine, limit, method):
    with pytest.raises(OptionError, match=rf"--max-new-tokens {limit} .* {CONTEXT} tokens"):
        prompt_for(Request(MEAN, method=method, max_new_tokens=limit), engine("qwen2"))


def test_the_least_room_is_enough(engine):
    _, result = answered(engine("qwen2"), Request(Document("x", "y"), max_new_tokens=CONTEXT - 16))
    assert result.prompt_tokens == 5
    assert result.tokens <= CONTEXT - 16


# Ctrl-C


def test_the_first_interrupt_sets_the_flag_and_the_second_interrupts():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interruptible() as stop:  # both interrupts in one block
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(10)
        assert signal.getsignal(signal.SIGINT) is before
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(10)  # the interrupt comes before this does
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("error", [None, Boom], ids=["normally", "by an exception"])
def test_the_handler_of_before_comes_back(error):
    def own(_signal, _frame):
        raise AssertionError

    before = signal.signal(signal.SIGINT, own)
    try:
        try:
            with interruptible() as stop:
                assert signal.getsignal(signal.SIGINT) is not own
                if error is not None:
                    raise error
        except Boom:
            pass
        assert not stop.is_set()
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_the_main_thread_signals_are_left_alone():
    before = signal.getsignal(signal.SIGINT)
    found = []

    def inside():
        with interruptible() as stop:
            found.append((signal.getsignal(signal.SIGINT), stop.is_set()))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert found == [(before, False)]


PROGRAM = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from scripted import ScriptedEngine, word_tokenizer
from fim_magic import infill
from fim_magic.loading.manager import MODELS
from fim_magic.interruption import Interrupted

engine = ScriptedEngine("total = 0")
def interrupt(step):
    if step == 5:
        os.kill(os.getpid(), signal.SIGINT)
engine.before_step = interrupt
MODELS.adopt(engine)
try:
    infill("x = <cursor>", model="scripted")
except Interrupted as interrupted:
    print("partial", repr(interrupted.result.middle), interrupted.result.candidates[0].ending.value)
engine.before_step = lambda step: None
print("again", repr(infill("x = <cursor>", model="scripted").middle))
"""


def test_ctrl_c_in_a_program_keeps_the_partial_result():
    program = PROGRAM.format(tests=os.path.dirname(__file__))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines() == ["partial 'total ' interrupted", "again 'total = 0'"], done.stderr
