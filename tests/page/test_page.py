"""What a page asks the kernel for, by the messages that it sends and gets; the browser tests have the page itself."""

from __future__ import annotations

import queue
import re
import threading
from dataclasses import replace

import pytest
from scripted import RecordingModels, ScriptedEngine, loaders_with
from shells import extended_shell, new_shell, run_cell

from fim_magic.document import Document
from fim_magic.engines import Destination
from fim_magic.events import Finished
from fim_magic.frontends import OF_PAGES
from fim_magic.frontends.owner import OUTPUT_KEY
from fim_magic.history import History
from fim_magic.loading.manager import ModelManager
from fim_magic.outcomes import TALLY
from fim_magic.page import ghost_text
from fim_magic.page.channel import Channel
from fim_magic.page.comms import TARGET, Comms
from fim_magic.page.messages import Asked, MessageError
from fim_magic.pipeline import busy, run
from fim_magic.progress import Progress
from fim_magic.request import Request
from fim_magic.review.widget import WIDGET_MIME
from fim_magic.version import __version__

SECONDS = 30  # in which what has to come comes, on the slowest machine


class Kernel:
    """Handles a message of a page about a cell."""

    def __init__(self):
        self.parents = []

    def get_parent(self):
        return {"header": {"msg_id": "1", "session": "page", "subshell_id": "s"}, "metadata": {"cellId": "abc"}}

    def set_parent(self, _ident, parent, channel="shell"):
        self.parents.append(parent)


class Page:
    """A page that keeps what it gets."""

    def __init__(self, shell):
        self.got = queue.Queue()
        self.ends = {}  # of requests that nobody has waited for yet
        self.channel = Channel(shell, session_of(shell), self.got.put)

    def send(self, do, id_="1", **message):
        self.channel.hear({"do": do, "id": id_, **message})

    def ask(self, do, prefix, suffix="", id_="1", **message):
        self.send(do, id_, cell_id="abc", prefix=prefix, suffix=suffix, **message)

    def next(self, *kinds):
        """The next message of one of these kinds."""
        while (message := self.got.get(timeout=SECONDS))["type"] not in kinds:
            pass
        return message

    def until_end(self, id_="1"):
        """What comes until a request has ended, and its last message as the last. Others may end before it."""
        found = []
        while id_ not in self.ends:
            found.append(self.got.get(timeout=SECONDS))
            if found[-1]["type"] in ("done", "none"):
                self.ends[found[-1].get("id")] = found[-1]
        end = self.ends.pop(id_)
        return [*(message for message in found if message is not end), end]

    def answered(self, do, prefix, suffix="", **message):
        self.ask(do, prefix, suffix, **message)
        return self.until_end(message.get("id_", "1"))


@pytest.fixture(scope="module")
def one_shell(tmp_path_factory):
    with extended_shell(tmp_path_factory.mktemp("ipython")) as shell:
        shell.kernel = Kernel()
        yield shell
        del shell.kernel


@pytest.fixture
def shell(one_shell):
    """A shell with the extension, as it is when that was loaded. To make one for each test takes longer than they do."""
    magics = magics_of(one_shell)
    before = {name: getattr(magics, name) for name in magics.trait_names(config=True)}
    session = magics.session
    session.history, session.last = History(), None
    one_shell.kernel.parents.clear()
    ran = len(one_shell.history_manager.input_hist_raw)
    yield one_shell
    for name, value in before.items():
        setattr(magics, name, value)
    session.__dict__.pop("models", None)
    one_shell.user_ns.pop("spread", None)
    del one_shell.history_manager.input_hist_raw[ran:]


@pytest.fixture
def scripted(shell):
    scripted = ScriptedEngine("sum(xs)")
    adopted(shell, scripted)
    yield scripted
    scripted.may_go_on.set()
    ended()


def adopted(shell, engine):
    """Have a model loaded, where unloading another one need not be waited for."""
    session_of(shell).models = ModelManager()
    session_of(shell).models.adopt(engine)


@pytest.fixture
def page(shell):
    return Page(shell)


