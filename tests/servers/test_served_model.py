"""The real model on real servers: the same tokens as in this process, ended when we end them, and none mixed up."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from real_servers import MODEL, model_folder

from fim_magic.document import parse
from fim_magic.engines import ANY, GREEDY
from fim_magic.engines.server.address import ServerAddress
from fim_magic.engines.server.connection import ServerConnection
from fim_magic.engines.server.dialects import identify
from fim_magic.engines.server.engine import ServerEngine
from fim_magic.engines.server.text_prompts import UnsayableError
from fim_magic.engines.server.vocabulary import require_same_vocabulary
from fim_magic.generation import prompt_for
from fim_magic.loading.manager import ModelManager
from fim_magic.loading.spec import ModelSpec
from fim_magic.pipeline import follow
from fim_magic.regular_files import read_json
from fim_magic.request import Request

pytestmark = [pytest.mark.servers, pytest.mark.real_model]

HOLES = (
    "def mean(xs):\n    <cursor>\n    return total / len(xs)\n",
    "def mean(xs):\n    total = <cursor>\n    return total / len(xs)\n",
    "def area(r):\n    return <cursor>\n",
    "import math\n\ndef hypotenuse(a, b):\n    <cursor>\n",
    "def fib(n):\n    if n < 2:\n        re<cursor>\n    return fib(n - 1) + fib(n - 2)\n",
    "words = ['a', 'bb', 'ccc']\nlengths = [<cursor> for word in words]\n",
    "def is_even(n):\n    return n <cursor> == 0\n",
    "class Point:\n    def __init__(self, x, y):\n        <cursor>\n\n    def norm(self):\n        return (self.x**2 + self.y**2) ** 0.5\n",
    "total = 0\nfor i in range(10):\n    <cursor>\nprint(total)\n",
    "def reverse(text):\n    return text[<cursor>]\n",
    "with open('data.txt') as file:\n    lines = <cursor>\nprint(len(lines))\n",
    "squares = {n: <cursor> for n in range(5)}\n",
    "def largest(xs):\n    best = xs[0]\n    for x in xs:\n        if <cursor>:\n            best = x\n    return best\n",
    "def greet(name):\n    return f'Hello, {<cursor>}!'\n",
    "名字 = ['小明', '小華']\nfor 人 in 名字:\n    <cursor>\n",
    "def count(text, letter):\n    n = 0\n    for c in text:\n        if c == letter:\n            <cursor>\n    return n\n",
    "MIDDLE = '<|fim_middle|>'\nSTOP = '<|endoftext|>'\ndef mean(xs):\n    <cursor>\n    return total / len(xs)\n",
    "def gcd(a, b):\n    while b:\n        <cursor>\n    return a\n",
    "try:\n    value = int(text)\nexcept <cursor>:\n    value = 0\n",
    "matrix = [[1, 2], [3, 4]]\ntransposed = <cursor>\n",
)
TOKENS = 16
MARGIN = 0.05
"""By which a token has to lead, in log-probability, where servers that round in another way have to agree on it."""


def engine_for(server, kind, folder, model=""):
    connection = connection_to(server, kind, model)
    dialect, served = identify(connection)
    engine = ServerEngine.load(connection, dialect, served, folder, name=connection.address.name)
    assert (
        require_same_vocabulary(connection, dialect, served.name, engine.tokenizer, engine.family, source=MODEL) == ()
    )
    return engine


def connection_to(server, kind, model=""):
    return ServerConnection(
        ServerAddress.of(f"{kind}://{server.url.removeprefix('http://')}/{model}"), server.key or ""
    )


@pytest.fixture(scope="session")
def local():
    """The engine of this process, in float32, which is what vLLM computes in here."""
    models = ModelManager()
    yield models.use(ModelSpec.of(MODEL, engine="torch", precision="exact")).engine
    models.unload()


@pytest.fixture(scope="session")
def answers(local):
    return Answers(local)


@pytest.fixture(scope="session")
def local_gguf():
    models = ModelManager()
    yield models.use(ModelSpec.of(MODEL, engine="gguf")).engine
    models.unload()


@pytest.fixture(scope="session")
def vllm(vllm_server):
    return engine_for(vllm_server, "vllm", model_folder(), MODEL)


@pytest.fixture(scope="session")
def transformers(transformers_server):
    connection = connection_to(transformers_server, "openai")
    dialect, served = identify(connection)
    return ServerEngine.load(connection, dialect, served, model_folder(), name="it").proved(model_folder(), MODEL)


@pytest.fixture(scope="session")
def llama(llama_server):
    return engine_for(llama_server, "llama-server", model_folder())


def prompts(engine, holes=HOLES):
    return [prompt_for(Request(parse(text), candidates=1, healing=False), engine) for text in holes]


def greedy(engine, prompt, limit=TOKENS):
    """Return an answer's ids, its stop token included."""
    generation = engine.generate(prompt.ids, beginnings=[ANY], sampling=GREEDY, stop_ids=prompt.stop_ids, limit=limit)
    for _ in generation.prefill():
        pass
    found = []
    while True:
        tokens = generation.step()
        if tokens == []:
            return found[:limit]  # an engine that guesses ahead may have some more
        found += [token.id for token in tokens or ()]


def differs(engine, prompt, ids, others):
    """Return the first place in which two answers differ although the engine is sure of its token there, or None."""
    if ids == others:
        return None
    place = next((n for n, pair in enumerate(zip(ids, others, strict=False)) if pair[0] != pair[1]), None)
    if place is None:
        missing = b"".join(map(engine.tokenizer.token_bytes, ids[len(others) :]))
        # A character that the limit cuts in two is sent by no llama-server, nor what its first half is a token with.
        return None if missing.decode(errors="replace").endswith("\ufffd") else min(len(ids), len(others))
    first, second = engine.top_logprobs(prompt.ids, ids[:place], 2)[-1]
    return place if first.logprob - second.logprob > MARGIN else None


