"""What every engine promises, for an engine that asks a server."""

from __future__ import annotations

import contract
import pytest
from contract import SAMPLED, STEPS, OneOf, ids, started, tokens_of
from fake_servers import FakeLlamaServer, FakeVllm, ranked

from fim_magic.engines import Beginning, Destination, Sampling
from fim_magic.engines.server.address import ServerAddress
from fim_magic.engines.server.connection import ServerConnection
from fim_magic.engines.server.dialects import identify
from fim_magic.engines.server.engine import ServerEngine
from fim_magic.engines.server.vllm import VllmDialect
from fim_magic.errors import ModelError
from fim_magic.events import Finished
from fim_magic.generation import prompt_for
from fim_magic.pipeline import run
from fim_magic.settings import Settings

SHORT = 21
LONG = 200
KINDS = (FakeVllm, FakeLlamaServer)


def prompt_of(length):
    return [(7 * n * n + 3) % 290 for n in range(length)]


@pytest.fixture(scope="module")
def engines(served_folder):
    """An engine for each kind of server, whose model says anything."""
    servers = [kind(served_folder) for kind in KINDS]
    engines = {}
    for server in servers:
        connection = ServerConnection(ServerAddress.of(server.address))
        engines[type(server)] = ServerEngine.load(connection, *identify(connection), served_folder, name=server.address)
    yield engines
    for server in servers:
        server.close()


@pytest.fixture(params=KINDS, ids=lambda kind: kind.kind)
def loaded(request, engines):
    return engines[request.param]


@pytest.fixture
def scoring(engines):
    return engines[FakeVllm]


def test_greedy_candidates_are_all_the_same(loaded):
    contract.greedy_candidates_are_all_the_same(loaded, prompt_of(LONG))


def test_a_seed_repeats_and_another_does_not(loaded):
    contract.a_seed_repeats_and_another_does_not(loaded, prompt_of(SHORT))


def test_the_first_of_several_candidates_is_greedy(loaded):
    contract.the_first_of_several_candidates_is_greedy(loaded, prompt_of(SHORT))