def session_of(shell):
    return magics_of(shell).session


def magics_of(shell):
    return shell.magics_manager.registry["FimMagics"]


def ended():
    for thread in threading.enumerate():
        if thread.name == "fim-magic answers a page":
            thread.join(SECONDS)
            assert not thread.is_alive()


def stuck(engine, at):
    """Let an engine wait in this step, and return what is set when it does."""
    reached = threading.Event()

    def before_step(step):
        if step == at:
            engine.may_go_on.clear()
            reached.set()

    engine.before_step = before_step
    return reached


def texts(messages):
    return [message["text"] for message in messages if message["type"] == "text"]


def reason(messages):
    assert messages[-1]["type"] == "none"
    return messages[-1]["reason"]


# --- ghost text ------------------------------------------------------------------------------------


def test_ghost_text_streams_and_ends(page, scripted):
    *grown, last = page.answered("ghost", "total = ", "\n")
    assert texts(grown)[:3] == ["s", "su", "sum"]
    assert last == {"type": "done", "id": "1", "texts": ["sum(xs)"], "notices": []}
    assert scripted.tokenizer.decode(scripted.prompts[0]) == "<|fim_prefix|>total = <|fim_suffix|>\n<|fim_middle|>"


@pytest.mark.parametrize(
    ("prefix", "suffix", "answer", "shown"),
    [
        ("# all\n", "", "a = 1\nb = 2\n", "a = 1"),
        ("total = ", " + 1\n", "sum(xs\n)", "sum(xs"),
        ("for x in ", "", "xs:\n    print(x)\ny = 2\n", "xs:\n    print(x)"),
        ("def f(x):\n    ", "\n", "y = x\n    return y\n\nf(1)", "y = x\n    return y"),
    ],
    ids=["a statement", "its line", "the block that a line opens", "a body"],
)
def test_ghost_text_ends_where_the_hole_does(shell, page, scripted, prefix, suffix, answer, shown):
    scripted.answers = (answer,)
    *_, last = page.answered("ghost", prefix, suffix)
    assert last["texts"] == [shown]


def test_a_model_in_memory_answers_a_page_as_it_does_elsewhere(shell, page, engine):
    qwen = engine("qwen2")
    adopted(shell, qwen)
    document = Document("def mean(xs):\n    ", "\n    return total\n")
    *_, last = run(Request(document, max_new_tokens=64, is_short=True), qwen)
    assert isinstance(last, Finished)
    assert page.answered("ghost", document.prefix, document.suffix)[-1]["texts"] == [last.result.middle]


def test_several_answers_begin_with_the_one_that_was_shown(page, scripted):
    scripted.answers = ("sum(xs)", "max(xs)", "min(xs)")
    *grown, last = page.answered("ghost", "total = ", "\n", candidates=3)
    assert last["texts"][0] == texts(grown)[-1] == "sum(xs)"
    assert len(set(last["texts"])) == len(last["texts"]) > 1


def test_nothing_is_loaded_because_somebody_typed(shell, page, checkpoint):
    loaded = []
    models = ModelManager(loaders_with(load=lambda *_: loaded.append(1)))
    session_of(shell).models = models
    magics_of(shell).model = str(checkpoint("qwen2"))
    assert "%fim use" in reason(page.answered("ghost", "total = "))
    assert loaded == []
    assert models.loading is None


def test_ghost_text_of_another_model_than_the_configured_one_is_none(shell, page, scripted, checkpoint):
    magics_of(shell).model = str(checkpoint("qwen2"))
    assert "when a model is loaded" in reason(page.answered("ghost", "total = "))
    assert scripted.prompts == []


@pytest.mark.parametrize(
    ("setting", "automatic", "answers"),
    [("off", False, False), ("off", True, False), ("key", False, True), ("key", True, True), ("auto", True, True)],
)
def test_ghost_text_comes_when_the_setting_says_so(shell, page, scripted, setting, automatic, answers):
    run_cell(shell, f"%config FimMagics.ghost = '{setting}'")
    last = page.answered("ghost", "total = ", automatic=automatic)[-1]
    assert last["type"] == ("done" if answers else "none")
    assert bool(scripted.prompts) == answers


