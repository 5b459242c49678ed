"""VS Code and Colab, which cannot run here: stand-ins that treat a real kernel as their sources and issues say.

VS Code: `cellExecutionMessageHandler.ts` (microsoft/vscode-jupyter) acts on every `set_next_input` in the reply to a
user's cell, and `helpers.ts` runs code of its own with `silent: false, store_history: false`, whose reply nobody reads.
Its widgets live in a webview, whose manager knows no document. Colab: googlecolab/colabtools, issue 5176, makes one
cell of a payload; its outputs are frames of their own, and it shows core widgets only unless a notebook asks for more.
That the front ends themselves do so is not proven here.
"""

from __future__ import annotations

import os
import queue
import time

import pytest
from jupyter_client.manager import start_new_kernel
from scripted import IN_A_KERNEL

COLAB = """
import sys, types
for name in ("google", "google.colab", "google.colab.output"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["google.colab.output"].enable_custom_widget_manager = lambda: None
"""
ASK = "%%fim\ntotal = <cursor>  # of xs"
FILLED = "total = sum(xs)  # of xs"
SECONDS = 60


class FrontEnd:
    """A notebook's cells, run on a real kernel."""

    def __init__(self, *sources):
        environment = {name: value for name, value in os.environ.items() if name != "JPY_SESSION_NAME"}
        self.manager, self.client = start_new_kernel(kernel_name="python3", env=environment)
        self.cells = list(sources)
        self.widgets = {}  # comm id -> its last state
        self.outputs = []

    def metadata(self, index):
        return {}

    def ask_kernel(self, kind, content, metadata=None):
        """Send a message, and return the reply when the kernel is idle again."""
        message = self.client.session.msg(kind, content, metadata=metadata)
        self.client.shell_channel.send(message)
        reply, idle, deadline = None, False, time.monotonic() + SECONDS
        while not (idle and (reply or kind == "comm_msg")):
            assert time.monotonic() < deadline, "the kernel does not answer"
            try:
                heard = self.client.get_iopub_msg(timeout=0.1)
                idle |= self.hear(heard, message["header"]["msg_id"])
            except queue.Empty:
                pass
            if kind != "comm_msg" and reply is None:
                try:
                    answer = self.client.get_shell_msg(timeout=0.1)
                    if answer["parent_header"]["msg_id"] == message["header"]["msg_id"]:
                        reply = answer["content"]
                except queue.Empty:
                    pass
        return reply

    def hear(self, message, asked):
        content = message["content"]
        if message["msg_type"] == "comm_open":
            self.widgets[content["comm_id"]] = dict(content["data"]["state"])
        elif message["msg_type"] == "comm_msg" and content["data"].get("method") == "update":
            self.widgets[content["comm_id"]].update(content["data"]["state"])
        elif message["msg_type"] == "comm_close":
            self.widgets.pop(content["comm_id"], None)
        elif message["msg_type"] in ("display_data", "update_display_data", "stream", "error"):
            self.outputs.append(content.get("data") or content)
        state = content.get("execution_state")
        return state == "idle" and message["parent_header"].get("msg_id") == asked

    def run(self, index):
        """Run a cell as a user does, and do with the reply what the front end does."""
        content = {"code": self.cells[index], "silent": False, "store_history": True, "allow_stdin": False}
        reply = self.ask_kernel("execute_request", content, self.metadata(index))
        if reply["status"] == "ok":
            self.apply([each for each in reply["payload"] if each["source"] == "set_next_input"], index)
        return reply

    def send(self, comm, content):
        """Send what a widget on the page says."""
        self.ask_kernel("comm_msg", {"comm_id": comm, "data": {"method": "custom", "content": content}})

    def find(self, **state):
        return [
            comm for comm, has in self.widgets.items() if all(has.get(name) == value for name, value in state.items())
        ]

    @property
    def said(self):
        return "\n".join(str(each.get("text/plain", each.get("text", ""))) for each in self.outputs)

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


class VsCode(FrontEnd):
    def metadata(self, index):
        return {"cellId": f"vscode-notebook-cell:/home/me/work.ipynb#W{index}sZmlsZQ%3D%3D"}

    def apply(self, payloads, index):
        for payload in payloads:
            if payload["replace"]:
                self.cells[index] = payload["text"]
            else:
                self.cells.insert(index + 1, payload["text"])

    def silently(self, code):
        """Run code of the front end's own. What its reply carries is lost."""
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        return self.ask_kernel("execute_request", content)["payload"]

    def say_hello(self):
        """As the webview does when the hidden bridge is opened there: it knows no document."""
        (bridge,) = [comm for comm, has in self.widgets.items() if "SWEEP_MS" in has.get("_esm", "")]
        self.send(bridge, {"event": "hello", "where": "elsewhere"})

    @property
    def toolbar(self):
        (comm,) = [comm for comm, has in self.widgets.items() if has.get("candidates")]
        return comm


