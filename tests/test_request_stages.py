"""What a request does beside filling one hole once: several holes, several answers, checks, and the raw model."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from scripted import ScriptedEngine, word_tokenizer

from fim_magic.candidate import Cut, Ending
from fim_magic.checks import CheckSpec
from fim_magic.document import Document
from fim_magic.engines import Sampling
from fim_magic.errors import MarkerError, ModelError
from fim_magic.events import Finished, Grew, Offered
from fim_magic.formats import FAMILIES
from fim_magic.generation import prompt_for
from fim_magic.pipeline import follow, run
from fim_magic.request import Request
from fim_magic.settings import Settings

LINE = Document("def one():\n    ", "\n    return x\n")


def answered(engine, request, stop=None, **options):
    *events, last = run(request, engine, stop, **options)
    assert isinstance(last, Finished)
    return events, last.result


def asked(text, **options):
    return Settings().request(text, **options)[1]


class FillsInTurn(ScriptedEngine):
    """Answers each prompt with the next text."""

    def generate(self, prompt, **options):
        turn = len(self.prompts)
        self.turns = getattr(self, "turns", None) or self.answers
        self.answers = (self.turns[turn % len(self.turns)],)
        return super().generate(prompt, **options)


# --- several holes -----------------------------------------------------------------------------------


def test_several_holes_are_filled_in_order_each_with_what_the_ones_before_it_got():
    engine = FillsInTurn("1", "2", "3")
    events, result = answered(engine, asked("a = <cursor>\nb = <cursor>\nc = <cursor>\n"))
    assert result.text == "a = 1\nb = 2\nc = 3\n"
    assert result.holes == 3
    seen = [engine.tokenizer.decode(prompt) for prompt in engine.prompts]
    assert ["a = 1" in text for text in seen] == [False, True, True]
    assert ["b = 2" in text for text in seen] == [False, False, True]
    assert all("\nc = " in text and "<cursor>" not in text for text in seen)
    (candidate,) = result.candidates
    own = [candidate.middle[start:end] for start, end in candidate.kept]
    assert own == ["\nb = ", "\nc = "]
    grown = [event.middle for event in events if isinstance(event, Grew)]
    assert grown[-1] == candidate.middle
    assert all(event.kept for event in events if isinstance(event, Grew))


def test_several_holes_of_several_candidates_are_chains_of_their_own():
    engine = FillsInTurn("1", "2", "3", "4")
    _, result = answered(engine, asked("a = <cursor>\nb = <cursor>\n", candidates=2, seed=1))
    assert sorted(result.document.rebuild(each.middle) for each in result.candidates) == [
        "a = 1\nb = 2\n",
        "a = 3\nb = 4\n",
    ]
    assert (result.answers, result.tokens) == (2, 4)


def test_checks_are_over_the_whole_of_several_holes():
    engine = FillsInTurn("1", "a + 1")
    _, result = answered(engine, asked("a = <cursor>\nb = <cursor>\n", candidates=1, check="(a, b) == (1, 2)"))
    (check,) = [each for each in result.candidates[0].checks if each.name not in ("parses", "names")]
    assert check.passed is True


def test_an_interrupt_keeps_the_holes_that_are_filled():
    engine, stop = FillsInTurn("1", "22222", "3"), threading.Event()

    def interrupt(step):
        if len(engine.prompts) == 2 and step == 1:
            stop.set()

    engine.before_step = interrupt
    _, result = answered(engine, asked("a = <cursor>\nb = <cursor>\nc = <cursor>\n"), stop)
    assert result.text == "a = 1\nb = 22\nc = \n"
    assert len(engine.prompts) == 2
    assert result.candidates[0].ending is Ending.INTERRUPTED


def test_complete_has_one_hole():
    with pytest.raises(MarkerError):
        asked("a = <cursor>\nb = <cursor>\n", complete=True)


# --- several answers -----------------------------------------------------------------------------------


def test_the_same_answers_are_one_candidate_and_all_are_counted():
    engine = ScriptedEngine("x = 1", "x = 2", "x  =  1")
    _, result = answered(engine, Request(LINE, candidates=3, sampling=Sampling(0.8, seed=1)))
    assert [each.same for each in result.candidates] == [2, 1]
    indentation = 3 * len("    ")  # which each generates again
    assert (result.answers, result.tokens) == (3, indentation + len("x = 1x = 2x  =  1"))
    assert all(each.reason for each in result.candidates)


def test_what_parses_comes_before_what_does_not():
    engine = ScriptedEngine("x = (", "x = 1")
    _, result = answered(engine, Request(LINE, candidates=2, sampling=Sampling(0.8, seed=1)))
    assert [each.middle for each in result.candidates] == ["x = 1", "x = ("]
    assert [each.checks[0].passed for each in result.candidates] == [True, False]


def test_names_of_the_notebook_are_known():
    engine = ScriptedEngine("x = zork.pi")
    for known, passed in ((frozenset({"zork"}), True), (frozenset(), False)):
        _, result = answered(engine, Request(LINE, known=known))
        names = next(check for check in result.candidates[0].checks if check.name == "names")
        assert names.passed is passed


def test_a_check_chooses_and_hides_nothing():
    engine = ScriptedEngine("x = 1", "x = 2")
    request = Request(LINE, candidates=2, sampling=Sampling(0.8, seed=1), check_spec=CheckSpec(("one() == 2",)))
    _, result = answered(engine, request)
    assert [each.middle for each in result.candidates] == ["x = 2", "x = 1"]
    assert [each.checks[-1].passed for each in result.candidates] == [True, False]


def test_of_several_the_model_says_how_probable_they_make_what_follows():
    engine = ScriptedEngine("x = 1", "x = 2")
    engine.likelihood = lambda prompt, ids: [0.0 if prompt[-1:] == engine.tokenizer.encode("2") else -9.0 for _ in ids]
    _, result = answered(engine, Request(LINE, candidates=2, sampling=Sampling(0.8, seed=1)))
    assert [each.middle for each in result.candidates] == ["x = 2", "x = 1"]
    assert result.candidates[0].suffix_logprob > result.candidates[1].suffix_logprob
    assert "most probable with what follows" in result.candidates[0].reason
    engine.scored.clear()
    answered(engine, Request(LINE))
    answered(engine, Request(Document("x = ", ""), candidates=2, sampling=Sampling(0.8, seed=1)))
    assert engine.scored == []  # one answer, or nothing that follows


def test_what_cannot_be_weighed_is_shown_all_the_same():
    engine = ScriptedEngine("x = 1", "x = 2")

    def fail(_prompt, _ids):
        raise ModelError("no memory")

    engine.likelihood = fail
    _, result = answered(engine, Request(LINE, candidates=2, sampling=Sampling(0.8, seed=1)))
    assert sorted(each.middle for each in result.candidates) == ["x = 1", "x = 2"]
    assert all(each.suffix_logprob is None for each in result.candidates)


def test_what_is_known_of_some_answers_only_says_nothing():
    """A stop between two of them: the one that was not read would else look as if it cost nothing."""
    engine, stop = ScriptedEngine("x = 1", "x = 2"), threading.Event()

    def then_stop(_prompt, ids):
        stop.set()
        return [-1.0] * len(ids)

    engine.likelihood = then_stop
    _, result = answered(engine, Request(LINE, candidates=2, sampling=Sampling(0.8, seed=1)), stop)
    assert len(engine.scored) == 1
    assert [each.suffix_logprob for each in result.candidates] == [None, None]


def test_a_model_that_cannot_infill_may_rank():
    family = next(each for each in FAMILIES if each.name == "CodeGen")
    engine = ScriptedEngine("x = 1", "x = 2", family=family)
    with pytest.raises(ModelError):
        answered(engine, asked("def one():\n    <cursor>\n    return x\n"))
    request = asked("def one():\n    <cursor>\n    return x\n", method="rank", candidates=2)
    _, result = answered(engine, request)
    assert (result.method, result.order, len(result.candidates)) == ("rank", "", 2)
    assert engine.tokenizer.decode(engine.prompts[-1]).endswith("def one():\n    ")
    assert len(engine.scored) == 2


def test_ranking_ends_an_answer_where_it_makes_what_follows_probable():
    family = next(each for each in FAMILIES if each.name == "CodeGen")
    engine = ScriptedEngine("x = 1\n    y = 2\n    z = 3\n    z += 1", family=family)
    engine.likelihood = lambda _, ids: [-5.0 if "z" in engine.tokenizer.decode(list(ids)) else -0.1] * len(ids)
    document = Document("def one():\n    ", "\n    return x + y\n")
    _, result = answered(engine, Request(document, method="rank", candidates=1))
    (candidate,) = result.candidates
    assert candidate.middle == "x = 1\n    y = 2"
    assert candidate.cut == Cut("statement-end", len(candidate.middle))
    assert candidate.trimmed == "\n    z = 3\n    z += 1"
    assert (result.answers, candidate.reason) == (1, "")
    assert len(candidate.token_ids) == len(candidate.logprobs) == len(candidate.token_ends) == len(candidate.middle)
    _, raw = answered(engine, Request(document, method="rank", candidates=1, trimming=False))
    assert raw.middle.endswith("z += 1")


def test_nothing_is_run_of_what_was_stopped():
    stop = threading.Event()
    engine = ScriptedEngine("x = 1 + 1")
    engine.before_step = lambda step: stop.set() if step == 4 else None
    _, result = answered(engine, Request(LINE, check_spec=CheckSpec(("one() == 1",))), stop)
    assert {check.name for check in result.candidates[0].checks} <= {"parses", "names"}


@pytest.mark.parametrize(
    ("place", "more", "number"),
    [
        ("cpu, float32", {}, 1),
        ("cuda:0, bfloat16", {}, 4),
        ("cpu, float32", {"check_spec": CheckSpec(doctests=True)}, 8),
        ("cuda:0, bfloat16", {"check_spec": CheckSpec(doctests=True)}, 8),
        ("cuda:0, bfloat16", {"candidates": 2}, 2),
        ("cpu, float32", {"method": "rank"}, 8),
    ],
)
def test_how_many_answers_are_made_where_nobody_says(place, more, number):
    engine = ScriptedEngine("")
    engine.info = replace(engine.info, device=place)
    request = Request(LINE, **{"candidates": 0, **more}).settled(engine)
    assert request.candidates == number


def test_a_temperature_that_was_chosen_stays():
    engine = ScriptedEngine("")
    engine.info = replace(engine.info, device="cuda:0")
    assert asked("<cursor>", temperature=0.3).settled(engine).sampling.temperature == 0.3


# --- the raw model --------------------------------------------------------------------------------------


def test_without_trimming_an_answer_is_what_the_model_wrote():
    text = "x = 1\n    return x\n\ndef two():\n    pass"
    _, trimmed = answered(ScriptedEngine(text), Request(LINE))
    _, raw = answered(ScriptedEngine(text), Request(LINE, trimming=False))
    assert (trimmed.middle, raw.middle) == ("x = 1", text)
    assert raw.candidates[0].cut is None


def test_without_healing_the_prompt_has_the_whole_prefix():
    engine = ScriptedEngine("", tokenizer=word_tokenizer())
    document = Document("x = 1\nif x:\n    pri", "\n")
    healed, raw = (prompt_for(Request(document, healing=healing), engine) for healing in (True, False))
    assert (healed.healed, raw.healed) == ("pri", "")
    assert len(raw.ids) == len(healed.ids) + 1


# --- a doubtful answer -----------------------------------------------------------------------------


def left_to_us(document, **more):
    return Request(document, candidates=0, sampling=Sampling(top_p=0.95, seed=3), **more)


def test_of_an_answer_that_does_not_parse_there_are_five_more():
    engine = ScriptedEngine("x = (", "x = 1", "x = 2")
    events, result = answered(engine, left_to_us(LINE))
    assert len(engine.prompts) == 2
    assert result.middle == "x = 1"
    assert result.answers == 6
    assert [each.middle for each in result.candidates] == ["x = 1", "x = 2", "x = ("]
    assert result.candidates[-1].reason == "does not parse"
    # The first is not made again: what grows then are the others.
    grown = [event.candidate for event in events if isinstance(event, Grew)]
    assert grown == sorted(grown, key=bool)
    assert {*grown} == {*range(6)}


def test_it_is_the_request_for_six_as_its_record_says():
    engine = ScriptedEngine("x = (", "x = 1", "x = 2")
    _, result = answered(engine, left_to_us(LINE))
    assert (result.sampling.temperature, result.seed) == (0.0, None)
    _, six = answered(engine, Request(LINE, candidates=6))
    assert [each.middle for each in six.candidates] == [each.middle for each in result.candidates]


def test_a_name_that_nobody_has_is_reason_enough():
    engine = ScriptedEngine("x = nowhere", "x = 1")
    assert answered(engine, left_to_us(LINE))[1].middle == "x = 1"
    assert len(engine.prompts) == 2


@pytest.mark.parametrize(("logprob", "asked"), [(-0.19, 1), (-0.21, 2)])
def test_an_answer_that_the_model_was_unsure_of_is_one_of_six(logprob, asked):
    engine = ScriptedEngine("x = 1", "x = 2")
    engine.logprob = logprob
    _, result = answered(engine, left_to_us(LINE))
    assert (len(engine.prompts), result.answers) == ((1, 1) if asked == 1 else (2, 6))


def test_several_holes_are_not_asked_again_for_that():
    engine = FillsInTurn("1", "2")
    engine.logprob = -3.0
    _, result = answered(engine, asked("a = <cursor>\nb = <cursor>\n", candidates="auto"))
    assert (len(engine.prompts), result.answers) == (2, 1)


@pytest.mark.parametrize(
    ("document", "answer", "more"),
    [
        pytest.param(LINE, "x = 1", {}, id="nothing is wrong with it"),
        pytest.param(LINE, "x = total", {"known": frozenset({"total"})}, id="the kernel knows the name"),
        pytest.param(Document("y = df.a\nz = ", ""), "df.b", {}, id="the user's own text has the name"),
        pytest.param(Document("%%bash\nls ", ""), "-la &", {}, id="not Python"),
        pytest.param(LINE, "x = (", {"method": "complete"}, id="what goes on need not be whole"),
    ],
)
def test_one_answer_is_enough(document, answer, more):
    engine = ScriptedEngine(answer, "never")
    _, result = answered(engine, left_to_us(document, **more))
    assert (len(engine.prompts), result.answers, result.middle) == (1, 1, answer)


def test_whoever_asks_for_one_gets_one():
    engine = ScriptedEngine("x = (", "x = 1")
    assert answered(engine, Request(LINE, candidates=1))[1].middle == "x = ("
    warm = Request(LINE, candidates=0, sampling=Sampling(0.5))
    assert answered(engine, warm)[1].answers == 1
    assert len(engine.prompts) == 2


def test_several_holes_are_asked_again_together():
    engine = FillsInTurn("(", "2", "1", "2", "3", "4")
    request = asked("a = <cursor>\nb = <cursor>\n", candidates="auto")
    _, result = answered(engine, request)
    assert len(engine.prompts) == 2 * 6
    assert result.answers == 6
    assert "(" not in result.text


def test_an_interrupt_of_the_further_ones_keeps_the_first():
    engine, stop = ScriptedEngine("x = (", "x = 1"), threading.Event()
    engine.before_step = lambda step: stop.set() if len(engine.prompts) == 2 and step == 3 else None
    _, result = answered(engine, left_to_us(LINE), stop)
    assert [each.middle for each in result.candidates if each.ending is not Ending.INTERRUPTED] == ["x = ("]


def test_without_memory_for_more_the_one_that_is_there_has_to_do():
    engine = ScriptedEngine("x = (", "x = 1")

    def short(*_):
        raise ModelError("There is not enough memory.")

    engine.top_logprobs = short
    assert answered(engine, left_to_us(LINE))[1].middle == "x = ("
    with pytest.raises(ModelError, match="memory"):
        answered(engine, Request(LINE, candidates=2))


# --- soon ------------------------------------------------------------------------------------------


def test_the_first_answer_is_offered_before_further_ones():
    events, result = answered(ScriptedEngine("x = (", "x = 1"), left_to_us(LINE))
    (at,) = [at for at, event in enumerate(events) if isinstance(event, Offered)]
    offered = events[at].result
    assert [each.middle for each in offered.candidates] == ["x = ("]
    assert [check.passed for check in offered.candidates[0].checks] == [False]
    assert {event.candidate for event in events[:at] if isinstance(event, Grew)} == {0}
    assert 0 not in {event.candidate for event in events[at:] if isinstance(event, Grew)}
    assert 0 < result.first_answer_seconds <= result.seconds


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(left_to_us(LINE), id="one is enough"),
        pytest.param(Request(LINE, candidates=3, sampling=Sampling(0.8, seed=1)), id="all come at once"),
        pytest.param(Request(LINE, candidates=2, check_spec=CheckSpec(("one() == 2",))), id="checks decide"),
    ],
)
def test_nothing_is_offered_where_nothing_is_waited_for(request_):
    events, _ = answered(ScriptedEngine("x = 1", "x = 2"), request_)
    assert not any(isinstance(event, Offered) for event in events)


def test_further_answers_that_nobody_asked_for_have_their_time():
    for request, answers in ((left_to_us(LINE), 1), (Request(LINE, candidates=4), 4)):
        _, result = answered(ScriptedEngine("x = (", "x = 1"), request, further_seconds=0.0)
        assert result.answers == answers


def test_who_has_decided_ends_the_request():
    offered = []

    def decide(result, stop):
        offered.append(result.middle)
        stop()

    result = follow(left_to_us(LINE), ScriptedEngine("x = (", "x = 1"), None, decide)
    assert (offered, [each.middle for each in result.candidates]) == (["x = ("], ["x = ("])


COPY = "return compute(one, two)"


@pytest.mark.parametrize(
    ("document", "first", "kept", "said"),
    [
        (Document("def a():\n    ", f"\n\ndef b():\n    {COPY}\n"), COPY, COPY, "copies a line from below the hole"),
        (Document(f"def b():\n    {COPY}\n\ndef a():\n    ", "\n"), COPY, COPY, "copies a line from above the hole"),
        (LINE, "# the number\nx = 1", "", "adds no code"),
    ],
)
def test_what_says_nothing_new_is_doubted_and_comes_last(document, first, kept, said):
    engine = ScriptedEngine(first, "x = 3")
    events, result = answered(engine, left_to_us(document, known=frozenset({"compute", "one", "two"})))
    assert (result.answers, result.middle) == (6, "x = 3")
    assert (result.candidates[-1].middle, result.candidates[-1].checks[-1].detail) == (kept, said)
    assert not any(isinstance(event, Offered) for event in events)


def test_where_the_first_answer_says_nothing_another_one_is_waited_for():
    _, result = answered(ScriptedEngine("# the number", "x = 3"), left_to_us(LINE), further_seconds=0.0)
    assert result.middle == "x = 3"


# --- several holes that were left half-way ---------------------------------------------------------

TWO = "def f(x):\n    <cursor>\n\n\ndef g(y):\n    <cursor>\n"


def test_of_further_answers_to_several_holes_those_that_were_left_half_way_are_dropped():
    engine = FillsInTurn("return (", "return y", "return x", "return 2 * y")
    generate = engine.generate

    def short(prompt, **options):
        if len(engine.prompts) == 3:
            raise ModelError("There is not enough memory.")
        return generate(prompt, **options)

    engine.generate = short
    _, result = answered(engine, asked(TWO, candidates="auto"))
    assert [each.middle.count("return") for each in result.candidates] == [2]


def test_holes_that_an_interrupt_has_left_empty_are_not_finished():
    engine, stop = FillsInTurn("return x", "return y"), threading.Event()
    steps = len(engine.tokenizer.encode("return x"))
    engine.before_step = lambda step: stop.set() if len(engine.prompts) == 1 and step == steps else None
    _, result = answered(engine, asked(TWO, candidates=1), stop)
    assert result.candidates[0].ending is Ending.INTERRUPTED


def test_further_answers_to_several_holes_keep_to_their_time():
    engine = FillsInTurn("return (", "return y", "return x", "return 2 * y")
    _, result = answered(engine, asked(TWO, candidates="auto"), further_seconds=0.0)
    assert len(engine.prompts) == 2
    assert len(result.candidates) == 1