@pytest.mark.parametrize("act", ["cancel", "drop"])
def test_cancelling_and_dropping_stop_the_model_at_its_next_token(page, scripted, act):
    reached = stuck(scripted, 2)
    page.ask("ghost", "total = ")
    assert reached.wait(SECONDS)
    page.send(act)
    scripted.may_go_on.set()
    assert reason(page.until_end()) == ""
    ended()
    assert len(scripted.allowed) in (3, 4)  # of 8: it may have begun another one
    assert not busy()


def test_the_next_one_takes_the_place_of_the_one_before(page, scripted):
    reached = stuck(scripted, 2)
    page.ask("ghost", "total = ")
    assert reached.wait(SECONDS)
    scripted.before_step = lambda _step: None
    page.ask("ghost", "total = 1 + ", id_="2")
    scripted.may_go_on.set()
    assert page.until_end("1")[-1]["reason"] == ""
    assert page.until_end("2")[-1]["texts"] == ["sum(xs)"]
    ended()


def test_a_magic_stops_ghost_text_and_takes_the_model(shell, page, scripted):
    reached = stuck(scripted, 2)
    page.ask("ghost", "total = ")
    assert reached.wait(SECONDS)
    scripted.before_step = lambda _step: None
    stop = page.channel._under_way["1"]
    threading.Thread(target=lambda: stop.wait(SECONDS) and scripted.may_go_on.set()).start()
    assert "Error" not in run_cell(shell, "%%fim\ntotal = <cursor>\n")
    assert session_of(shell).last.middle == "sum(xs)"
    assert reason(page.until_end()) == ""


def test_ghost_text_leaves_the_model_to_a_magic(page, scripted, monkeypatch):
    monkeypatch.setattr(ghost_text, "_PATIENCE_SECONDS", 0.0)
    events = run(Request(Document("x", "")), scripted)
    next(events)
    assert "busy" in reason(page.answered("ghost", "total = "))
    events.close()


def test_automatic_ghost_text_says_nothing_of_a_model_that_is_busy(shell, page, scripted):
    run_cell(shell, "%config FimMagics.ghost = 'auto'")
    events = run(Request(Document("x", "")), scripted)
    next(events)
    assert reason(page.answered("ghost", "total = ", automatic=True)) == ""
    events.close()


def test_ghost_text_stops_no_fill_and_waits_for_it_where_it_was_asked_for(page, scripted):
    reached = stuck(scripted, 2)
    page.ask("fill", "total = ")
    assert reached.wait(SECONDS)
    scripted.before_step = lambda _step: None
    page.ask("ghost", "total = 1 + ", id_="2")
    threading.Timer(0.1, scripted.may_go_on.set).start()
    assert page.until_end("1")[-1]["type"] == "done"
    assert page.until_end("2")[-1]["texts"] == ["sum(xs)"]


def test_a_page_that_goes_stops_what_it_has_asked_for(page, scripted):
    reached = stuck(scripted, 2)
    page.ask("ghost", "total = ")
    assert reached.wait(SECONDS)
    page.channel.stop()
    scripted.may_go_on.set()
    ended()
    assert len(scripted.allowed) in (3, 4)


def test_what_is_shown_and_not_taken_is_in_no_log(shell, page, scripted):
    page.answered("ghost", "total = ")
    assert session_of(shell).history.entries == ()


@pytest.mark.parametrize(("how", "fate"), [(None, None), ("accept", "accepted"), ("part", "in_part")])
def test_ghost_text_counts_where_that_is_switched_on(shell, page, scripted, monkeypatch, tmp_path, how, fate):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path))
    page.answered("ghost", "total = ", id_="before")
    page.send("seen", id_="before")
    magics_of(shell).stats = True
    page.answered("ghost", "total = ")
    page.send("seen")
    page.send("seen")  # it was offered once
    if how is not None:
        page.send("taken", candidate=0, how=how)
        page.next("record")
    ((subject, counts),) = TALLY.read().items()
    assert (subject.kind, subject.front_end) == ("ghost", OF_PAGES)
    assert {name: count for name, count in counts.items() if count} == dict.fromkeys(
        ["offered", *filter(None, [fate])], 1
    )


