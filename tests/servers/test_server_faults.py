"""What servers do wrong: each is told in a paragraph with the next line to type, and nothing that came is lost."""

from __future__ import annotations

import gc
import gzip
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import httpx2
import pytest
from fake_servers import FakeLlamaServer, FakeVllm
from scripted_server import (
    CUT,
    SILENCE,
    ScriptedServer,
    answer,
    content,
    cut,
    nobody_listens,
    silence,
    stream,
)

from fim_magic import proxies
from fim_magic.candidate import Ending
from fim_magic.engines import ANY, GREEDY, Beginning
from fim_magic.engines.server.address import ServerAddress
from fim_magic.engines.server.connection import ServerConnection
from fim_magic.engines.server.dialects import DIALECTS, identify
from fim_magic.engines.server.engine import ServerEngine
from fim_magic.engines.server.event_stream import EventStream
from fim_magic.engines.server.lines import Lines
from fim_magic.engines.server.refusals import said_in_stream
from fim_magic.engines.server.time_limits import TimeLimits
from fim_magic.engines.server.vocabulary import require_same_vocabulary
from fim_magic.errors import FimError, ServerError
from fim_magic.events import Waits
from fim_magic.pipeline import run
from fim_magic.settings import Settings

HOLE = "def mean(xs):\n    <cursor>\n    return total / len(xs)\n"
ANSWER = "total = sum(xs)"
KEY = "sesame-of-the-test"
QUICK = TimeLimits(connect=2.0, answer=0.3, first=0.6, following=0.3, patience=0.0, drain=0.1)
PATIENT = replace(QUICK, answer=20.0, first=20.0, following=20.0, patience=6.0)


@pytest.fixture
def server(fake_server):
    fake_server.says(ANSWER)
    return fake_server


@pytest.fixture
def vllm(served_folder):
    with FakeVllm(served_folder) as server:
        server.says(ANSWER)
        yield server


def connection_to(server, limits=QUICK, **options):
    return ServerConnection(ServerAddress.of(server.address), KEY, limits=limits, **options)


def engine_of(server, limits=QUICK, **options):
    connection = connection_to(server, limits, **options)
    dialect, served = identify(connection)
    return ServerEngine.load(connection, dialect, served, server.folder, name=server.address)


def events_of(engine, stop=None, *, healing=False, **options):
    settings = {"candidates": 1, "max_new_tokens": 12} | options
    _, request = Settings().request(HOLE, **settings)
    return run(replace(request, healing=healing), engine, stop)


def result_of(engine, **options):
    *_, last = events_of(engine, **options)
    return last.result


def refused(engine, **options):
    """Ask, and return the paragraph that says why there is no answer."""
    with pytest.raises(ServerError) as caught:
        result_of(engine, **options)
    return told(caught.value)


def told(error):
    """Look at a message for what each has to be, and return it."""
    text = str(error)
    assert "\n" not in text
    assert "Traceback" not in text
    assert KEY not in text
    assert text.endswith((".", "none")) or "%fim use" in text
    assert re.search(
        r"[Rr]un (this|it) again|%fim use|--context none|restart the kernel|without \+https|Ask for fewer|[Ll]ess context",
        text,
    ), text
    return text


def good(server, text=ANSWER):
    """The events with which a server answers this, and nothing else."""
    tokens = server.tokenizer.encode(text)
    return [token_event(server, token) for token in tokens]


def token_event(server, token, *, ended=False):
    if server.kind == "vllm":
        return {"choices": [{"index": 0, "token_ids": [token], "finish_reason": "stop" if ended else None}]}
    return {"index": 0, "content": server.tokenizer.decode([token]), "tokens": [token], "stop": False}


def end_events(server):
    if server.kind == "vllm":
        choice = {"index": 0, "token_ids": [server.tokenizer.sentinel("<|endoftext|>")], "finish_reason": "stop"}
        return [{"choices": [choice]}, "[DONE]"]
    return [{"index": 0, "content": "", "tokens": [], "stop": True, "stop_type": "eos"}]


# --- before anything is asked --------------------------------------------------------------------


