"""`fim-magic bench` against a server: many users at once, and a whole infill beside a plain request."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import pytest
from scripted import ScriptedEngine
from scripted_server import CUT, answer, content, stream

from fim_magic import cli, pipeline
from fim_magic.engines.server.time_limits import TimeLimits
from fim_magic.errors import OptionError, ServerError
from fim_magic.evaluate.serving import bench, overhead
from fim_magic.evaluate.serving.bench import ServingOptions, run
from fim_magic.evaluate.serving.crowd import Crowd, CrowdTiming, percentile
from fim_magic.evaluate.serving.overhead import ByHand, OverheadTiming, infilled, ratio
from fim_magic.evaluate.serving.report import ServingReport, table
from fim_magic.evaluate.speed.workloads import spread_prompts
from fim_magic.loading.manager import ModelManager
from fim_magic.loading.spec import ModelSpec
from fim_magic.settings import Settings

CONTEXT = 600


@pytest.fixture(autouse=True)
def _without_rest(monkeypatch):
    monkeypatch.setattr(overhead, "_REST", 0.0)  # a server of the tests has no step to end


@pytest.fixture
def server(fake_server, monkeypatch):
    fake_server.context = CONTEXT
    fake_server.key = "sesame"
    fake_server.says("x = 1\n" * 4)
    monkeypatch.setenv("FIM_MAGIC_SERVER_KEYS", f"{fake_server.host}=sesame")
    return fake_server


@pytest.fixture
def engine(server):
    manager = ModelManager()
    yield manager.use(ModelSpec.of(server.address)).engine
    manager.unload()


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([3.0, 1.0, 2.0], 0.95, 3.0),
        ([1.0], 0.5, 1.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0),
        (list(range(1, 101)), 0.95, 95),
    ],
)
def test_percentiles_are_by_nearest_rank(values, share, found):
    assert percentile(values, share) == found


def test_what_is_reckoned_of_a_crowd():
    crowd = Crowd(2, 4.0, (CrowdTiming(0.5, 3.0, 10), CrowdTiming(1.5, 4.0, 30)))
    assert crowd.tokens_per_second == 10.0
    assert (crowd.first(0.5), crowd.first(0.95), crowd.whole(0.5)) == (0.5, 1.5, 3.0)
    assert ratio([OverheadTiming(1.1, 1.0, 5), OverheadTiming(3.0, 1.0, 5), OverheadTiming(1.0, 1.0, 5)]) == 1.1


def test_every_prompt_is_another_and_none_is_too_long():
    prompts = spread_prompts(ScriptedEngine("x"), 300, 40)
    assert len({prompt[:24] for prompt in prompts}) == len(prompts) == 40
    assert all(200 < len(prompt) <= 300 for prompt in prompts)


def test_so_many_users_ask_at_once(server, engine):
    options = ServingOptions(rounds=2, users=(1, 3), new_tokens=6)
    together = threading.Barrier(3)
    of_three = range(4, 10)  # the requests of the three users

    def wait_for_the_others(_exchange, number):
        if number == 0 and streams(server) in of_three:
            together.wait(60)

    server.before_token = wait_for_the_others
    seen = []
    report, whole = run(options, engine, seen.append, ["fim-magic", "bench"])
    assert whole
    assert [(crowd.users, len(crowd.timings)) for crowd in report.crowds] == [(1, 2), (3, 6)]
    assert all(timing.tokens == 6 for crowd in report.crowds for timing in crowd.timings)
    assert all(0 < timing.first <= timing.seconds for crowd in report.crowds for timing in crowd.timings)
    assert len(report.overhead) == 2 * 3
    assert all(pair.tokens > 0 for pair in report.overhead)
    assert seen[-1].done == seen[-1].total
    facts = json.loads(report.to_json())
    assert set(facts["crowds"][0]["first_token_seconds"]) == {"p50", "p95"}
    assert facts["overhead"]["goal"] == 1.05
    assert "sesame" not in report.to_json() + table(report)


def streams(server):
    return len(server.asked(server.completions))


def test_a_crowd_waits_longer_than_one_user_would(server, engine):
    engine.wait(TimeLimits(first=0.3, following=0.3))
    server.before_token = lambda _exchange, number: time.sleep(0.6 if number and streams(server) == 2 else 0.0)
    report, _ = run(ServingOptions(rounds=1, users=(1,), new_tokens=2), engine)
    assert report.crowds[0].timings[0].tokens == 2


def test_the_plain_request_has_the_same_ids(server, engine):
    run(ServingOptions(rounds=1, users=(1,), new_tokens=6), engine)
    bodies = [request.body for request in server.asked(server.completions)][2:]
    plain = [body["prompt"] for body in bodies]
    assert len({str(ids) for ids in plain}) < len(plain)
    assert {request.headers["authorization"] for request in server.asked(server.completions)} == {"Bearer sesame"}


def test_the_report_says_what_was_measured_and_whether_the_goal_is_reached():
    crowd = Crowd(64, 10.0, (CrowdTiming(0.25, 2.0, 50), CrowdTiming(0.5, 3.0, 50)))
    report = ServingReport({"model": "vllm://h:1/m", "server": "vLLM 0.32.0"}, [crowd])
    told = table(report)
    assert "vLLM 0.32.0" in told
    assert "     64         2             10.0            250 ms      500 ms" in told
    assert "not measured" in told
    report.overhead = [OverheadTiming(1.0, 1.0, 5)]
    assert "1.000x" in table(report)
    assert "median of 1 pairs in turns, from 1.000x to 1.000x" in " ".join(table(report).split())
    assert ", reached" in table(report)
    report.overhead = [OverheadTiming(2.0, 1.0, 5)]
    assert "NOT REACHED" in table(report)


def test_ctrl_c_keeps_what_was_measured(server, engine):
    first = iter([True])

    def interrupt(exchange, _number):
        if streams(server) > 2:
            if next(first, False):
                os.kill(os.getpid(), signal.SIGINT)
            exchange.wait()

    server.before_token = interrupt
    report, whole = run(ServingOptions(rounds=1, users=(1, 2), new_tokens=6), engine)
    assert not whole
    assert [crowd.users for crowd in report.crowds] == [1]
    assert "interrupted" in report.warnings[0]


def test_ctrl_c_among_the_pairs_leaves_those_that_are_there(server, engine):
    def interrupt(progress):
        if progress.done == 1 + 1 + 3 + 1:  # the first of all, the user's, the round that is not counted, one pair
            os.kill(os.getpid(), signal.SIGINT)

    report, whole = run(ServingOptions(rounds=1, users=(1,), new_tokens=6), engine, interrupt)
    assert not whole
    assert len(report.overhead) == 1
    assert "interrupted" in report.warnings[0]


def test_tokens_behind_the_end_of_an_answer_are_counted_as_well(monkeypatch):
    """The server has made them too: a plain request would have to wait for them."""
    engine = ScriptedEngine("total\n\n\ndef other(y):\n    return y\n")
    _, request = Settings().request("def f(x):\n    return <cursor>\n", candidates=1, max_new_tokens=40)
    *_, finished = pipeline.run(request, engine)
    wanted = len(finished.result.candidates[0].token_ids)
    assert infilled(engine, request, threading.Event())[1] == wanted
    generate = engine.generate

    def in_one_burst(*prompt, **options):
        generation = generate(*prompt, **options)
        one = generation.step
        generation.step = lambda: [token for _ in range(wanted + 3) for token in one()]
        return generation

    monkeypatch.setattr(engine, "generate", in_one_burst)
    assert infilled(engine, request, threading.Event())[1] == wanted + 3


def test_a_server_that_fails_ends_all_users(server, engine):
    server.script(server.completions, answer({"error": {"message": "out of order"}}, 500))
    with pytest.raises(ServerError, match="out of order"):
        run(ServingOptions(rounds=2, users=(3,), new_tokens=6), engine)


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        (stream("nonsense"), "no JSON"),
        (stream("[" * 100_000), "no JSON"),
        (content(b"<html>", 200, "text/html"), "no JSON"),
        (stream([]), "in a form that"),
        (stream({"error": {"message": "out of memory"}}), "failed while it answered: out of memory"),
        (content(b"", 500), "did not answer a plain request"),
        (stream(CUT), "did not answer a plain request"),
    ],
)
def test_what_comes_instead_of_a_plain_answer_is_told(server, engine, behaviour, says):
    by_hand = ByHand(engine._connection.address, engine._dialect, engine._served)
    _, request = Settings().request("def f(x):\n    return <cursor>\n", candidates=1, max_new_tokens=6)
    server.script(server.completions, behaviour)
    with by_hand.client() as client, pytest.raises(ServerError, match=says):
        by_hand.ask(client, request, engine, 4)


def test_the_command_measures_a_server_and_writes_json(server, tmp_path, capsys):
    path = tmp_path / "found.json"
    words = ["bench", "--model", server.address, "--users", "1,2", "--rounds", "1", "--only", "server"]
    assert cli.main([*words, "--json", str(path)], ModelManager()) == 0
    told = capsys.readouterr()
    assert "tokens/s in all" in told.out
    assert "plain request" in told.out
    assert [crowd["users"] for crowd in json.loads(path.read_text("utf-8"))["crowds"]] == [1, 2]
    assert "sesame" not in told.out + told.err + path.read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "infill"], "--only names server alone"),
        (["--only", "server,infill"], "--only names server alone"),
        (["--threads", "2"], "--threads is for models that are loaded here"),
        (["--plot", "x.png"], "--plot is for models that are loaded here"),
        (["--users", "many"], "such as 1,8,64"),
        (["--users", "0"], "at least 1"),
        (["--rounds", "0"], "--rounds is at least 1"),
        (["--json", "no/such/folder/x"], "Make it first"),
    ],
)
def test_options_that_make_no_sense(words, said, capsys):
    assert cli.main(["bench", "--model", "vllm://127.0.0.1:9", *words]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--users", "1"], ["--tokenizer", "a/b"]])
def test_options_of_servers_are_for_servers(words, capsys):
    assert cli.main(["bench", "--only", "load_ext", *words]) == 1
    assert "fim-magic bench --model vllm://HOST:PORT" in capsys.readouterr().err


def test_usual_numbers_of_users():
    assert bench.USERS == (1, 8, 64)
    with pytest.raises(OptionError):
        bench.check(ServingOptions(rounds=1, users=()))