def test_ghost_text_that_was_made_and_not_seen_was_not_offered(shell, page, scripted, monkeypatch, tmp_path):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path))
    magics_of(shell).stats = True
    page.answered("ghost", "total = ")
    page.answered("ghost", "total = ", id_="2")
    page.send("cancel")
    assert TALLY.read() == {}
    page.send("taken", candidate=0, how="accept", id_="2")  # it was seen so shortly that nobody has told of it
    (counts,) = TALLY.read().values()
    assert {name: count for name, count in counts.items() if count} == {"offered": 1, "accepted": 1}


@pytest.mark.parametrize(
    ("does", "fate"),
    [(["drop"], "rejected"), (["cancel"], None), (["part", "drop"], "in_part"), (["accept", "drop"], "accepted")],
    ids=["dropped", "cancelled", "after a part", "after all"],
)
def test_what_is_seen_and_dropped_counts_as_rejected(shell, page, scripted, monkeypatch, tmp_path, does, fate):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path))
    magics_of(shell).stats = True
    page.answered("ghost", "total = ")
    page.send("seen")
    for act in does:
        if act in ("accept", "part"):
            page.send("taken", candidate=0, how=act)
        else:
            page.send(act)
    (counts,) = TALLY.read().values()
    assert {name for name, count in counts.items() if count} == {"offered", *filter(None, [fate])}


@pytest.mark.parametrize(("act", "fate"), [("taken", "accepted"), ("drop", "rejected")])
def test_further_answers_are_one_offer_with_the_first(shell, page, scripted, monkeypatch, tmp_path, act, fate):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path))
    magics_of(shell).stats = True
    page.answered("ghost", "total = ")
    page.send("seen")
    page.answered("ghost", "total = ", id_="2", candidates=3, instead="1")
    page.send("seen", id_="2")
    page.send(act, id_="2", **({"candidate": 0, "how": "accept"} if act == "taken" else {}))
    (counts,) = TALLY.read().values()
    assert {name: count for name, count in counts.items() if count} == {"offered": 1, fate: 1}


@pytest.mark.parametrize("act", ["seen", "drop"])
def test_a_request_that_is_not_known_any_more_can_be_neither_seen_nor_dropped(page, scripted, act):
    page.send(act)
    assert page.got.empty()


def test_a_fill_at_the_cursor_counts_where_that_is_switched_on(shell, page, scripted, monkeypatch, tmp_path):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path))
    magics_of(shell).stats = True
    page.answered("fill", "total = ")
    ((subject, counts),) = TALLY.read().items()
    assert (subject.kind, subject.front_end, counts["offered"]) == ("caret", OF_PAGES, 1)


@pytest.mark.parametrize("how", ["accept", "part"])
def test_what_is_taken_is_in_the_log_and_the_cells_metadata(shell, page, scripted, how):
    page.answered("ghost", "total = ")
    page.send("taken", candidate=0, how=how)
    told = page.next("record")
    assert (told["id"], told["cell_id"], told["record"]["model"]) == ("1", "abc", "scripted")
    (entry,) = session_of(shell).history.entries
    assert (entry.request.document.prefix, entry.record["decision"]["what"]) == ("total = ", how)
    page.send("taken", candidate=0, how="accept")
    page.next("record")
    assert len(session_of(shell).history.entries) == 1
    assert "total = …" in run_cell(shell, "%fim log")


def test_what_is_taken_before_the_model_is_done_ends_it(shell, page, scripted):
    reached = stuck(scripted, 3)
    page.ask("ghost", "total = ")
    assert reached.wait(SECONDS)
    page.send("taken", candidate=0, how="accept")
    scripted.may_go_on.set()
    assert page.next("record")["record"]["candidate"] == 1
    ended()
    assert len(scripted.allowed) in (4, 5)
    assert [entry.record["decision"]["what"] for entry in session_of(shell).history.entries] == ["accept"]