def require_the_same(answers, served, holes=HOLES, *, limit=TOKENS, at_once=1):
    """Compare greedy answers of an engine of this process with those of a server that is asked so much at once."""
    asked = prompts(served, holes)
    with ThreadPoolExecutor(at_once) as pool:
        found = list(pool.map(lambda prompt: greedy(served, prompt, limit), asked))
    same, near = 0, []
    for text, prompt, other in zip(holes, asked, found, strict=True):
        local, own = answers.engine, answers.to(prompt)[:limit]
        told = tuple(map(local.tokenizer.decode, (own, other)))
        is_same = told[0] == told[1]  # a server of texts tells no ids
        place = None if is_same else differs(local, prompt, own, other)
        assert place is None, (text, place, *told)
        same += is_same
        near += [text] if not is_same else []
    assert same >= len(holes) - 2, near


class Answers:
    """The greedy answers of an engine, each computed once."""

    def __init__(self, engine):
        self.engine = engine
        self._known = {}

    def to(self, prompt):
        ids = tuple(prompt.ids)
        if ids not in self._known:
            self._known[ids] = greedy(self.engine, prompt)
        return self._known[ids]


def test_vllm_says_what_the_engine_in_torch_says(vllm, answers):
    require_the_same(answers, vllm, at_once=len(HOLES))


def test_llama_server_says_what_the_engine_of_llama_cpp_says(llama, local_gguf):
    require_the_same(Answers(local_gguf), llama)


def test_transformers_serve_says_what_the_engine_in_torch_says(transformers, answers):
    (spelled,) = (text for text in HOLES if "<|fim_middle|>" in text)
    with pytest.raises(UnsayableError, match="Nothing was sent"):
        greedy(transformers, *prompts(transformers, [spelled]))
    require_the_same(answers, transformers, [text for text in HOLES if text != spelled], limit=TOKENS // 2)


@pytest.mark.parametrize("name", ["vllm", "llama"])
def test_one_of_three_answers_is_right(request, name):
    result = follow(Request(parse(HOLES[1]), candidates=3), request.getfixturevalue(name))
    assert len({candidate.middle for candidate in result.candidates}) > 1
    means = []
    for candidate in result.candidates:
        names = {}
        exec(candidate.text_in(result.document), names)
        means.append(names["mean"]([1, 2, 6]))
    assert 3 in means


def test_vllm_reads_our_ids_and_no_others(vllm_server, vllm):
    asked = [list(prompt.ids) for prompt in prompts(vllm)]
    body = {"model": MODEL, "prompt": asked, "max_tokens": 1, "return_token_ids": True}
    choices = vllm_server.ask("/v1/completions", body)["choices"]
    assert [choice["prompt_token_ids"] for choice in sorted(choices, key=lambda choice: choice["index"])] == asked


def test_vllm_says_how_probable_a_text_is(vllm, local):
    prompt = prompts(local)[0]
    ids = local.tokenizer.encode("total = sum(xs)")
    assert vllm.score(prompt.ids, ids) == pytest.approx(local.score(prompt.ids, ids), abs=0.01)
    places = zip(vllm.top_logprobs(prompt.ids, ids, 3), local.top_logprobs(prompt.ids, ids, 3), strict=True)
    for theirs, own in places:
        assert [token.logprob for token in theirs] == pytest.approx([token.logprob for token in own], abs=0.01)


@pytest.mark.parametrize(("name", "server_name"), [("vllm", "vllm_server"), ("llama", "llama_server")])
def test_what_is_closed_is_not_computed(request, name, server_name):
    engine, server = request.getfixturevalue(name), request.getfixturevalue(server_name)
    prompt = prompts(engine)[0]
    before = server.counters()
    generation = engine.generate(prompt.ids, beginnings=[ANY], sampling=GREEDY, stop_ids=frozenset(), limit=1500)
    list(generation.prefill())
    came = 0
    while came < 5:
        came += len(generation.step() or ())
    assert server.counters().running == 1
    generation.close()
    deadline = time.monotonic() + 60
    while server.counters().running and time.monotonic() < deadline:
        time.sleep(0.1)
    after = server.counters()
    assert after.running == 0
    assert after.steps - before.steps < 100  # of 1500


def answer_alone(engine, number):
    """Fill a hole that only one of many has, and return what came."""
    prompt = prompt_for(Request(parse(f"key_{number} = {number}\nprint(<cursor>)\n"), candidates=1), engine)
    return engine.tokenizer.decode(greedy(engine, prompt, 8))


@pytest.mark.parametrize(("name", "server_name"), [("vllm", "vllm_server"), ("llama", "llama_server")])
def test_sixteen_notebooks_at_once_are_not_mixed_up(request, name, server_name):
    server = request.getfixturevalue(server_name)
    kind, model = ("vllm", MODEL) if name == "vllm" else ("llama-server", "")
    tokenizer, config = request.getfixturevalue(name).tokenizer, read_json(model_folder() / "config.json")
    connections = [connection_to(server, kind, model) for _ in range(16)]
    engines = [ServerEngine(way, *identify(way), tokenizer, config, name="it") for way in connections]
    numbers = range(101, 101 + 16)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(answer_alone, engines, numbers))
    for number, answer in zip(numbers, answers, strict=True):
        others = {str(other) for other in numbers if other != number}
        assert str(number) in answer
        assert not any(other in answer for other in others), (number, answer)
