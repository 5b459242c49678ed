"""Steps of fixed shapes: the same tokens, whoever replays them. What records them on a GPU is checked with a stand-in."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from contract import LEAN, by_generate, ids, started, tokens_of

from fim_magic.engines import Sampling
from fim_magic.engines.torch.architectures import decoder_of
from fim_magic.engines.torch.cuda_graphs import capture_cuda_graph
from fim_magic.engines.torch.library_model import checked_decoder

LINE = [11, 45, 7, 99, 23, 5]
STEPS = 16


class Recorder:
    """Records steps as a GPU would, but runs them: their logits stand where the last ones stood."""

    def __init__(self) -> None:
        self.shapes: list[int] = []

    def __call__(self, step, ids, where):
        self.shapes.append(len(ids))
        logits = step(ids, where)
        return lambda ids, where: logits.copy_(step(ids, where))


@pytest.fixture(params=LEAN)
def recorded(request, engine):
    loaded = engine(request.param)
    loaded.forget()
    loaded._decoder.capture = Recorder()
    yield loaded
    loaded._decoder.capture = None
    loaded._decoder.graph_length = 1024
    loaded.speculate = True
    loaded.forget()


def answer(engine, prompt, **options):
    generation = started(engine, prompt, **options)
    found = tokens_of(generation, STEPS)
    for candidate in found:
        generation.close(candidate)
    return [ids(tokens)[:STEPS] for tokens in found.values()]


@pytest.mark.parametrize("speculate", [False, True])
@pytest.mark.parametrize("prompt", [LINE, LINE * 5], ids=len)
def test_greedy_tokens_are_those_of_generate(recorded, prompt, speculate):
    recorded.speculate = speculate
    assert answer(recorded, prompt) == [by_generate(recorded, prompt, STEPS)]
    assert recorded._decoder.capture.shapes


def test_a_prompt_that_is_known_is_gone_on_with_and_nothing_is_recorded_again(recorded):
    recorded.speculate = False
    answer(recorded, LINE * 5)
    once = list(recorded._decoder.capture.shapes)
    edited = [*LINE * 4, 8, 2, 61]
    assert answer(recorded, edited) == [by_generate(recorded, edited, STEPS)]
    assert recorded._decoder.capture.shapes[: len(once)] == once
    assert recorded._decoder.capture.shapes.count(1) == once.count(1)


def test_steps_go_on_where_the_cache_grows(recorded):
    recorded._decoder.graph_length = 8
    assert answer(recorded, LINE) == [by_generate(recorded, LINE, STEPS)]
    assert len(recorded._decoder.capture.shapes) > 2


def test_the_engine_says_that_steps_are_recorded(recorded):
    assert recorded.report().remark == "decoding by CUDA graphs"
    recorded._decoder.capture = None
    assert recorded.report().remark == ""


def test_candidates_are_those_of_unrecorded_steps(recorded):
    sampling = Sampling(temperature=0.8, top_p=0.95, seed=3)
    found = answer(recorded, LINE * 3, candidates=3, sampling=sampling)
    recorded._decoder.capture = None
    recorded.forget()
    assert answer(recorded, LINE * 3, candidates=3, sampling=sampling) == found


def test_steps_that_cannot_be_recorded_run_as_they_are(recorded):
    def refuses(_step, _ids, _where):
        message = "CUDA error: operation not permitted when stream is capturing\nmore"
        raise RuntimeError(message)

    recorded._decoder.capture = refuses
    assert answer(recorded, LINE) == [by_generate(recorded, LINE, STEPS)]
    assert recorded._decoder.capture is None
    why = "CUDA error: operation not permitted when stream is capturing"
    assert recorded._decoder.capture_error == why
    assert recorded.report().remark == f"decoding without CUDA graphs, more slowly: {why}"


def test_behind_the_last_learned_position_nothing_is_tried(engine, monkeypatch):
    decoder = engine("starcoder")._decoder
    room = len(decoder._positions)
    text = [(7 * n) % 90 + 3 for n in range(room)]
    parts = [text[: room - 20], text[room - 20 : room - 2], text[room - 2 :]]
    plain, replayed = decoder.new_cache(), decoder.new_cache()
    expected = [decoder.forward(part, plain) for part in parts]
    monkeypatch.setattr(decoder, "capture", Recorder())
    found = [decoder.forward(part, replayed) for part in parts]
    assert decoder.capture.shapes == []
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize(("wrong", "kept"), [(True, False), (False, True)])
def test_recorded_steps_that_say_something_else_are_not_used(engine, wrong, kept):
    def with_records(model):
        decoder = decoder_of(model)
        recorder = Recorder()
        off = float(wrong)
        decoder.capture = lambda step, *tried: lambda *given: recorder(step, *tried)(*given) + off
        return decoder

    decoder = checked_decoder(engine("qwen2")._model.module, with_records)
    assert decoder is not None
    assert (decoder.capture is not None) == kept
    assert bool(decoder.capture_error) == wrong


# --- a GPU's part, with a stand-in for torch's CUDA graphs ------------------------------------------


@pytest.fixture
def graphs(monkeypatch):
    """CUDA's functions, which note what happens. A graph runs again what ran while it was recorded."""
    told = SimpleNamespace(events=[], recording=None)

    class Stream:
        def __init__(self, *_):
            self.wait_stream = lambda _other: told.events.append("wait")

    class Graph:
        def __init__(self):
            self.calls = []

        def replay(self):
            told.events.append("replay")
            for compute, into in self.calls:
                into.copy_(compute())

    @contextmanager
    def stream(_stream):
        yield

    @contextmanager
    def graph(which, capture_error_mode):
        assert capture_error_mode == "thread_local"
        told.recording = which
        yield
        told.recording = None

    for name, stand_in in (
        ("Stream", Stream),
        ("current_stream", Stream),
        ("CUDAGraph", Graph),
        ("stream", stream),
        ("graph", graph),
    ):
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return told


def test_a_recorded_step_reads_its_own_copies_of_what_it_is_given(graphs):
    calls = []

    def step(ids, where):
        calls.append(graphs.recording)
        result = ids * 100 + where
        if graphs.recording is not None:
            graphs.recording.calls.append((lambda: ids * 100 + where, result))
        return result

    tokens, where = torch.tensor([1, 2]), torch.tensor([3, 4])
    replay = capture_cuda_graph(step, tokens, where)
    assert calls[:2] == [None, None]  # tried before it is recorded
    assert calls[2] is not None
    assert graphs.events == ["wait", "wait"]
    first = replay(torch.tensor([5, 6]), torch.tensor([7, 8]))
    assert first.tolist() == [507, 608]
    assert replay(torch.tensor([1, 1]), torch.tensor([0, 9])).tolist() == [100, 109]
    assert first.tolist() == [100, 109]  # the same place
    assert (tokens.tolist(), where.tolist()) == ([1, 2], [3, 4])
    assert len(calls) == 3