def test_a_request_that_is_not_known_any_more_cannot_be_taken(shell, page, scripted):
    page.send("taken", candidate=0, how="accept")
    assert session_of(shell).history.entries == ()


def test_the_cells_of_the_page_are_the_context(shell, page, scripted):
    run_cell(shell, "def spread(xs):\n    return max(xs) - min(xs)")
    cells = [
        {"type": "markdown", "source": "How far they are apart", "id": "a"},
        {"type": "code", "source": "def spread(xs):\n    return max(xs) - min(xs)", "id": "b"},
        {"type": "raw", "source": "raw", "id": "c"},
        {"type": "code", "source": "total = ", "id": "abc"},
    ]
    page.answered("ghost", "total = ", cells=cells)
    page.answered("ghost", "total = s", id_="2")
    for prompt in map(scripted.tokenizer.decode, scripted.prompts):
        assert "# How far they are apart\n" in prompt
        assert "def spread(xs):" in prompt
        assert "raw" not in prompt


def test_the_cell_with_the_cursor_is_known_though_it_was_sent_as_it_was_before(shell, page, scripted):
    """The page sends the cells again when another one has changed; this one may be the copy of another."""
    run_cell(shell, "xs = [1]")
    typed = "".join(f"total_{number} = sum(xs[{number}:])\n" for number in range(5))
    cells = [
        {"type": "markdown", "source": "All of them", "id": "a"},
        {"type": "code", "source": "x", "id": "abc"},
        {"type": "code", "source": typed, "id": "b"},
    ]
    page.answered("ghost", "x", cells=cells)
    page.answered("ghost", typed, id_="2")
    first, second = map(scripted.tokenizer.decode, scripted.prompts)
    assert "# All of them\n" in first
    assert "# All of them\n" in second


def test_a_cell_of_the_page_below_the_cursor_is_not_told_as_one_above(shell, page, scripted):
    run_cell(shell, "xs = [1]")
    run_cell(shell, "later = 2")
    cells = [{"type": "code", "source": "x", "id": "abc"}, {"type": "code", "source": "later = 2", "id": "b"}]
    page.answered("ghost", "x", cells=cells)
    page.answered("ghost", "total = sum(xs) + something_else", id_="2")
    for prompt in map(scripted.tokenizer.decode, scripted.prompts):
        assert "xs = [1]" in prompt
        assert "later = 2" not in prompt


# --- switches and consent --------------------------------------------------------------------------


@pytest.mark.parametrize("do", ["ghost", "fill"])
@pytest.mark.parametrize("filling", ["off", "hints"])
@pytest.mark.parametrize("where", ["settings", "metadata"])
def test_a_classroom_that_allows_no_answers_gets_none(shell, page, scripted, do, filling, where):
    if where == "settings":
        run_cell(shell, f"%config FimMagics.filling = '{filling}'")
    metadata = {"fim_magic": {"filling": filling}} if where == "metadata" else {}
    assert "written by hand" in reason(page.answered(do, "total = ", metadata=metadata))
    assert scripted.prompts == []


@pytest.fixture
def remote(shell, scripted):
    scripted.info = replace(scripted.info, destination=Destination.HOST, device="gpu.example:8000")
    return scripted


def listed(shell, monkeypatch, *, hosts=(), ghost_hosts=()):
    """Allow hosts to get text, and to get it unasked. Without a server, an engine's device is its host."""
    from fim_magic.allowed_hosts import Permission, host_of

    monkeypatch.setattr(Permission, "allows", lambda self, info: host_of(info) in self.hosts)
    run_cell(shell, f"%config FimMagics.allowed_hosts = {list(hosts)!r}")
    run_cell(shell, f"%config FimMagics.ghost_hosts = {list(ghost_hosts)!r}")
    run_cell(shell, "%config FimMagics.ghost = 'auto'")


