"""`fim-magic eval --concurrency`: several requests at once to a server, and the same answers as one after another."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from dataclasses import replace

import pytest
from benchmark_data import row, write_tasks
from fake_servers import FakeVllm, write_served
from own_files import SHOP, write_notebook
from scripted import ScriptedEngine

from fim_magic import cli
from fim_magic.document import Document
from fim_magic.engines import Destination, Sampling
from fim_magic.errors import BusyError, OptionError, ServerError
from fim_magic.evaluate.answers import evaluation
from fim_magic.evaluate.answers.asking import Asking
from fim_magic.evaluate.answers.evaluation import BenchmarkOptions, prepare
from fim_magic.evaluate.own import evaluation as own_evaluation
from fim_magic.evaluate.own.evaluation import OwnOptions
from fim_magic.events import Finished
from fim_magic.loading.manager import ModelManager
from fim_magic.loading.spec import ModelSpec
from fim_magic.pipeline import run
from fim_magic.request import Request
from fim_magic.turn import TURN, own_turn

TASKS = 8
AT_ONCE = 4
MEAN = Request(Document("def mean(xs):\n    ", "\n    return total / len(xs)\n"), max_new_tokens=8)


class BusyServer(FakeVllm):
    """Counts the requests that are under way, and lets them go on in an order of its own.

    Attributes:
        most: The most that were under way at once.
        fails_after: How many streams it answers before it fails; None answers all.
    """

    def __init__(self, folder):
        super().__init__(folder)
        self.most = 0
        self.fails_after = None
        self._under_way = 0
        self._count = threading.Lock()
        self._drawn = random.Random(3)

    def _stream(self, exchange, body):
        with self._count:
            self._under_way += 1
            self.most = max(self.most, self._under_way)
            seconds = self._drawn.random() / 20
            if self.fails_after is not None:
                self.fails_after -= 1
            failing = self.fails_after is not None and self.fails_after < 0
        threading.Event().wait(seconds)
        try:
            if failing:
                exchange.json({"error": {"message": "out of order"}}, 500)
            else:
                super()._stream(exchange, body)
        finally:
            with self._count:
                self._under_way -= 1


@pytest.fixture
def server(tmp_path):
    with BusyServer(write_served(tmp_path / "served")) as server:
        yield server


@pytest.fixture
def engine(server):
    manager = ModelManager()
    yield manager.use(ModelSpec.of(server.address)).engine
    manager.unload()


@pytest.fixture
def options(tmp_path):
    rows = [
        row(f"SingleLineInfilling/HumanEval/{n}/L0", prompt=f"def mean(xs):\n    x = {n}\n    ") for n in range(TASKS)
    ]
    template = Request(Document("", ""), candidates=2, sampling=Sampling(0.8, 0.95, 7), max_new_tokens=8)
    data = str(write_tasks(tmp_path / "t.jsonl", rows))
    return BenchmarkOptions(sets=(data,), template=template, arms=("trimmed", "chosen"), out=tmp_path / "one")


def evaluated(options, engine):
    asked, found = prepare(options)
    return evaluation.run(asked, found, engine, passes=lambda program: "total" in program)


def answers(folder, name="single-line.*"):
    """What was answered, without when and how fast."""
    found = {}
    for path in folder.glob(f"{name}.jsonl"):
        for line in path.read_text("utf-8").splitlines():
            facts = json.loads(line)
            facts = facts.get("answer", facts)
            kept = {name: facts[name] for name in ("key", "prompt", "candidates", "order")}
            found[path.name, facts["task"]] = kept
    return found


def test_answers_are_the_same_as_one_after_another(server, engine, options):
    evaluated(options, engine)
    one_after_another, server.most = server.most, 0
    report, whole = evaluated(replace(options, out=options.out.with_name("many"), concurrency=AT_ONCE), engine)
    assert whole
    assert server.most > one_after_another
    alone, together = (answers(options.out.with_name(name)) for name in ("one", "many"))
    assert len(alone) == 2 * TASKS
    assert together == alone
    assert f"{AT_ONCE} requests at once" in report.about["options"]


def test_a_run_that_a_server_ended_goes_on_where_it_was(server, engine, options):
    options = replace(options, arms=("trimmed",), concurrency=AT_ONCE)
    server.fails_after = 10 * AT_ONCE
    with pytest.raises(ServerError, match="out of order"):
        evaluated(options, engine)
    kept = {task for _, task in answers(options.out)}
    assert 0 < len(kept) < TASKS
    server.fails_after = None
    before = len(server.asked(server.completions))
    _, whole = evaluated(options, engine)
    assert whole
    assert len(answers(options.out)) == TASKS
    asked = {server.tokenizer.decode(each.body["prompt"]) for each in server.asked(server.completions)[before:]}
    numbers = {task.split("/")[2] for task in kept}
    assert not [prompt for prompt in asked for number in numbers if f"x = {number}" in prompt]
    before = len(server.asked(server.completions))
    evaluated(options, engine)
    assert len(server.asked(server.completions)) == before


def test_ctrl_c_ends_all_of_them_and_keeps_what_there_is(server, engine, options):
    options = replace(options, arms=("trimmed",), concurrency=AT_ONCE)
    reached = threading.Event()

    def stuck(exchange, _number):
        if len(server.asked(server.completions)) > AT_ONCE:
            if not reached.is_set():
                reached.set()
                os.kill(os.getpid(), signal.SIGINT)
            exchange.wait()

    engine_before = signal.getsignal(signal.SIGINT)
    server.before_token = stuck
    report, whole = evaluated(options, engine)
    assert not whole
    assert "interrupted" in report.warnings[0]
    assert signal.getsignal(signal.SIGINT) is engine_before
    assert len(answers(options.out)) < TASKS
    server.before_token = lambda _exchange, _number: None
    _, whole = evaluated(options, engine)
    assert whole
    assert len(answers(options.out)) == TASKS


def test_holes_in_files_of_ones_own(server, engine, tmp_path):
    write_notebook(tmp_path / "files" / "a.ipynb", SHOP[:6])
    template = Request(Document("", ""), candidates=2, max_new_tokens=8)
    options = OwnOptions(sets=(str(tmp_path / "files"),), per_file=4, arms=("one", "none"), template=template)
    for concurrency in (1, AT_ONCE):
        now = replace(options, out=tmp_path / f"own {concurrency}", concurrency=concurrency)
        own_evaluation.run(*own_evaluation.prepare(now), engine)
    alone, together = (answers(tmp_path / f"own {number}", "files.*") for number in (1, AT_ONCE))
    assert alone
    assert together == alone


def test_a_model_in_this_process_answers_one_at_a_time(options):
    engine = ScriptedEngine("total = sum(xs)")
    assert engine.info.destination is Destination.PROCESS
    with pytest.raises(OptionError, match="--model vllm://HOST:PORT"):
        evaluated(replace(options, concurrency=2), engine)
    with pytest.raises(OptionError, match="--concurrency is at least 1"):
        evaluated(replace(options, concurrency=0), engine)


def test_the_option_reaches_the_run(server, options, tmp_path, capsys):
    data, out = options.sets[0], tmp_path / "typed"
    words = ["--arms", "trimmed", "--max-new-tokens", "8", "--concurrency", str(AT_ONCE), "--out", str(out)]
    assert cli.main(["eval", "--set", data, "--model", server.address, *words], ModelManager()) == 0
    assert server.most > 1
    assert "requests at once" in (out / "report.json").read_text("utf-8")


def test_requests_that_nobody_gave_a_turn_of_their_own_wait_for_each_other(engine):
    first = run(MEAN, engine)
    next(first)
    with pytest.raises(BusyError):
        next(run(MEAN, engine))
    assert TURN.is_taken
    assert isinstance(list(run(MEAN, engine, turn=own_turn(engine)))[-1], Finished)
    first.close()
    assert not TURN.is_taken


def test_what_work_raises_is_raised_and_the_rest_is_not_begun(engine):
    asking, begun = Asking(engine, 2), []

    def work(number):
        begun.append(number)
        if number == 1:
            raise ServerError("gone")

    with pytest.raises(ServerError, match="gone"):
        asking.each(range(1000), work)
    assert len(begun) < 1000
