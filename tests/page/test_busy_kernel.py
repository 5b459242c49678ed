"""A real kernel answers a page while a cell computes: over a subshell, as JupyterLab has one for each comm's target."""

from __future__ import annotations

import queue
import time

import pytest
from jupyter_client.manager import start_new_kernel
from scripted import IN_A_KERNEL

COMM = "a-page"
SECONDS = 60
HELD = "import threading; go_on = threading.Event(); print('computes'); go_on.wait(60)"


class Kernel:
    def __init__(self):
        self.manager, self.client = start_new_kernel(kernel_name="python3")
        self.told = []  # what the page's comm got
        self.outputs = []

    def send(self, channel, kind, content, subshell=None, cell=""):
        message = self.client.session.msg(kind, content, metadata={"cellId": cell} if cell else None)
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        channel.send(message)
        return message["header"]["msg_id"]

    def run(self, code):
        return self.client.execute(code, allow_stdin=False)

    def hear(self, until):
        """Read what the kernel says until that is true."""
        deadline = time.monotonic() + SECONDS
        while not until():
            assert time.monotonic() < deadline, (self.told, self.outputs)
            try:
                message = self.client.get_iopub_msg(timeout=0.1)
            except queue.Empty:
                continue
            content = message["content"]
            if message["msg_type"] == "comm_msg" and content["comm_id"] == COMM:
                self.told.append(content["data"])
            elif message["msg_type"] in ("stream", "error", "status"):
                self.outputs.append((message["parent_header"].get("msg_id"), content))

    def is_idle(self, request):
        return (request, {"execution_state": "idle"}) in self.outputs

    def subshell(self):
        self.send(self.client.control_channel, "create_subshell_request", {})
        return self.client.get_control_msg(timeout=SECONDS)["content"]["subshell_id"]

    def ask(self, subshell, id_, **message):
        data = {"id": id_, "cell_id": "abc", "suffix": "", **message}
        content = {"comm_id": COMM, "data": data}
        self.send(self.client.shell_channel, "comm_msg", content, subshell, cell="abc")

    def answer(self, id_):
        ended = [data for data in self.told if data.get("id") == id_ and data["type"] in ("done", "none")]
        return ended[0] if ended else None


@pytest.fixture(scope="module")
def kernel():
    kernel = Kernel()
    request = kernel.run(IN_A_KERNEL)
    kernel.hear(lambda: kernel.is_idle(request))
    yield kernel
    kernel.client.stop_channels()
    kernel.manager.shutdown_kernel(now=True)


def test_ghost_text_and_a_fill_come_while_a_cell_computes(kernel):
    subshell = kernel.subshell()
    kernel.send(
        kernel.client.shell_channel, "comm_open", {"comm_id": COMM, "target_name": "fim_magic", "data": {}}, subshell
    )
    kernel.hear(lambda: kernel.told)
    assert kernel.told[0]["type"] == "state"
    computes = kernel.run(HELD)
    kernel.hear(lambda: any(content.get("text", "").startswith("computes") for _, content in kernel.outputs))

    kernel.ask(subshell, "1", do="ghost", prefix="total = ")
    kernel.hear(lambda: kernel.answer("1"))
    assert kernel.answer("1")["texts"] == ["sum(xs)"]

    kernel.ask(subshell, "2", do="fill", prefix="total = ")
    kernel.hear(lambda: kernel.answer("2"))
    assert kernel.answer("2")["type"] == "done"
    assert any(data["type"] == "output" and "sum(xs)" in str(data["output"]) for data in kernel.told)

    # After it, the page's messages still find their subshell.
    kernel.ask(subshell, "3", do="ghost", prefix="total = 1 + ")
    kernel.hear(lambda: kernel.answer("3"))
    kernel.ask(subshell, "3", do="taken", candidate=0, how="accept")
    kernel.hear(lambda: any(data["type"] == "record" for data in kernel.told))
    assert not kernel.is_idle(computes)

    kernel.manager.interrupt_kernel()
    kernel.hear(lambda: kernel.is_idle(computes))
    assert [content["ename"] for _, content in kernel.outputs if "ename" in content] == ["KeyboardInterrupt"]
