"""Models that have truly learned to infill: our prompts get the right answers from them, and others don't."""

from __future__ import annotations

import itertools

import pytest
from tiny_infiller import CHINESE, LATIN, LAYOUTS, examples, one_thread, tokenizer, write

from fim_magic.candidate import Ending
from fim_magic.document import Document
from fim_magic.engines import Sampling
from fim_magic.engines.local import LocalEngine
from fim_magic.request import Finished, Grew, Request, run

COUNT = 40
RIGHT = 0.95  # of the answers, at least, to a prompt as in training
WRONG = 0.3  # at most, to any other

ORDERS = [(name, order) for name, layout in LAYOUTS.items() for order in layout.texts]
OTHERS = [(name, what) for name, layout in LAYOUTS.items() for what in (*layout.wrong, *layout.damaged())]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def infiller(tmp_path_factory):
    """`infiller(name)` is the engine of a model that has learned that family's layout, trained once a module."""
    root = tmp_path_factory.mktemp("infillers")

    def load(name, *, named=""):
        folder = root / name
        if not folder.exists():
            write(name, folder)
        return LocalEngine.load(folder, name=name, revision="trained", named=named)

    return load


def texts(alphabet="", count=COUNT):
    """Texts whose middles no training had."""
    return list(itertools.islice(examples(1, alphabet, held_out=True), count))


def answered(engine, example, order):
    """All the events of a request."""
    return [*run(Request(Document(example.prefix, example.suffix), order=order, max_new_tokens=24), engine)]


def share(engine, order, asked):
    """The share of requests that are answered with the middle, whole, and ended by the model."""
    right = 0
    for example in asked:
        finished = answered(engine, example, order)[-1]
        assert isinstance(finished, Finished)
        candidate = finished.result.candidates[0]
        if candidate.middle == example.middle and candidate.ending is Ending.STOP_TOKEN:
            assert candidate.raw == candidate.middle
            right += 1
    return right / len(asked)


def share_of_prompt(engine, layout, prompt, asked):
    """The same for a prompt that is not ours: ids encoded from the literal text."""
    encoder = tokenizer(layout)
    end = encoder.token_to_id(layout.sentinels[-1])
    return sum(
        continued(engine, encoder.encode(prompt.format(**vars(example))).ids, end) == example.middle
        for example in asked
    ) / len(asked)


def continued(engine, ids, end):
    """What the model writes behind `ids`; None if it doesn't end."""
    generation = engine.start(ids, candidates=1, sampling=Sampling())
    for _ in generation.prefill():
        pass
    written = []
    for _ in range(24):
        token = generation.step()[0].id
        if token == end:
            return engine.tokenizer.decode(written)
        written.append(token)
    return None


@pytest.mark.parametrize("name", LAYOUTS)
def test_its_family_is_recognised(infiller, name):
    assert infiller(name).family.name == name


@pytest.mark.parametrize("alphabet", [LATIN, CHINESE], ids=["latin", "chinese"])
@pytest.mark.parametrize(("name", "order"), ORDERS)
def test_our_prompts_are_answered_right(infiller, name, order, alphabet):
    assert share(infiller(name), order, texts(alphabet)) >= RIGHT


@pytest.mark.parametrize("name", LAYOUTS)
def test_so_are_those_of_the_order_that_auto_takes(infiller, name):
    assert share(infiller(name), "auto", texts()) >= RIGHT


@pytest.mark.parametrize(("name", "what"), OTHERS)
def test_other_prompts_are_not(infiller, name, what):
    layout = LAYOUTS[name]
    prompt = (layout.wrong | layout.damaged())[what]
    assert share_of_prompt(infiller(name), layout, prompt, texts()) < WRONG


@pytest.mark.parametrize(("name", "order"), ORDERS)
def test_literal_prompts_of_the_training_are(infiller, name, order):
    """So that it isn't the way of asking that fails above."""
    layout = LAYOUTS[name]
    assert share_of_prompt(infiller(name), layout, layout.prompts()[order], texts()) >= RIGHT


@pytest.mark.parametrize("named", ["Mellum", "Refact"])
def test_a_family_with_the_same_sentinels_and_another_order_is_found_out(infiller, named):
    """StarCoder2's tokens in the other suffix-first layout."""
    engine = infiller("StarCoder2", named=named)
    assert engine.family.name == named
    assert share(engine, "spm", texts()) < WRONG


@pytest.mark.parametrize(("name", "order"), ORDERS)
def test_a_stream_of_chinese_never_shows_a_part_of_a_character(infiller, name, order):
    engine = infiller(name)
    for example in texts(CHINESE, 8):
        shown = [event.middle for event in answered(engine, example, order) if isinstance(event, Grew)]
        assert len(shown) == len(example.middle.encode()) + 1  # a token a byte, and the end
        assert all(example.middle.startswith(middle) for middle in shown)
        assert shown[-1] == example.middle