class Colab(FrontEnd):
    def apply(self, payloads, index):
        for payload in payloads[:1]:
            self.cells.insert(index + 1, payload["text"])


@pytest.fixture
def vs_code():
    front_end = VsCode(IN_A_KERNEL, ASK, "other = 1")
    yield front_end
    front_end.close()


@pytest.fixture
def colab():
    front_end = Colab(COLAB + IN_A_KERNEL, ASK, "other = 1")
    yield front_end
    front_end.close()


def test_vs_code_gets_the_answer_with_the_next_cell_that_the_user_runs(vs_code):
    vs_code.run(0)
    vs_code.say_hello()
    vs_code.run(1)
    assert "⟦sum(xs)⟧" in vs_code.said
    vs_code.send(vs_code.toolbar, {"act": "accept", "index": 0, "how": "none"})
    assert "below the next cell that you run" in vs_code.said
    assert vs_code.silently("1 + 1") == []  # a payload would be lost here
    assert vs_code.cells == [IN_A_KERNEL, ASK, "other = 1"]
    vs_code.run(2)
    assert vs_code.cells == [IN_A_KERNEL, ASK, "other = 1", FILLED]
    vs_code.run(2)
    assert len(vs_code.cells) == 4


def test_vs_code_without_a_page_that_answers_has_the_core_buttons(vs_code):
    vs_code.run(0)
    vs_code.run(1)
    (accept,) = vs_code.find(description="Accept")
    vs_code.send(accept, {"event": "click"})
    deadline = time.monotonic() + SECONDS
    while "next cell that you run" not in vs_code.said and time.monotonic() < deadline:
        vs_code.silently("pass")  # the page has two seconds to answer, and the kernel tells when they are over
    vs_code.run(2)
    assert vs_code.cells == [IN_A_KERNEL, ASK, "other = 1", FILLED]


def test_vs_code_turns_a_cell_into_the_answer(vs_code):
    vs_code.cells[2] = "%fim accept"
    for index in range(3):
        vs_code.run(index)
    assert vs_code.cells == [IN_A_KERNEL, ASK, FILLED]


def test_vs_code_gets_the_cell_at_once_with_accept(vs_code):
    vs_code.cells[1] = ASK.replace("%%fim", "%%fim --accept")
    vs_code.run(0)
    vs_code.run(1)
    assert vs_code.cells[2:] == [FILLED, "other = 1"]


def test_a_rejected_answer_leaves_nothing_for_another_cell(vs_code):
    vs_code.run(0)
    vs_code.say_hello()
    vs_code.run(1)
    vs_code.send(vs_code.toolbar, {"act": "reject", "index": 0, "kept": False})
    vs_code.run(2)
    assert vs_code.cells == [IN_A_KERNEL, ASK, "other = 1"]


def test_more_and_again_ask_the_model_and_fim_accept_knows_them(vs_code):
    vs_code.cells[2] = "%fim accept 2"
    vs_code.run(0)
    vs_code.say_hello()
    vs_code.run(1)
    vs_code.silently("MODELS.loaded.engine.answers = ('max(xs)',)")
    vs_code.send(vs_code.toolbar, {"act": "again", "index": 0})
    assert " · 2 of 2 · " in vs_code.said
    assert [each["added"] for each in vs_code.widgets[vs_code.toolbar]["candidates"]] == [["sum(xs)"], ["max(xs)"]]
    vs_code.send(vs_code.toolbar, {"act": "more", "index": 1})
    assert vs_code.widgets[vs_code.toolbar]["status"] == "The model has nothing to add to it."
    assert [each["added"] for each in vs_code.widgets[vs_code.toolbar]["candidates"]] == [["sum(xs)"], ["max(xs)"]]
    vs_code.run(2)
    assert vs_code.cells[2] == "total = max(xs)  # of xs"


def test_colab_shows_core_buttons_and_gets_the_answer_with_the_next_cell(colab):
    colab.run(0)
    colab.run(1)
    assert "⟦sum(xs)⟧" in colab.said
    (accept,) = colab.find(description="Accept")
    assert not [comm for comm, has in colab.widgets.items() if has.get("candidates")]  # no widget of our own
    colab.send(accept, {"event": "click"})
    assert "next cell that you run" in colab.said
    colab.run(2)
    assert colab.cells == [COLAB + IN_A_KERNEL, ASK, "other = 1", FILLED]


def test_colab_gets_the_cell_at_once_with_accept(colab):
    colab.cells[1] = ASK.replace("%%fim", "%%fim --accept")
    colab.run(0)
    colab.run(1)
    assert colab.cells[2:] == [FILLED, "other = 1"]
