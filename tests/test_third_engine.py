"""An engine that can do little passes through request, proof, view and records; what it cannot do is left out, and said."""

from __future__ import annotations

import json

import pytest
from scripted import QWEN, ScriptedEngine
from streaming import StreamingEngine
from test_proof import Trained

from fim_magic.candidate import Ending
from fim_magic.document import Document, parse
from fim_magic.errors import OptionError
from fim_magic.events import Finished, Grew
from fim_magic.generation import prompt_for
from fim_magic.pipeline import follow, run
from fim_magic.proof import Verdict, prove
from fim_magic.provenance import record
from fim_magic.request import Request
from fim_magic.review import caption, details

MEAN = parse("def mean(xs):\n    <cursor>\n    return total / len(xs)\n")
LEFT_OUT = (
    "a token that the hole cuts in two is not generated again",
    "answers are not weighed by what follows the hole",
    "further answers are sampled",
)


def test_an_answer_comes_in_bursts_and_without_log_probabilities():
    *events, last = run(Request(MEAN, candidates=1), StreamingEngine("total = sum(xs)\n    print(total)"))
    assert isinstance(last, Finished)
    assert last.result.middle == "total = sum(xs)"
    assert last.result.candidates[0].logprobs == ()
    assert last.result.candidates[0].mean_logprob is None
    assert [event.tokens for event in events if isinstance(event, Grew)] == sorted(
        event.tokens for event in events if isinstance(event, Grew)
    )
    assert last.result.left_out == LEFT_OUT
    assert last.result.model == "streaming"


def test_an_engine_that_can_do_all_leaves_nothing_out():
    assert follow(Request(MEAN, candidates=1), ScriptedEngine("total = sum(xs)")).left_out == ()


def test_several_answers_are_sampled_and_stay_in_their_order():
    engine = StreamingEngine("total = sum(xs)", "total = max(xs)")
    result = follow(Request(MEAN, candidates=3), engine)
    assert [each.middle for each in result.candidates] == ["total = sum(xs)", "total = max(xs)"]
    assert result.answers == 3
    assert [bool(each.temperature) for each in engine.samplings] == [False, True]
    assert all(each.ending is not Ending.INTERRUPTED for each in result.candidates)


class ObeyingEngine(StreamingEngine):
    """Of several that are sampled the first is greedy, as the protocol has it."""

    def generate(self, prompt, *, beginnings, **options):
        generation = super().generate(prompt, beginnings=beginnings, **options)
        stop = self.tokenizer.sentinel(self.family.stop[0])
        texts = self.answers[: len(beginnings)] if len(beginnings) > 1 else self.answers[:1]
        generation._rest = {n: [*self.tokenizer.encode(text), stop] for n, text in enumerate(texts)}
        return generation


def test_what_is_known_is_not_asked_again():
    engine = ObeyingEngine("total = sum(xs)", "total = max(xs)", "total = min(xs)")
    *events, last = run(Request(MEAN, candidates=3), engine)
    assert sorted(each.middle for each in last.result.candidates) == [
        "total = max(xs)",
        "total = min(xs)",
        "total = sum(xs)",
    ]
    assert last.result.answers == 3
    assert {event.candidate for event in events if isinstance(event, Grew)} == {0, 1, 2}


def test_of_a_doubtful_answer_there_are_others():
    engine = StreamingEngine("total = (", "total = sum(xs)")
    result = follow(Request(MEAN, candidates=0), engine)
    assert result.candidates[0].middle == "total = sum(xs)"
    assert result.candidates[-1].reason == "does not parse"


def test_a_prompt_ends_with_the_whole_prefix():
    document = Document("x = 1\nif x:\n    pri", "\n")
    assert prompt_for(Request(document), StreamingEngine()).healed == ""
    assert follow(Request(document, candidates=1), StreamingEngine("nt(x)")).text == "x = 1\nif x:\n    print(x)\n"


def test_an_answer_is_not_made_longer_and_that_is_said():
    engine = StreamingEngine("total = sum(xs)")
    request = Request(MEAN, candidates=1)
    longer = request.longer(follow(request, engine).candidates[0])
    with pytest.raises(OptionError, match="Again asks for another"):
        follow(longer, engine)
    assert follow(request, engine).middle == "total = sum(xs)"


def test_ranking_does_without():
    result = follow(Request(MEAN, method="rank", candidates=2), StreamingEngine("total = sum(xs)", "pass"))
    assert result.candidates[0].middle.startswith("total = sum(xs)")


def test_several_holes_are_filled():
    from fim_magic.holes import parse as parse_holes

    blanks = parse_holes("a = <cursor>\nb = <cursor>\n")
    result = follow(Request(blanks.document, blanks=blanks, candidates=1), StreamingEngine("1", "2"))
    assert result.text == "a = 1\nb = 2\n"


def test_what_was_left_out_stands_in_the_details_and_not_in_the_line():
    result = follow(Request(MEAN, candidates=1), StreamingEngine("total = sum(xs)"))
    facts = caption.facts(result)
    assert ("Left out", "; ".join(LEFT_OUT)) in facts
    assert "further answers are sampled" in details.details_text(facts, result.candidates[0])
    assert "further answers are sampled" in details.details_html(facts, result.candidates[0])
    assert len(caption.line(result)) <= caption.COLUMNS
    assert "Left out" not in dict(caption.facts(follow(Request(MEAN, candidates=1), ScriptedEngine("x = 1"))))


def test_its_record_is_json_and_says_so():
    told = json.loads(json.dumps(record(follow(Request(MEAN, candidates=1), StreamingEngine("total = sum(xs)")))))
    assert told["left_out"] == list(LEFT_OUT)
    assert "left_out" not in record(follow(Request(MEAN, candidates=1), ScriptedEngine("total = sum(xs)")))


class TrainedStreaming(Trained, StreamingEngine):
    """Knows from its prompts what to say, and streams it."""


def test_its_prompts_can_be_proved():
    found = prove(TrainedStreaming(QWEN))
    assert found.answers
    assert {each.check.verdict for each in found.answers} <= {Verdict.OK, Verdict.NOT_JUDGED}