@pytest.mark.parametrize("sampling", [Sampling(), SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("finished", [0, 1, 2])
def test_finishing_one_candidate_leaves_the_others_alone(loaded, finished, sampling):
    contract.finishing_one_candidate_leaves_the_others_alone(loaded, prompt_of(LONG), finished, sampling)


def test_candidates_can_be_finished_before_the_first_step_and_one_after_another(loaded):
    generation = contract.candidates_can_be_finished_before_the_first_step_and_one_after_another(
        loaded, prompt_of(SHORT)
    )
    assert generation.step() == []


def test_two_generations_do_not_disturb_each_other(loaded):
    contract.two_generations_do_not_disturb_each_other(loaded, prompt_of(SHORT), prompt_of(LONG))


def test_only_allowed_tokens_come_and_only_where_they_are_asked_for(loaded):
    free = tokens_of(started(loaded, prompt_of(SHORT)), 1)[0][0]
    bound = OneOf(choices=tuple(token for token in (5, 6, 7, 8) if token != free.id))
    found = tokens_of(started(loaded, prompt_of(SHORT), beginnings=[bound, contract.ANY]))
    assert found[0][0].id in bound.choices
    assert found[1][0].id == free.id
    alone = tokens_of(started(loaded, [*prompt_of(SHORT), found[0][0].id]), STEPS - 1)[0]
    assert ids(found[0][1:]) == ids(alone)


@pytest.mark.parametrize(
    ("ranks", "requests", "lists"),
    [((0, 250), 1, 0), ((1, 250), 2, 0), ((250, 7), 2, 0), ((9, 250), 3, 1), ((250,), 3, 1)],
    ids=["the most probable", "another", "the last that is told", "none that is told", "the least probable"],
)
def test_what_may_come_is_listed_only_where_the_answer_tells_none_of_it(served_folder, ranks, requests, lists):
    for kind in KINDS:
        with kind(served_folder) as server:
            connection = ServerConnection(ServerAddress.of(server.address))
            engine = ServerEngine.load(connection, *identify(connection), served_folder, name=server.address)
            probable = ranked(server.logprobs_after(prompt_of(SHORT)))
            bound = OneOf(choices=tuple(probable[rank] for rank in ranks))
            found = tokens_of(started(engine, prompt_of(SHORT), beginnings=[bound]))[0]
            asked = server.asked(server.completions)
            assert found[0].id == probable[min(ranks)]
            assert found[0].logprob == pytest.approx(server.logprobs_after(prompt_of(SHORT))[found[0].id], abs=1e-6)
            assert ids(found[1:]) == ids(tokens_of(started(engine, [*prompt_of(SHORT), found[0].id]), STEPS - 1)[0])
            listed = [
                body for body in (one.body for one in asked) if "logit_bias" in body or "allowed_token_ids" in body
            ]
            assert (len(asked), len(listed)) == (requests, lists)


def test_a_candidate_begins_as_it_has_to(loaded):
    beginning = Beginning(ids=(9, 10, 11))
    found = ids(tokens_of(started(loaded, prompt_of(SHORT), beginnings=[beginning]))[0])
    assert found[:3] == [9, 10, 11]
    assert found[3:] == ids(tokens_of(started(loaded, [*prompt_of(SHORT), 9, 10, 11]), STEPS - 3)[0])


def test_a_candidate_ends_at_its_limit_and_after_a_stop_id(loaded):
    whole = ids(tokens_of(started(loaded, prompt_of(SHORT)))[0])
    at = next(at for at in range(2, STEPS) if whole[at] not in whole[:at])
    for options, expected in (({"limit": 5}, whole[:5]), ({"stop_ids": frozenset({whole[at]})}, whole[: at + 1])):
        generation = started(loaded, prompt_of(SHORT), **options)
        found = []
        while (tokens := generation.step()) != []:
            found += tokens or []
        assert ids(found) == expected
        assert generation.step() == []


def test_a_prompt_beyond_the_context_is_refused(loaded):
    with pytest.raises(ModelError, match=f"{loaded.context_length} tokens in all"):
        contract.begun(loaded, [7] * loaded.context_length)


def test_scores_are_those_of_generating(scoring):
    contract.scores_are_those_of_generating(scoring, prompt_of(SHORT), within=1e-6)


def test_scores_do_not_hang_on_what_was_read_before(scoring):
    contract.scores_do_not_hang_on_what_was_read_before(scoring, prompt_of(SHORT), prompt_of(30), within=1e-6)


def test_scoring_leaves_requests_alone(scoring):
    contract.scoring_leaves_requests_alone(scoring, prompt_of(SHORT), prompt_of(30))


@pytest.fixture
def vllm(served_folder):
    """A server, the connection to it and an engine."""
    server = FakeVllm(served_folder)
    connection = ServerConnection(ServerAddress.of(server.address))
    yield (
        server,
        connection,
        ServerEngine.load(connection, *identify(connection), served_folder, name=server.address),
    )
    server.close()


def test_of_a_short_text_vllm_reads_no_prompt_again(vllm):
    """It would compute all logits of the whole prompt: seconds, for each place where an answer could end."""
    server, connection, engine = vllm
    prompt = [1, *prompt_of(SHORT)]
    short, long = [7, 8, 9, 7], [7 + number % 5 for number in range(33)]
    for continuation in (short, long):
        whole = VllmDialect().score(connection, server.name, [*prompt, *continuation], len(prompt), 1)
        assert engine.score(prompt, continuation) == [token.logprob for token in whole]
    first, second = [asked.body for asked in server.asked(server.completions)[-3::2]]
    assert first["prompt"] == [[*prompt, *short[:length]] for length in range(len(short))]
    assert (first["max_tokens"], first["logprob_token_ids"]) == (1, [7, 8, 9])
    assert "prompt_logprobs" not in first
    assert second["prompt_logprobs"] == 0


def test_a_vllm_that_tells_nothing_of_given_tokens_reads_the_prompt_again(vllm):
    server, _, engine = vllm
    told = engine.score(prompt_of(SHORT), [7, 8, 9])
    server.tells_of_given = False
    assert engine.score(prompt_of(SHORT), [7, 8, 9]) == told
    assert "prompt_logprobs" in server.asked(server.completions)[-1].body


def test_nothing_is_scored_as_nothing(loaded):
    contract.nothing_is_scored_as_nothing(loaded, prompt_of(SHORT))


def test_the_top_logprobs_are_what_would_be_said(scoring):
    contract.the_top_logprobs_are_what_would_be_said(scoring, prompt_of(SHORT), within=1e-6)


def test_a_text_beyond_the_context_is_not_scored(scoring):
    with pytest.raises(ModelError, match=f"{scoring.context_length} tokens in all"):
        scoring.score([7] * scoring.context_length, [8])


def test_it_says_where_the_text_goes(loaded):
    assert loaded.info.destination is Destination.MACHINE
    assert loaded.info.device == ServerAddress.of(loaded.info.model).host


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("method", ["fim", "complete"])
def test_a_whole_request(loaded, method, temperature):
    text = "def mean(xs):\n    return <cursor> / len(xs)\n"
    options = {"candidates": 2, "max_new_tokens": 8, "seed": 3, "temperature": temperature}
    _, request = Settings().request(text, complete=method == "complete", **options)
    events = list(run(request, loaded))
    assert [isinstance(event, Finished) for event in events] == [False] * (len(events) - 1) + [True]
    result = events[-1].result
    assert (result.method, result.answers) == (method, 2)
    healed = prompt_for(request, loaded).healed
    for candidate in result.candidates:
        # Greedy ones branch off the first: what they have to begin with is not asked for, and known from there.
        assert len(candidate.logprobs) == len(candidate.token_ids) > 0
        if loaded.capabilities.scores:
            read = loaded.score(prompt_for(request, loaded).ids, candidate.token_ids)
            assert candidate.logprobs == pytest.approx(read, abs=1e-6)
        assert None not in candidate.logprobs
        assert loaded.tokenizer.decode(list(candidate.token_ids)).startswith(healed + candidate.raw)
    before, after = text.split("<cursor>")
    assert result.text == before + result.middle + after
