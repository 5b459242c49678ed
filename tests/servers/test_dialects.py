"""What each kind of server is asked, and how its events read, row by row."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from fim_magic.engines import GREEDY, Sampling
from fim_magic.engines.server.completions import FIRST, CompletionsDialect, TransformersServe, VllmBehindGateway
from fim_magic.engines.server.dialect import Asked
from fim_magic.engines.server.llama_server import LlamaServerDialect
from fim_magic.engines.server.ollama import OllamaDialect
from fim_magic.engines.server.sglang import SglangDialect
from fim_magic.engines.server.tgi import TgiDialect
from fim_magic.engines.server.vllm import VllmDialect
from fim_magic.errors import ServerError

IDS = [7, 8, 9]
WARM = Sampling(temperature=0.5, top_p=0.9, seed=2**63 - 1)
STOPS = ("<a>", "<b>", "<c>", "<d>", "<e>")


def asked(sampling=GREEDY, **options):
    given = {"stop_ids": frozenset([5, 3]), "limit": 20, "text": "TEXT", "stop_texts": STOPS, "context_length": 4096}
    return Asked("m", IDS, sampling, **(given | options))


REQUESTS = [
    (
        VllmDialect(),
        asked(),
        "/v1/completions",
        {"model": "m", "prompt": IDS, "max_tokens": 20, "temperature": 0.0, "top_p": 1.0, "stop_token_ids": [3, 5]}
        | {"stream": True, "logprobs": 8, "return_token_ids": True, "return_tokens_as_token_ids": True}
        | {"skip_special_tokens": False, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0},
    ),
    (
        LlamaServerDialect(),
        asked(WARM, allowed=(4,)),
        "/completion",
        {"prompt": IDS, "n_predict": 20, "temperature": 0.5, "top_p": 0.9, "samplers": ["temperature", "top_p"]}
        | {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0, "stream": True, "return_tokens": True, "n_probs": 8}
        | {"cache_prompt": True, "seed": (2**63 - 1) % (2**32 - 1), "logit_bias": [[4, 100.0]]},
    ),
    (
        SglangDialect(),
        asked(WARM, allowed=(4, 6)),
        "/generate",
        {"input_ids": IDS, "stream": True, "return_logprob": True, "top_logprobs_num": 8}
        | {
            "sampling_params": {"max_new_tokens": 20, "temperature": 0.5, "top_p": 0.9, "top_k": -1, "min_p": 0.0}
            | {"repetition_penalty": 1.0, "stop_token_ids": [3, 5], "skip_special_tokens": False}
            | {"sampling_seed": 2**63 - 1, "logit_bias": {"4": 100.0, "6": 100.0}}
        },
    ),
    (
        TgiDialect(),
        asked(),
        "/generate_stream",
        {"inputs": "TEXT"}
        | {
            "parameters": {"max_new_tokens": 20, "do_sample": False, "return_full_text": False, "details": True}
            | {"stop": ["<a>", "<b>", "<c>", "<d>"], "top_n_tokens": 5}
        },
    ),
    (
        TgiDialect(),
        asked(Sampling(temperature=0.5, seed=4), alternatives=0),
        "/generate_stream",
        {"inputs": "TEXT"}
        | {
            "parameters": {"max_new_tokens": 20, "do_sample": True, "return_full_text": False, "details": True}
            | {"stop": ["<a>", "<b>", "<c>", "<d>"], "temperature": 0.5, "seed": 4}
        },
    ),
    (
        OllamaDialect(),
        asked(WARM),
        "/api/generate",
        {"model": "m", "prompt": "TEXT", "raw": True, "stream": True, "think": False, "truncate": False}
        | {"shift": False, "logprobs": True}
        | {
            "options": {"num_predict": 20, "temperature": 0.5, "top_p": 0.9, "top_k": 0, "min_p": 0.0}
            | {"repeat_penalty": 1.0, "stop": list(STOPS), "num_ctx": 4096, "seed": 2**31 - 1}
        },
    ),
    (
        CompletionsDialect(),
        asked(WARM),
        "/v1/completions",
        {"model": "m", "prompt": "TEXT", "max_tokens": 20, "temperature": 0.5, "top_p": 0.9, "stream": True}
        | {"seed": 2**31 - 1, "stream_options": {"include_usage": True}, "stop": ["<a>", "<b>", "<c>", "<d>"]},
    ),
]


@pytest.mark.parametrize(("dialect", "wanted", "path", "body"), REQUESTS)
def test_requests(dialect, wanted, path, body):
    assert dialect.request(wanted) == (path, body)


def test_no_request_asks_for_a_suffix():
    for dialect, wanted, _, _ in REQUESTS:
        assert "suffix" not in json.dumps(dialect.request(wanted))


def read(dialect, events, wanted=None):
    """Return the ids with their log-probabilities, the text, why it ended, and as how many tokens it was read."""
    pieces = list(dialect.pieces(iter(events), wanted or asked()))
    tokens = [(token.id, token.logprob) for piece in pieces for token in piece.tokens]
    counts = [piece.prompt_tokens for piece in pieces if piece.prompt_tokens is not None]
    ends = [piece.ended for piece in pieces if piece.ended]
    return SimpleNamespace(tokens=tokens, text="".join(piece.text for piece in pieces), ends=ends, counts=counts)


def vllm(ids, reason=None, **more):
    return {"choices": [{"index": 0, "token_ids": ids, "finish_reason": reason, "logprobs": None} | more]}


def test_vllm_tells_what_it_has_read_and_the_stop_token():
    events = [vllm([1], prompt_token_ids=IDS), vllm([2, 3], "stop", stop_reason=3), {"choices": [], "usage": {}}]
    found = read(VllmDialect(), events)
    assert (found.tokens, found.ends, found.counts) == ([(1, None), (2, None), (3, None)], ["stop"], [3])


def test_vllm_that_has_read_another_prompt_is_not_believed():
    with pytest.raises(ServerError, match="another prompt"):
        read(VllmDialect(), [vllm([1], prompt_token_ids=[7, 8, 8])])


def test_candidates_that_were_not_asked_for_are_left_out():
    assert read(VllmDialect(), [vllm([1], index=1), vllm([2], "stop")]).tokens == [(2, None)]
    assert read(LlamaServerDialect(), [llama("a", [1], 1) | {"index": 1}, llama("b", [2], 1)]).tokens == [(2, None)]


def llama(content, tokens, predicted, **more):
    return {"index": 0, "content": content, "tokens": tokens, "tokens_predicted": predicted, "stop": False} | more


LAST = {"index": 0, "content": "", "tokens": [], "stop": True, "tokens_evaluated": 3}


def test_llama_server_says_how_much_it_had_read():
    events = [llama("a", [1], 1), LAST | {"stop_type": "limit", "timings": {"cache_n": 2}}]
    found = read(LlamaServerDialect(), events)
    assert (found.tokens, found.ends, found.counts) == ([(1, None)], ["length"], [3])


def test_llama_server_loses_the_ids_of_a_character_that_several_tokens_make_up():
    events = [llama("x", [1], 1), llama(" 🐍", [235], 4), llama("y", [2], 5), LAST | {"stop_type": "eos"}]
    pieces = list(LlamaServerDialect().pieces(iter(events), asked()))
    told = [piece.text or [token.id for token in piece.tokens] for piece in pieces if piece.text or piece.tokens]
    assert told == [[1], " 🐍", [2]]


@pytest.mark.parametrize(
    ("tokens", "kind", "found"),
    [
        ([99], "eos", []),  # the file's own end, which is none of ours
        ([3], "eos", [3]),
        ([99], "limit", [99]),  # no end: a sentinel like others
    ],
)
def test_what_ends_an_answer_by_the_file_s_account_is_no_part_of_it(tokens, kind, found):
    events = [llama("", tokens, 1), LAST | {"tokens_predicted": 1, "stop_type": kind}]
    assert [token for token, _ in read(LlamaServerDialect(), events).tokens] == found


def sglang(ids, count, reason=None, first=0):
    probable = [[-0.5, token, None] for token in ids]
    meta = {"finish_reason": reason, "completion_tokens": count, "prompt_tokens": 3, "cached_tokens": 2}
    return {"output_ids": ids, "meta_info": meta | {"output_token_logprobs": probable, "output_top_logprobs": []}}


@pytest.mark.parametrize(
    "events",
    [
        [sglang([1], 1), sglang([1, 2, 3], 3, {"type": "stop", "matched": 3})],
        [sglang([1], 1), sglang([2, 3], 3, {"type": "stop", "matched": 3})],
    ],
    ids=["all-so-far", "new-ones"],
)
def test_sglang_sends_all_ids_or_the_new_ones(events):
    found = read(SglangDialect(), events)
    assert found.tokens == [(1, -0.5), (2, -0.5), (3, -0.5)]
    assert found.ends == ["stop"]


def test_sglang_says_how_probable_was_what_it_sampled_from():
    events = [sglang([1], 1, {"type": "length", "length": 1})]
    for changed in (asked(WARM), asked(Sampling(temperature=1.0, top_p=0.5)), asked(allowed=(1,))):
        assert read(SglangDialect(), events, changed).tokens == [(1, None)]
    assert read(SglangDialect(), events, asked(Sampling(temperature=1.0))).tokens == [(1, -0.5)]


def test_sglang_may_give_up():
    with pytest.raises(ServerError, match="out of memory"):
        read(SglangDialect(), [sglang([1], 1, {"type": "abort", "message": "out of memory"})])


class Answering:
    """A connection that answers all with the same."""

    def __init__(self, answer):
        self.answer, self.sent = answer, None

    def post(self, path, body):
        self.sent = (path, body)
        return self.answer


def test_sglang_scores_what_follows():
    told = [[None, 8, None], [-1.0, 9, None], [-2.0, 4, None]]
    places = [None, [[-1.0, 9, None]], [[-0.1, 6, None], [-2.0, 4, None]]]
    meta = {"input_token_logprobs": told, "input_top_logprobs": places}
    connection = Answering({"meta_info": meta})
    found = SglangDialect().score(connection, "m", [7, 8, 9, 4], 2, 2)
    assert [(token.id, token.logprob) for token in found] == [(9, -1.0), (4, -2.0)]
    assert [item.id for item in found[1].alternatives] == [6, 4]
    assert connection.sent[1]["logprob_start_len"] == 1


def tgi(token, reason=None, **more):
    details = {"finish_reason": reason, "generated_tokens": 1, "seed": None, "input_length": 3} if reason else None
    told = {"id": token, "text": "", "logprob": -0.5, "special": False}
    return {"index": 1, "token": told, "generated_text": "x" if reason else None, "details": details} | more


@pytest.mark.parametrize(("reason", "ended"), [("eos_token", "stop"), ("stop_sequence", "stop"), ("length", "length")])
def test_tgi_says_why_it_ended(reason, ended):
    found = read(TgiDialect(), [tgi(1, top_tokens=[]), tgi(2, reason)])
    assert (found.tokens, found.ends, found.counts) == ([(1, -0.5), (2, -0.5)], [ended], [3])


def test_tgi_says_how_probable_was_what_it_sampled_from():
    assert read(TgiDialect(), [tgi(1, "length")], asked(WARM)).tokens == [(1, None)]


def test_ollama_says_when_it_is_done():
    events = [{"response": "a", "done": False}, {"response": "", "done": True, "done_reason": "stop"}]
    found = read(OllamaDialect(), [*events[:1], events[1] | {"prompt_eval_count": 3}])
    assert (found.text, found.ends, found.counts) == ("a", ["stop"], [3])
    assert read(OllamaDialect(), [events[1] | {"done_reason": "length"}]).ends == ["length"]
    assert read(OllamaDialect(), events).counts == []


def test_ollama_ends_without_a_word_where_a_token_repeats():
    assert read(OllamaDialect(), [{"response": "=", "done": False}] * 31).ends == ["length"]


def completion(text, reason=None):
    return {"choices": [{"index": 0, "text": text} | ({"finish_reason": reason} if reason else {})]}


@pytest.mark.parametrize(
    "events",
    [
        [completion("a"), completion("b", "stop"), {"choices": [], "usage": {"prompt_tokens": 3}}],
        [completion("a"), completion("b", "stop") | {"usage": {"prompt_tokens": 3}}],
        [completion("ab"), completion("", "eos_token") | {"usage": {"prompt_tokens": 3}}],
    ],
    ids=["openai", "transformers", "another-word"],
)
def test_completions_count_before_they_end(events):
    found = read(CompletionsDialect(), events)
    assert (found.text, found.ends, found.counts) == ("ab", ["stop"], [3])


def test_completions_that_break_off_have_no_end():
    assert read(CompletionsDialect(), [completion("a")]).ends == []


def test_an_unknown_endpoint_is_tried_with_ids_first():
    kinds = [(type(variant), variant.capabilities.takes_ids) for variant in FIRST.variants]
    assert kinds == [(VllmBehindGateway, True), (CompletionsDialect, True), (CompletionsDialect, False)]
    assert TransformersServe().variants == (TransformersServe(),)