def test_a_server_that_is_not_there_is_told_at_once():
    with nobody_listens() as host:
        began = time.monotonic()
        with pytest.raises(ServerError, match=f"No server answers at {host}") as caught:
            identify(ServerConnection(ServerAddress.of(f"vllm://{host}")))  # though it has 20 s of patience
        assert time.monotonic() - began < 10
    assert f"%fim use vllm://{host}" in told(caught.value)


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        (answer({"error": "Unauthorized"}, 401), "wants a key"),
        (answer({"error": {"message": f"Incorrect API key provided: {KEY}"}}, 400), "provided: …"),
        (answer({"error": "no"}, 403), "wants a key"),
        (answer({"detail": "Not Found"}, 404), "refused (404: Not Found)"),
        (answer({"detail": "Method Not Allowed"}, 405), "refused (405: Method Not Allowed)"),
        (content(b"", 501), "refused (501)"),
        (content(b"", 413), "too long"),
        (answer({"error": {"message": "slow down"}}, 429), "too busy (429: slow down)"),
        (answer({}, 429, Retry_After="3000"), "asks to wait 3000 s"),
        (answer({"error": {"message": "CUDA out of memory"}}, 500), "failed (500: CUDA out of memory)"),
        (content(b"<html><h1>Bad Gateway</h1></html>", 502, "text/html"), "behind its gateway (502)"),
        (answer({"error": {"message": "Loading model", "code": 503}}, 503), "not ready (503: Loading model)"),
        (content(b"upstream request timeout", 504, "text/plain"), "takes too long (504)"),
        (content(b"", 418), "refused (418)"),
        (content(b"<html>", 200, "text/html"), "no JSON"),
        (content(b'{"version": "0.32'), "no JSON"),
        (content(b"\xff\xfe\x00"), "no JSON"),
        (content(b'{"version": "caf\xc3'), "no JSON"),
        (content(b"[" * 100_000), "no JSON"),
        (content(b"[" * 100 + b"]" * 100), "no JSON"),
        (content(b"1" * 100_000), "no JSON"),
        (content(b""), "no JSON"),
        (content(b"{}", Content_Length="100"), "fell silent"),
        (content(b'{"version": "0.32.0"}', Content_Length="3"), "no JSON"),
        (content(b"{}", Content_Length="many"), "broke off"),
        (content(b"{}", Content_Encoding="gzip"), "cannot be unpacked"),
        (content(gzip.compress(bytes(200 * 2**20)), Content_Encoding="gzip"), "more than 64 MiB"),
        (cut, "broke off"),
        (silence, "fell silent"),
        (lambda exchange: exchange.raw(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"), "broke off"),
        (lambda exchange: (exchange.raw(b"HTTP/1.1 200 OK\r\nX: " + bytes(200_000)), exchange.cut()), "broke off"),
        (lambda exchange: (exchange.head(), exchange.raw(b"5\r\nab"), exchange.cut()), "broke off"),
        (lambda exchange: (exchange.head(), exchange.raw(b"zz\r\nab\r\n")), "broke off"),
        (answer([]), "no vLLM"),
        (answer({"version": 32}), "no vLLM"),
        (answer(None), "no vLLM"),
    ],
)
def test_what_a_server_answers_instead_of_what_it_is(vllm, behaviour, says):
    vllm.script("/version", behaviour)
    with pytest.raises(ServerError) as caught:
        identify(connection_to(vllm))
    assert says in told(caught.value)


@pytest.mark.parametrize(
    ("listed", "says"),
    [
        ({"data": []}, "runs no model"),
        ({"data": None}, "runs no model"),
        ({}, "runs no model"),
        ([], "runs no model"),
        ({"data": [None, 3, {"id": 4}, {"no": 1}]}, "runs no model"),
        ({"data": [{"id": "a"}, {"id": "b"}]}, "several models: a, b"),
    ],
)
def test_a_list_of_models_that_names_none(vllm, listed, says):
    vllm.script("/v1/models", answer(listed))
    with pytest.raises(ServerError) as caught:
        identify(connection_to(vllm))
    assert says in str(caught.value)


def test_the_wrong_model_is_told_with_the_right_one(vllm):
    address = ServerAddress.of(f"{vllm.address}/other/model")
    with pytest.raises(ServerError, match=f"no model called 'other/model'.*%fim use {vllm.address}/tiny/qwen2"):
        identify(ServerConnection(address))