HOST = "gpu.example:8000"


@pytest.mark.parametrize("do", ["ghost", "fill"])
def test_nothing_goes_to_a_host_that_is_not_allowed(shell, page, remote, monkeypatch, do):
    listed(shell, monkeypatch)
    assert f"%fim allow {HOST}" in reason(page.answered(do, "total = "))
    assert remote.prompts == []


def test_what_is_typed_goes_there_unasked_only_where_that_is_allowed_too(shell, page, remote, monkeypatch):
    listed(shell, monkeypatch, hosts=[HOST])
    assert f'FimMagics.ghost_hosts = ["{HOST}"]' in reason(page.answered("ghost", "total = ", automatic=True))
    assert remote.prompts == []
    assert page.answered("ghost", "total = ", id_="2")[-1]["texts"] == ["sum(xs)"]
    listed(shell, monkeypatch, hosts=[HOST], ghost_hosts=[HOST])
    assert page.answered("ghost", "total = ", automatic=True, id_="3")[-1]["texts"] == ["sum(xs)"]


def test_to_allow_typing_alone_allows_nothing(shell, page, remote, monkeypatch):
    listed(shell, monkeypatch, ghost_hosts=[HOST])
    assert f"%fim allow {HOST}" in reason(page.answered("ghost", "total = ", automatic=True))
    assert remote.prompts == []


# --- a fill ----------------------------------------------------------------------------------------


def outputs(messages):
    return [message for message in messages if message["type"] == "output"]


def test_a_fill_is_shown_below_the_cell_with_its_buttons(shell, page, scripted):
    messages = page.answered("fill", "total = ", "\n")
    assert messages[-1]["type"] == "done"
    shown = outputs(messages)
    assert {message["cell_id"] for message in shown} == {"abc"}
    diffs = [message for message in shown if "fim_magic" in message["output"]["metadata"]]
    assert [message["update"] for message in diffs][:2] == [False, True]
    assert "total = ⟦sum(xs)⟧" in diffs[-1]["output"]["data"]["text/plain"]
    assert len({message["output"]["metadata"][OUTPUT_KEY] for message in diffs}) == 1
    buttons = [message for message in shown if WIDGET_MIME in message["output"]["data"]]
    assert len(buttons) == 1
    (entry,) = session_of(shell).history.entries
    assert entry.request.document == Document("total = ", "\n")
    assert session_of(shell).last.middle == "sum(xs)"


def test_what_is_selected_is_replaced_and_shown_as_removed(page, scripted):
    shown = outputs(page.answered("fill", "total = ", "\n", selected="max(xs)"))
    last = [message for message in shown if "fim_magic" in message["output"]["metadata"]][-1]
    assert last["output"]["data"]["text/plain"].startswith("- total = ⟦max(xs)⟧\n~ total = ⟦sum(xs)⟧")
    assert "max" not in scripted.tokenizer.decode(scripted.prompts[0])


def test_what_is_selected_is_not_shown_as_a_cell_that_ran(shell, page, scripted):
    run_cell(shell, "xs = [1]")
    run_cell(shell, "total = max(xs)")
    page.answered("fill", "total = ", selected="max(xs)")
    prompt = scripted.tokenizer.decode(scripted.prompts[0])
    assert "xs = [1]" in prompt
    assert "max" not in prompt


def test_markers_at_the_cursor_are_text(page, scripted):
    page.answered("fill", "'<cursor>' in ", " + '█'")
    assert "'<cursor>' in <|fim_suffix|> + '█'<|fim_middle|>" in scripted.tokenizer.decode(scripted.prompts[0])


def test_a_fill_that_is_stopped_keeps_what_is_there(shell, page, scripted):
    reached = stuck(scripted, 3)
    page.ask("fill", "total = ")
    assert reached.wait(SECONDS)
    page.send("interrupt")
    scripted.may_go_on.set()
    shown = outputs(page.until_end())
    assert "interrupted" in shown[-1]["output"]["data"].get("text/plain", "") or any(
        "interrupted" in message["output"]["data"].get("text/html", "") for message in shown
    )
    assert len(scripted.allowed) in (4, 5)