# --- on the way to an answer ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        (answer({"error": "Unauthorized"}, 401), "wants a key"),
        (answer({"error": {"message": "The model `tiny` does not exist."}}, 404), "refused (404: The model `tiny`"),
        (answer({"error": {"message": "exceeds the available context size"}}, 400), "refused (400: exceeds"),
        (content(b"", 413), "too long"),
        (answer({}, 429), "too busy (429)"),
        (answer({"error": {"message": "EngineCore died"}}, 500), "failed (500: EngineCore died)"),
        (content(b"<html>502</html>", 502, "text/html"), "gateway (502)"),
        (cut, "broke off"),
        (silence, "fell silent"),
        (stream(SILENCE), "fell silent"),
        (stream(), "ended before the answer"),
        (stream("[DONE]"), "ended before the answer"),
        (stream(CUT), "broke off"),
        (stream({"error": {"message": "out of memory", "code": 500}}), "failed while it answered: out of memory"),
        (stream("nonsense"), "no JSON"),
        (stream("[" * 1000), "no JSON"),
        (stream(b'data: {"choices": \xc3\n\n'), "no JSON"),
        (stream(b'data: {"choices'), "ended before the answer"),  # an event that does not end is none
        (stream(b"\xf0\x9f"), "ended before the answer"),
        (stream(b"\xf0\x9f", CUT), "broke off"),
        (stream(kind="text/html"), "ended before the answer"),
        (stream(b"<html><body>Sign in</body></html>", kind="text/html"), "no JSON"),
        (stream(b"x" * 6 * 2**20, kind="application/x-ndjson"), "more than 4 MiB"),
        (stream(*[b"data: " + b"x" * 2**20] * 100), "more than 4 MiB"),
        (stream(*[b"data: " + b"x" * 1000 + b"\n"] * 5000), "more than 4 MiB"),
        (stream(gzip.compress(b"data: " + bytes(100 * 2**20)), Content_Encoding="gzip"), "more than 4 MiB"),
        (stream([]), "in a form that"),
        (stream("3"), "in a form that"),
        (stream('"text"'), "in a form that"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_comes_instead_of_an_answer(server, behaviour, says):
    engine = engine_of(server)
    server.script(server.completions, behaviour)
    assert says in refused(engine)


def test_an_endless_stream_without_a_token_ends_when_it_is_waited_for_no_longer(server):
    engine = engine_of(server)

    def endless(exchange):
        exchange.head()
        while True:
            exchange.send(b": still here\n\n")
            time.sleep(0.01)

    server.script(server.completions, endless)
    assert "fell silent: nothing came for 1 s" in refused(engine)
    assert server.asked(server.completions)[-1].was_closed.wait(10)


def test_an_endless_answer_ends_at_its_limit(server):
    engine = engine_of(server)
    token = server.tokenizer.encode("x")[0]

    def endless(exchange):
        exchange.head()
        while True:
            exchange.event(token_event(server, token))

    server.script(server.completions, endless)
    (candidate,) = result_of(engine, max_new_tokens=12).candidates
    assert (candidate.ending, len(candidate.token_ids)) == (Ending.LENGTH, 12)
    assert server.asked(server.completions)[-1].was_closed.wait(10)


WRONG = [None, True, -1, 3.5, 2**31, 2**70, 10**400, "5", "x", [], {}, [[]], float("nan"), float("inf"), {"id": "x"}]


def fields_of(value, path=()):
    """Every place in JSON."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield from fields_of(part, (*path, key))


def changed(value, path, wrong):
    if not path:
        return wrong
    first, *rest = path
    copy = dict(value) if isinstance(value, dict) else list(value)
    if not rest and wrong is CUT:
        del copy[first]
    else:
        copy[first] = changed(copy[first], rest, wrong)
    return copy


EVENTS = {
    "vllm": {
        "choices": [
            {
                "index": 0,
                "token_ids": [65],
                "finish_reason": None,
                "logprobs": {"token_logprobs": [-0.5], "top_logprobs": [{"token_id:65": -0.5, "token_id:66": -1.5}]},
            }
        ]
    },
    "llama-server": {
        "index": 0,
        "tokens": [65],
        "stop": False,
        "timings": {"cache_n": 3},
        "completion_probabilities": [
            {"id": 65, "logprob": -0.5, "top_logprobs": [{"id": 65, "logprob": -0.5}, {"id": 66, "logprob": -1.5}]}
        ],
    },
}


def test_a_wrong_value_in_any_field_of_an_event_is_told_or_makes_no_difference(server):
    """Missing, null, of another type, huge, negative, beyond the vocabulary, not a number."""
    engine = engine_of(server)
    whole = EVENTS[server.kind]
    for path in fields_of(whole):
        for wrong in (*WRONG, *[CUT] * bool(path)):
            server.script(server.completions, stream(changed(whole, path, wrong), *end_events(server)))
            try:
                result = result_of(engine)
            except ServerError as error:
                told(error)
                continue
            for candidate in result.candidates:
                assert all(engine.tokenizer.knows(token) for token in candidate.token_ids), (path, wrong)
                assert all(-1e9 < logprob <= 0.01 for logprob in candidate.logprobs), (path, wrong)
                assert candidate.ending in (Ending.STOP_TOKEN, Ending.RULE, Ending.LENGTH, Ending.BROKEN_OFF)


OTHERS = {
    "/version": (FakeVllm, {"version": "0.32.0"}),
    "/v1/models": (FakeVllm, {"data": [{"id": "tiny/qwen2", "root": "m", "max_model_len": 1024}]}),
    "/props": (
        FakeLlamaServer,
        {"default_generation_settings": {"n_ctx": 1024}, "model_path": "m", "model_alias": "m", "build_info": "b1"},
    ),
}


@pytest.mark.parametrize("path", OTHERS)
def test_a_wrong_value_in_any_field_of_another_answer_is_told_or_makes_no_difference(served_folder, path):
    kind, whole = OTHERS[path]
    with kind(served_folder) as server:
        server.says(ANSWER)
        for place in fields_of(whole):
            for wrong in (*WRONG, *[CUT] * bool(place)):
                server.script(path, answer(changed(whole, place, wrong)))
                try:
                    engine = engine_of(server)
                    assert result_of(engine).middle == ANSWER
                except FimError as error:  # it may tell of another model, or of one without room for anything
                    told(error)


def test_ids_that_differ_from_ours_are_refused(server):
    engine = engine_of(server)
    connection = connection_to(server)
    for wrong in WRONG:
        server.script("/tokenize", answer({"tokens": wrong}))
        with pytest.raises(FimError, match="%fim use"):
            require_same_vocabulary(
                connection, DIALECTS[server.kind], server.name, engine.tokenizer, engine.family, source="it"
            )


def test_an_answer_for_another_candidate_is_left_out(server):
    engine = engine_of(server)
    (first, *others), stranger = good(server), good(server, "import os")[0]
    (stranger.get("choices") or [stranger])[0]["index"] = 1
    server.script(server.completions, stream(stranger, first, stranger, *others, *end_events(server)))
    assert result_of(engine).middle == ANSWER


def test_what_comes_behind_the_end_is_left_out(server):
    engine = engine_of(server)
    server.script(server.completions, stream(*good(server), *end_events(server), *good(server, "import os"), SILENCE))
    assert result_of(engine).middle == ANSWER


def test_a_server_that_does_not_keep_to_the_tokens_that_it_is_asked_for_is_told(server):
    engine = engine_of(server)
    server.script(server.completions, stream(*good(server, "pass"), *end_events(server)))
    assert "does not keep to the tokens" in refused(engine, healing=True)


# --- what has come stays -------------------------------------------------------------------------

BREAKS = {
    "the connection is cut": (CUT,),
    "the stream ends": (),
    "it is silent": (SILENCE,),
    "an error comes": ({"error": {"message": "out of memory"}},),
    "nonsense comes": ("{",),
    "half a character comes": (b"data: \xf0\x9f", CUT),
    "half a chunk comes": (lambda exchange: exchange.raw(b"40\r\ndata: "), CUT),
    "an id of no token comes": ({"choices": [{"token_ids": [10**6]}], "tokens": [10**6]},),
    "too much comes": (b"data: " + b"x" * 5 * 2**20,),
}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("EngineCore encountered an issue. ", "while it answered: EngineCore encountered an issue. Its own log"),
        ({"message": ""}, "while it answered. Its own log"),  # vLLM's, where its engine has failed
        ({"code": 500}, "while it answered. Its own log"),
    ],
)
def test_an_error_in_a_stream_is_told_in_whole_sentences(error, said):
    found = said_in_stream(ServerAddress.of("vllm://127.0.0.1:8000"), {"error": error})
    assert said in str(found)


@pytest.mark.parametrize("how", BREAKS)
def test_what_has_come_before_a_stream_breaks_stays(server, how):
    engine = engine_of(server)
    server.script(server.completions, stream(*good(server, "total = s"), *BREAKS[how]))
    result = result_of(engine)
    (candidate,) = result.candidates
    assert (candidate.middle, candidate.ending) == ("total = s", Ending.BROKEN_OFF)
    assert result.is_partial
    assert f"The server at {server.host}" in told(ServerError(result.broken_off))
    assert result.text == HOLE.replace("<cursor>", "total = s")


def test_nothing_is_asked_of_a_server_that_broke_off(server):
    """Not for further candidates, and not how probable the answer is."""
    engine = engine_of(server)
    server.script(server.completions, stream(*good(server, "total = s"), CUT))
    before = len(server.requests)
    assert result_of(engine, candidates=3).candidates[0].middle == "total = s"
    assert len(server.requests) == before + 1


def test_of_several_candidates_those_that_are_whole_stay(server):
    engine = engine_of(server)
    whole = [*good(server), *end_events(server)]
    server.script(
        server.completions,
        stream(*whole),
        stream(*good(server, "n = len(xs)"), *end_events(server)),
        stream(CUT),
        stream(*good(server, "s = 0"), CUT),
    )
    result = result_of(engine, candidates=4, temperature=0.8)
    assert {candidate.ending for candidate in result.candidates[:2]} == {Ending.STOP_TOKEN}
    assert {candidate.middle for candidate in result.candidates[:2]} == {ANSWER, "n = len(xs)"}
    assert [(one.middle, one.ending) for one in result.candidates[2:]] == [("s = 0", Ending.BROKEN_OFF)]
    assert "broke off" in result.broken_off
    assert not result.is_partial


def test_the_first_answer_stays_when_the_server_fails_at_the_further_ones(server):
    engine = engine_of(server)
    server.script(server.completions, stream(*good(server), *end_events(server)), content(b"", 500))
    result = result_of(engine, candidates=3)
    assert [candidate.middle for candidate in result.candidates] == [ANSWER]
    assert "failed (500)" in result.broken_off


def test_the_holes_that_are_filled_stay_when_the_server_fails_at_the_next(server):
    engine = engine_of(server)
    text = "a = <cursor>\nb = 2\nc = <cursor>\nd = 4\n"
    server.script(server.completions, stream(*good(server, "1"), *end_events(server)), content(b"", 500))
    _, request = Settings().request(text, candidates=1, max_new_tokens=12)
    *_, last = run(replace(request, healing=False), engine)
    (candidate,) = last.result.candidates
    assert candidate.ending is Ending.BROKEN_OFF
    assert last.result.text == "a = 1\nb = 2\nc = \nd = 4\n"
    assert "failed (500)" in last.result.broken_off


# --- again, where nothing was generated ----------------------------------------------------------


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_request_that_was_not_taken_is_sent_again(server, status):
    engine = engine_of(server, PATIENT)
    server.script(
        server.completions, content(b"", status), content(b"", status), stream(*good(server), *end_events(server))
    )
    assert result_of(engine).middle == ANSWER
    assert len(server.asked(server.completions)) == 3


@pytest.mark.parametrize(
    "when", ["1", lambda: format_datetime(datetime.now(timezone.utc) + timedelta(seconds=2), usegmt=True)]
)
def test_a_server_is_waited_for_as_long_as_it_asks(server, when):
    engine = engine_of(server, PATIENT)
    times = []

    def busy(exchange):
        times.append(time.monotonic())
        exchange.json({}, 429, Retry_After=when if isinstance(when, str) else when())

    def ready(exchange):
        times.append(time.monotonic())
        stream(*good(server), *end_events(server))(exchange)

    server.script(server.completions, busy, ready)
    *_, last = events = list(events_of(engine))
    assert last.result.middle == ANSWER
    assert times[1] - times[0] >= 0.9
    pauses = [event.progress for event in events if isinstance(event, Waits)]
    assert {pause.what for pause in pauses} == {f"Waiting for {server.host}"}
    assert all(0 <= pause.done < pause.total <= 2 for pause in pauses)


@pytest.mark.parametrize(
    "when", ["30", "999999999999999999999", "never", "-5", "", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 99 Nov 99999"]
)
def test_a_server_that_asks_for_too_long_or_for_nonsense_is_not_waited_for_longer_than_usual(server, when):
    engine = engine_of(server)
    server.script(server.completions, content(b"", 429, Retry_After=when))
    assert "too busy (429)" in refused(engine)


def test_a_server_that_comes_back_is_found_again(served_folder):
    with FakeVllm(served_folder) as server:
        server.says(ANSWER)
        engine = engine_of(server, PATIENT)
        port = server.port
    events = events_of(engine)
    timer = threading.Timer(0.4, lambda: later.append(FakeVllm(served_folder, port=port)))
    later = []
    timer.start()
    *_, last = events
    timer.join()
    (server,) = later
    server.close()
    assert last.result.method == "fim"
    assert server.asked(server.completions)


def test_after_a_token_nothing_is_sent_again(server):
    engine = engine_of(server, PATIENT)
    before = len(server.asked(server.completions))
    server.script(server.completions, stream(*good(server, "total"), CUT))
    assert result_of(engine).middle == "total"
    assert len(server.asked(server.completions)) == before + 1


def test_a_connection_that_the_server_has_closed_meanwhile_is_renewed_once(server):
    engine = engine_of(server)
    reached = []

    def gone(exchange):  # as if it had been closed just when the request went out
        reached.append(True)
        exchange.cut()

    server.script(server.completions, gone, stream(*good(server), *end_events(server)))
    assert result_of(engine).middle == ANSWER
    assert reached == [True]
    server.script(server.completions, cut)
    assert "broke off" in refused(engine)


def test_one_connection_carries_one_request_after_another(server):
    engine_of(server)
    connections = server.connections
    assert connections == 1
    engine = engine_of(server)
    server.script(server.completions, stream(*good(server), *end_events(server)))
    for _ in range(3):
        assert result_of(engine).middle == ANSWER
    assert server.connections <= connections + 2


def test_what_is_closed_before_it_begins_has_no_connection_to_cut(vllm):
    """The connection that was made for it carries the next request."""
    address = ServerAddress.of(vllm.address)

    def client():
        closed.close()
        return httpx2.Client(base_url=address.url)

    lines = Lines(client)
    closed = EventStream(lines, address, vllm.completions, {}, QUICK)
    assert list(closed) == []
    with lines.taken() as line:
        closed.close()
        with line.request("GET", "/version", None, httpx2.Timeout(5.0)) as response:
            assert response.status_code == 200
        assert not line.is_cut
    lines.close()
    assert vllm.asked(vllm.completions) == []


def test_a_candidate_that_fails_gives_up_its_connection_while_another_goes_on(server):
    engine = engine_of(server, TimeLimits())
    shut = threading.Event()
    ids = ["no number"]
    senseless = {"choices": [{"token_ids": ids}]} if server.kind == "vllm" else {"content": "", "tokens": ids}
    server.script(server.completions, stream(senseless, SILENCE), stream(*good(server), shut, *end_events(server)))
    generation = engine.generate([65, 66], beginnings=[ANY, ANY], sampling=GREEDY, stop_ids={0}, limit=20)
    assert list(generation.prefill())[-1] == 2
    wait_until(lambda: len(server.asked(server.completions)) == 2)
    assert server.asked(server.completions)[0].was_closed.wait(10)
    assert not server.asked(server.completions)[1].was_closed.is_set()
    generation.close()
    wait_until(lambda: not candidate_threads())


def test_what_has_to_begin_with_its_end_is_not_asked_for(server):
    engine = engine_of(server)
    generation = engine.generate(
        [65, 66], beginnings=[Beginning(ids=(5, 6))], sampling=GREEDY, stop_ids=frozenset({6}), limit=20
    )
    found = []
    while (tokens := generation.step()) != []:
        found += tokens or []
    wait_until(lambda: not candidate_threads())
    assert [token.id for token in found] == [5, 6]
    assert server.asked(server.completions) == []


# --- to the right host, and to no other ----------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_and_the_other_host_gets_nothing(server, status):
    engine = engine_of(server)
    with ScriptedServer() as other:
        server.script(server.completions, content(b"", status, Location=f"{other.url}/v1/completions"))
        assert "sends on to another address" in refused(engine)
        server.script("/v1/models", content(b"", status, Location=f"{other.url}/v1/models"))
        server.script("/props", content(b"", status, Location=f"{other.url}/props"))
        with pytest.raises(ServerError, match="sends on to another address"):
            identify(connection_to(server))
        assert other.requests == []
        assert other.connections == 0


def test_the_key_is_sent_and_told_nowhere(served_folder):
    with FakeVllm(served_folder, key=KEY) as server:
        server.says(ANSWER)
        engine = engine_of(server)
        assert result_of(engine).middle == ANSWER
        assert {one.headers["authorization"] for one in server.requests} == {f"Bearer {KEY}"}
        assert KEY not in repr(vars(engine))


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"])
def test_proxies_are_not_used_for_this_machine(server, monkeypatch, name):
    with ScriptedServer() as proxy:
        monkeypatch.setenv(name, proxy.url)
        assert result_of(engine_of(server)).middle == ANSWER
        assert proxy.connections == 0


@pytest.mark.parametrize(
    "proxy",
    [
        "nonsense",
        "ftp://127.0.0.1:1",
        "http://[::",
        "socks5://127.0.0.1:1",
        f"nonsense://me:{KEY}@127.0.0.1:1",
        f"nonsense://{KEY}@127.0.0.1:1",
        f"http://me:{KEY}/x@127.0.0.1:1",
        f"http://me:{KEY}@127.0.0.1:port",
        f"socks5://me:{KEY}@127.0.0.1:1",
        f"http://me:{KEY}@127.0.0.1:1",
    ],
)
def test_a_proxy_that_cannot_be_used_is_told_without_its_password(monkeypatch, proxy):
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ServerError) as caught:
        identify(ServerConnection(ServerAddress.of("vllm://server.invalid"), limits=QUICK))
    told(caught.value)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    if "cannot be used" in str(caught.value):
        assert "environment: ALL_PROXY. Change" in str(caught.value)


def test_a_proxy_that_repeats_its_password_is_not_repeated(monkeypatch):
    with ScriptedServer() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:{KEY}%21@{proxy.host}")
        proxy.answer = lambda exchange: exchange.json({"detail": f"me:{KEY}! may not"}, 418)
        with pytest.raises(ServerError, match=r"me:…!? may not") as caught:
            identify(ServerConnection(ServerAddress.of("vllm://server.invalid"), limits=QUICK))
    assert proxy.requests
    told(caught.value)


@pytest.mark.parametrize(
    ("value", "hidden"),
    [
        ("http://me:ses/ame@gpu:80", {"ses/ame", "ame"}),
        ("http://me:a%40bcd@gpu", {"a%40bcd", "a@bcd"}),
        ("me:sesame@gpu", {"sesame"}),
        ("http://token@gpu", {"token"}),
        ("http://gpu:80/@", set()),
    ],
)
def test_what_is_secret_in_the_address_of_a_proxy(value, hidden):
    assert hidden <= set(proxies.secrets({"https_proxy": value, "OTHER": "http://a:else@x"}))
    assert "else" not in set(proxies.secrets({"OTHER": "http://a:else@x"}))


def test_ipv6_loopback(served_folder):
    with FakeVllm(served_folder, host="::1") as server:
        server.says(ANSWER)
        assert server.address.startswith("vllm://[::1]:")
        assert result_of(engine_of(server)).middle == ANSWER


# --- TLS -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of this machine that nobody has signed but itself."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", key, "-out", cert),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, cert


def test_an_unknown_certificate_is_refused(served_folder, certificate):
    with FakeVllm(served_folder, tls=certificate[0]) as server:
        with pytest.raises(ServerError, match=r"certificate that is not trusted.*SSL_CERT_FILE") as caught:
            identify(connection_to(server, PATIENT))
        told(caught.value)
        assert server.requests == []


def test_a_certificate_that_the_user_trusts_is_taken(served_folder, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
    with FakeVllm(served_folder, tls=certificate[0]) as server:
        server.says(ANSWER)
        assert server.address.startswith("vllm+https://")
        assert result_of(engine_of(server)).middle == ANSWER


def test_certificates_that_cannot_be_read_are_told(served_folder, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    with (
        FakeVllm(served_folder, tls=certificate[0]) as server,
        pytest.raises(ServerError, match="SSL_CERT_FILE") as caught,
    ):
        identify(connection_to(server))
    told(caught.value)


def test_https_where_there_is_none_and_none_where_there_is(served_folder, certificate):
    with FakeVllm(served_folder) as plain:
        address = ServerAddress.of(f"vllm+https://{plain.host}")
        with pytest.raises(ServerError, match="does not speak https") as caught:
            identify(ServerConnection(address, limits=QUICK))
        told(caught.value)
    with FakeVllm(served_folder, tls=certificate[0]) as server:
        address = ServerAddress.of(f"vllm://{server.host}")
        with pytest.raises(ServerError, match=rf"name it so: %fim use vllm\+https://{server.host}"):
            identify(ServerConnection(address, limits=QUICK))


# --- Ctrl-C --------------------------------------------------------------------------------------


def candidate_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("fim-magic-")]


def wait_until(holds):
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to this")


PHASES = {
    "before the answer begins": silence,
    "before the first token": stream(SILENCE),
    "while it is told to wait": content(b"", 429, Retry_After="3"),
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_stop_frees_the_kernel_and_the_server(server, phase):
    engine = engine_of(server, TimeLimits(patience=20.0))
    server.script(server.completions, PHASES[phase])
    stop = threading.Event()
    asked = []
    for _ in events_of(engine, stop):
        asked = server.asked(server.completions)
        if asked:
            stop.set()
    assert asked
    wait_until(lambda: not candidate_threads())
    wait_until(lambda: all(one.is_done.is_set() for one in asked))
    assert phase == "while it is told to wait" or all(one.was_closed.is_set() for one in asked)


def test_a_stop_frees_the_kernel_while_it_connects(vllm):
    """That cannot be cut short, and is not waited for."""
    begun, may_end = threading.Event(), threading.Event()

    class Connecting(httpx2.BaseTransport):
        def handle_request(self, request):
            begun.set()
            may_end.wait()
            raise httpx2.ConnectTimeout("timed out", request=request)

    dialect, served = identify(connection_to(vllm))
    connection = ServerConnection(ServerAddress.of(vllm.address), transport=Connecting())
    engine = ServerEngine.load(connection, dialect, served, vllm.folder, name="far")
    stop = threading.Event()
    for _ in events_of(engine, stop):
        if begun.is_set():
            stop.set()
    assert candidate_threads()  # it still connects
    may_end.set()
    wait_until(lambda: not candidate_threads())


def stopped_at(middle, server, engine):
    """Return what comes of a request that is stopped when the server has said so much and falls silent."""
    server.script(server.completions, stream(*good(server, middle), SILENCE))
    stop = threading.Event()
    for event in events_of(engine, stop):
        if getattr(event, "middle", "") == middle:
            stop.set()
    return event.result


def test_a_stop_ends_a_request_over_tls(served_folder, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
    with FakeVllm(served_folder, tls=certificate[0]) as server:
        engine = engine_of(server, TimeLimits())
        assert stopped_at("total = s", server, engine).candidates[0].middle == "total = s"
        assert server.asked(server.completions)[-1].was_closed.wait(10)
        wait_until(lambda: not candidate_threads())


def test_a_stop_in_the_stream_keeps_what_has_come_and_frees_the_server(server):
    engine = engine_of(server, TimeLimits())
    (candidate,) = stopped_at("total = s", server, engine).candidates
    assert (candidate.middle, candidate.ending) == ("total = s", Ending.INTERRUPTED)
    assert server.asked(server.completions)[-1].was_closed.wait(10)
    wait_until(lambda: not candidate_threads())


def test_an_interrupt_in_the_stream_frees_the_server(server):
    engine = engine_of(server, TimeLimits())
    server.script(server.completions, stream(*good(server, "total = s"), SILENCE))
    events = events_of(engine)
    with pytest.raises(KeyboardInterrupt):
        for event in events:
            if getattr(event, "middle", "") == "total = s":
                events.throw(KeyboardInterrupt)
    assert server.asked(server.completions)[-1].was_closed.wait(10)
    wait_until(lambda: not candidate_threads())


def test_a_generation_that_is_dropped_ends_its_streams(server):
    engine = engine_of(server, TimeLimits())
    server.script(server.completions, stream(*good(server, "total = s"), SILENCE))
    ids = engine.tokenizer.encode(HOLE)
    generation = engine.generate(ids, beginnings=[ANY] * 3, sampling=GREEDY, stop_ids={0}, limit=20)
    assert list(generation.prefill())[-1] == len(ids)
    wait_until(lambda: len(server.asked(server.completions)) == 3)
    del generation
    gc.collect()
    for asked in server.asked(server.completions):
        assert asked.was_closed.wait(10)
    wait_until(lambda: not candidate_threads())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal to send to one process")
@pytest.mark.parametrize("path", ["/health", "/version"])
def test_ctrl_c_ends_the_asking_what_a_server_is(vllm, path):
    def never(exchange):
        os.kill(os.getpid(), signal.SIGINT)
        exchange.wait()

    vllm.script(path, never)
    address = ServerAddress.of(vllm.url if path == "/health" else vllm.address)
    with pytest.raises(KeyboardInterrupt):
        identify(ServerConnection(address, KEY, limits=TimeLimits(answer=60.0)))
    assert vllm.asked(path)[-1].was_closed.wait(10)
    wait_until(lambda: not candidate_threads())


def test_ctrl_c_while_the_thread_that_asks_begins_ends_the_asking(vllm, monkeypatch):
    """On a busy machine the server has the request before the start of that thread has returned."""
    start = threading.Thread.start

    def interrupted(thread):
        start(thread)
        if thread.name == "fim-magic-asks":
            wait_until(lambda: vllm.asked("/version"))
            raise KeyboardInterrupt

    vllm.script("/version", lambda exchange: exchange.wait())
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        identify(ServerConnection(ServerAddress.of(vllm.address), KEY, limits=TimeLimits(answer=60.0)))
    assert vllm.asked("/version")[-1].was_closed.wait(10)
    wait_until(lambda: not candidate_threads())


def test_pauses_before_a_server_says_what_it_is_are_reported(vllm):
    vllm.script("/version", answer({}, 503, Retry_After="1"), answer({"version": "0.32.0"}))
    seen = []
    connection = connection_to(vllm, PATIENT)
    connection.on_wait = lambda pause: seen.append((threading.current_thread(), pause.what, pause.total))
    identify(connection)
    assert set(seen) <= {(threading.main_thread(), f"Waiting for {vllm.host}", total) for total in (1, 2)}
    assert seen


def test_a_stop_ends_the_waiting_for_scores(vllm):
    """An answer is there, and how probable it is is not known: that is not waited for."""
    stop = threading.Event()
    engine = engine_of(vllm, TimeLimits(answer=60.0), is_stopped=stop.is_set)

    def never(exchange):
        stop.set()
        exchange.wait()

    vllm.script(vllm.completions, never)
    with pytest.raises(ServerError, match="was stopped"):
        engine.score([1, 2, 3], [4, 5])
    assert vllm.asked(vllm.completions)[-1].was_closed.wait(10)
    wait_until(lambda: not candidate_threads())