def test_a_fill_that_is_refused_shows_nothing(page, scripted):
    """The page takes away what an earlier fill has shown when it gets the first output of the next."""
    reached = stuck(scripted, 2)
    page.ask("fill", "total = ")
    assert reached.wait(SECONDS)
    scripted.before_step = lambda _step: None
    messages = page.answered("fill", "total = ", id_="2")
    assert "busy" in reason(messages)
    assert "2" not in {message["id"] for message in outputs(messages)}
    scripted.may_go_on.set()
    *shown, last = page.until_end("1")
    assert last["type"] == "done"
    assert any("sum(xs)" in str(message["output"]) for message in outputs(shown))


def test_a_fill_loads_the_model_and_says_how_far_it_is(shell, page, checkpoint):
    session_of(shell).models = ModelManager()
    magics_of(shell).model = str(checkpoint("qwen2"))
    messages = page.answered("fill", "total = ")
    assert messages[-1]["type"] == "done"
    assert any("oad" in message["text"] for message in messages if message["type"] == "progress")
    assert session_of(shell).models.loaded is not None
    session_of(shell).models.unload()


def test_how_far_it_is_is_told_now_and_then(shell, page, scripted):
    class Models(RecordingModels):
        def use(self, spec, on_progress=lambda _progress: None):
            for done in range(100):
                on_progress(Progress("Reading", done, 200, unit="tensors"))
            return super().use(spec)

    session_of(shell).models = Models(scripted)
    messages = page.answered("fill", "total = ")
    assert messages[-1]["type"] == "done"
    assert 1 <= len([message for message in messages if message["type"] == "progress"]) < 10


def test_a_fills_buttons_are_answered_where_cells_run(shell, page, scripted):
    page.answered("fill", "total = ")
    (parent,) = shell.kernel.parents
    assert "subshell_id" not in parent["header"]
    assert parent["metadata"] == {"cellId": "abc"}


def test_what_goes_wrong_is_said_in_words(shell, page, scripted):
    run_cell(shell, "%config FimMagics.order = 'sideways'")
    said = reason(page.answered("fill", "total = "))
    assert "FimMagics.order is one of" in said
    assert "Traceback" not in said


# --- messages that are none ------------------------------------------------------------------------


GHOST = {"do": "ghost", "id": "1", "cell_id": "abc", "prefix": "", "suffix": ""}
NO_MESSAGES = (
    {},
    {"do": "dance", "id": "1"},
    {**GHOST, "id": 1},
    {**GHOST, "prefix": None},
    {**GHOST, "candidates": 1000},
    {**GHOST, "candidates": True},
    {**GHOST, "cells": {"a": 1}},
    {**GHOST, "cells": [1]},
    {**GHOST, "metadata": []},
    {"do": "taken", "id": "1"},
    "ghost",
)


def test_messages_of_another_version_are_answered_and_do_nothing(page, scripted):
    for message in NO_MESSAGES:
        page.channel.hear(message)
        assert "Load it again" in page.next("none")["reason"], message
    assert scripted.prompts == []


def test_half_a_character_is_refused(page, scripted):
    assert "half a character" in reason(page.answered("ghost", "x = '\ud800"))
    assert scripted.prompts == []


def test_a_request_is_read():
    message = {"id": "7", "cell_id": "c", "prefix": "a", "suffix": "b", "selected": "s", "automatic": True}
    asked = Asked.of(message)
    assert asked.document == Document("a", "b", replaced="s")
    assert (asked.id, asked.cell_id, asked.is_automatic, asked.cells, asked.candidates) == ("7", "c", True, None, 1)
    with pytest.raises(MessageError):
        Asked.of({**message, "cells": [{"type": "code"}]})


# --- comms -----------------------------------------------------------------------------------------


class Manager:
    """Stands in for a kernel's manager of comms."""

    def __init__(self):
        self.targets, self.comms = {}, {}

    def register_target(self, name, call):
        self.targets[name] = call

    def unregister_target(self, name, _call):
        return self.targets.pop(name)

    def register_comm(self, comm):
        self.comms[comm.comm_id] = comm

    def unregister_comm(self, comm):
        self.comms.pop(comm.comm_id)


class Comm:
    def __init__(self, comm_id="c", target_name=TARGET, primary=True):
        self.comm_id, self.target_name, self.sent, self.is_open = comm_id, target_name, [], True

    def on_msg(self, call):
        self.on_message = call

    def on_close(self, call):
        self.when_closed = call

    def send(self, message):
        self.sent.append(message)

    def close(self):
        self.is_open = False


@pytest.fixture
def manager(monkeypatch):
    manager = Manager()
    monkeypatch.setattr("comm.get_comm_manager", lambda: manager)
    monkeypatch.setattr("comm.create_comm", lambda **options: Comm("sign", **options))
    return manager


def test_a_kernel_has_a_sign_and_a_target_until_the_extension_is_unloaded(shell, manager):
    comms = Comms(shell, session_of(shell))
    assert [comm.target_name for comm in manager.comms.values()] == [TARGET]
    opened = Comm()
    manager.targets[TARGET](opened, {})
    state = {"type": "state", "version": __version__, "ghost": "key"}
    assert opened.sent == [state]
    run_cell(shell, "%config FimMagics.ghost = 'auto'")
    comms.tell_state()
    assert opened.sent[1:] == [{**state, "ghost": "auto"}]
    opened.on_message({"content": {"data": {"do": "dance"}}})
    assert opened.sent[-1]["type"] == "none"
    comms.close()
    assert not opened.is_open
    assert manager.targets == {}
    comms.close()


def test_doctor_says_what_a_front_end_gives(shell, manager, monkeypatch):
    comms = magics_of(shell)._page = Comms(shell, session_of(shell))
    monkeypatch.setattr("fim_magic.weights.reachable", dict)
    assert re.search(r"! at the cursor +nothing yet.*-> install fim-magic where", run_cell(shell, "%fim doctor"))
    manager.targets[TARGET](Comm(), {})
    assert "a fill on F8, ghost text on its key" in run_cell(shell, "%fim doctor")
    comms.close()
    monkeypatch.setattr(shell.kernel, "get_parent", lambda: {"metadata": {"cellId": "vscode-notebook-cell:1"}})
    assert "JupyterLab from 4.1 on" in comms.about()[0]
    assert comms.about()[1] == ""


def test_a_comm_that_is_closed_is_told_nothing_more(shell, manager):
    comms = Comms(shell, session_of(shell))
    opened = Comm()
    manager.targets[TARGET](opened, {})
    opened.when_closed({})
    comms.tell_state()
    assert len(opened.sent) == 1
    comms.close()


def test_the_ends_of_pages_that_were_loaded_anew_are_not_kept_for_ever(shell, manager):
    comms = Comms(shell, session_of(shell))
    opened = [Comm(f"{number}") for number in range(20)]
    manager.targets[TARGET](opened[0], {})
    for comm in opened[1:]:
        manager.targets[TARGET](comm, {})
        opened[0].on_message({"content": {"data": {"do": "seen", "id": "1"}}})  # this one is there all the time
    assert opened[0].is_open
    assert [comm.is_open for comm in opened[1:]] == [False] * 4 + [True] * 15
    comms.close()


def test_without_a_kernel_there_are_no_comms(tmp_path, manager):
    with pytest.MonkeyPatch.context() as patch:
        shell = new_shell(patch, tmp_path)
        Comms(shell, None).close()
    assert manager.targets == {}
    assert manager.comms == {}


def test_the_magics_tell_pages_when_the_setting_changes(shell, manager, monkeypatch):
    told = []
    monkeypatch.setattr(magics_of(shell)._page, "tell_state", lambda: told.append(magics_of(shell).ghost))
    run_cell(shell, "%config FimMagics.ghost = 'off'")
    assert told == ["off"]
