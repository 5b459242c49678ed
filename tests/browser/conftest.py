"""A real Jupyter server, real front ends, a real browser."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import nbformat.reader
import pytest
from asking import GO_ON
from at_cursor import SETUP
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).parents[2]
SCREENSHOTS = Path(__file__).parent / "screenshots"
TOKEN = "a-test-token"
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
FRONT_ENDS = {"lab": "lab/tree", "notebook": "notebooks"}
OTHER_JUPYTER = "FIM_MAGIC_TEST_JUPYTER"  # names an interpreter, whose JupyterLab and Notebook all tests but some drive


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")
    # Last: the browser's driver keeps an event loop and a dozen processes until the session ends, and what is quick
    # should fail first.
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One Jupyter server with notebooks in a folder of its own. Its kernels are this interpreter's."""

    def __init__(self, folder, interpreter=None):
        """Start the server of this interpreter's environment, or of another one's."""
        self.folder = folder
        self._interpreter = interpreter or sys.executable
        self.notebooks = folder / "notebooks"
        self.notebooks.mkdir()
        self._set("notification", fetchNews="false", checkForUpdates=False)
        extensions = folder / "data" / "labextensions"  # the checkout's, not what may be installed
        extensions.mkdir(parents=True)
        (extensions / "fim-magic").symlink_to(ROOT / "fim_magic" / "labextension")
        self.url = f"http://127.0.0.1:{_free_port()}"
        self._log = (folder / "server.log").open("w")
        self._process = subprocess.Popen(self._command(), env=self._environment(), stdout=self._log, stderr=self._log)
        self._wait()

    @functools.cached_property
    def lab(self):
        """The version of its JupyterLab: major, minor."""
        ask = [self._interpreter, "-c", "import jupyterlab; print(jupyterlab.__version__)"]
        ran = subprocess.run(ask, capture_output=True, text=True, timeout=60, check=True)
        return tuple(int(number) for number in ran.stdout.split(".")[:2])

    def _command(self):
        return [
            *(self._interpreter, "-m", "jupyterlab", "--no-browser", "--allow-root"),
            f"--ServerApp.port={self.url.rpartition(':')[2]}",
            f"--ServerApp.root_dir={self.notebooks}",
            f"--IdentityProvider.token={TOKEN}",
        ]

    def _environment(self):
        own = {f"JUPYTER_{name}_DIR": str(self.folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
        own["JUPYTERLAB_SETTINGS_DIR"] = str(self.folder / "settings")
        own["JUPYTERLAB_WORKSPACES_DIR"] = str(self.folder / "workspaces")
        own["IPYTHONDIR"] = str(self.folder / "ipython")
        if self._interpreter != sys.executable:
            own["JUPYTER_PATH"] = str(self._kernels())  # before anything else: the other environment has its own
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        return {**os.environ, **own, "PYTHONPATH": path}

    def _kernels(self):
        """Make a folder in which the kernel is this interpreter. It needs no JupyterLab, and JupyterLab no fim-magic."""
        folder = self.folder / "path"
        spec = folder / "kernels" / "python3" / "kernel.json"
        spec.parent.mkdir(parents=True)
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
        return folder

    def _wait(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self._process.poll() is None, (self.folder / "server.log").read_text()
            if self._answers():
                return
            time.sleep(0.1)
        pytest.fail("The Jupyter server did not start: " + (self.folder / "server.log").read_text())

    def _answers(self):
        try:
            self.api("status")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def api(self, path, method="GET", data=None):
        request = urllib.request.Request(
            f"{self.url}/api/{path}",
            method=method,
            headers={"Authorization": f"token {TOKEN}"},
            data=None if data is None else json.dumps(data).encode(),
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            body = response.read()
        return json.loads(body) if body else None

    def set_theme(self, name):
        self._set("themes", theme=name)

    def set_windowing(self, mode):
        """Say which cells JupyterLab keeps on the page: "full" takes away those that are out of sight."""
        self._set("tracker", "notebook-extension", windowingMode=mode)

    def set_inline_providers(self, **settings):
        """Say what JupyterLab's inline completer does with providers, by the end of their names."""
        names = {"history": "@jupyterlab/inline-completer:history", "fim_magic": "fim-magic"}
        providers = {
            names[name]: {"timeout": 60_000, "debouncerDelay": 100, **given} for name, given in settings.items()
        }
        self._set("inline-completer", "completer-extension", providers=providers)

    def _set(self, plugin, extension="apputils-extension", **settings):
        folder = self.folder / "settings" / "@jupyterlab" / extension
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{plugin}.jupyterlab-settings").write_text(json.dumps(settings))

    def share_kernel(self, *names):
        """Let notebooks that are opened later have the kernel of the one that is open."""
        (session,) = self.api("sessions")
        for name in names:
            there = {"path": name, "name": name, "type": "notebook", "kernel": {"id": session["kernel"]["id"]}}
            self.api("sessions", "POST", there)

    def shut_kernels_down(self):
        for session in self.api("sessions"):
            with contextlib.suppress(urllib.error.HTTPError):  # another session on its kernel went with it
                self.api(f"sessions/{session['id']}", "DELETE")

    def write(self, name, *sources):
        (self.notebooks / GO_ON).unlink(missing_ok=True)
        notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(notebook, self.notebooks / name)

    def read(self, name):
        return nbformat.read(self.notebooks / name, 4)

    def stop(self):
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("jupyter"), os.environ.get(OTHER_JUPYTER))
    yield running
    running.shut_kernels_down()
    running.stop()


def chromium_path():
    """Debian's Chromium, or None where there is none."""
    return shutil.which("chromium")


@pytest.fixture(scope="session")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    path = chromium_path()
    if path is None:
        # In CI a missing browser is a broken CI, not a reason to test less.
        (pytest.fail if os.environ.get("CI") else pytest.skip)("There is no chromium on the path.")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


class Page:
    """One notebook, open in one front end."""

    def __init__(self, server, browser, front_end, name):
        self.server = server
        self.browser = browser
        self.front_end = front_end
        self.name = name
        self.context = browser.new_context(viewport={"width": 1200, "height": 900})
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.context.set_default_timeout(20_000)
        self.page = self.context.new_page()
        self.open()

    def open(self):
        self.load()
        self._wait_for_kernel()

    def load(self):
        """Load the page, also while its kernel computes."""
        reset = "&reset" if self.front_end == "lab" else ""
        path = FRONT_ENDS[self.front_end]
        self.page.goto(f"{self.server.url}/{path}/{self.name}?token={TOKEN}{reset}")
        self.cells.first.locator(".cm-content").wait_for(timeout=60_000)

    def another_tab(self):
        """Open the same notebook, with the same kernel, once more."""
        return Page(self.server, self.browser, self.front_end, self.name)

    def _wait_for_kernel(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            sessions = [session for session in self.server.api("sessions") if session["path"] == self.name]
            kernels = [session["kernel"] for session in sessions]
            if any(k["connections"] and k["execution_state"] == "idle" for k in kernels):
                return
            self.page.wait_for_timeout(50)
        pytest.fail("The notebook got no kernel.")

    @property
    def cells(self):
        return self.page.locator(".jp-Notebook .jp-Cell")

    @property
    def diff(self):
        return self.page.locator(".fim-view .fim-diff")

    def button(self, name):
        return self.page.get_by_role("button", name=name, exact=True).and_(self.page.locator(".jp-OutputArea button"))

    def candidate(self, number):
        return self.page.get_by_role("radio", name=f"Candidate {number} of")

    @property
    def toolbar(self):
        return self.page.locator(".fim-toolbar")

    @property
    def status(self):
        return self.page.locator(".fim-status")

    @property
    def note(self):
        return self.page.locator(".fim-note")

    def sources(self):
        """The cells as the saved file has them."""
        return [cell.source for cell in self.saved().cells]

    def saved(self):
        """Save the notebook, and read the file back."""
        return self.saved_as(self.name)

    def saved_with_decision(self, index=0):
        """Save until the kernel has heard of the click and added it to a cell's diff: the file, and what it says."""
        for _ in range(20):
            saved = self.saved()
            for output in saved.cells[index].outputs:
                if "decision" in (told := output.metadata.get("fim_magic", {})):
                    return saved, told
            self.page.wait_for_timeout(500)
        pytest.fail("The decision did not come into the file.")

    def saved_as(self, name):
        """Save the notebook of this name, which is the one in sight, and read the file back."""
        path = self.server.notebooks / name
        before = path.stat().st_mtime_ns
        # In the toolbar, Escape rejects.
        self.page.evaluate("() => document.activeElement?.closest('.fim-toolbar') && document.activeElement.blur()")
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("Control+s")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            self.page.wait_for_timeout(50)
            if path.stat().st_mtime_ns != before:
                with contextlib.suppress(nbformat.reader.NotJSONError):  # it is being written
                    return self.server.read(name)
        pytest.fail("The notebook was not saved.")

    def run(self, index=0):
        """Start a cell, which returns before it is done."""
        self.cells.nth(index).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")

    def go_on(self):
        """Let a cell go on that waits for this."""
        (self.server.notebooks / GO_ON).touch()

    def prompt(self, index=0):
        return self.cells.nth(index).locator(".jp-InputPrompt")

    def shown(self, index=0):
        """The text of what is shown below a cell."""
        return self.cells.nth(index).locator(".jp-OutputArea").inner_text().strip()

    def wait_run(self, index=0):
        self.page.wait_for_function(
            "index => /\\[\\d+\\]/.test(document.querySelectorAll('.jp-Notebook .jp-Cell')[index]"
            ".querySelector('.jp-InputPrompt').textContent)",
            arg=index,
            timeout=60_000,
        )

    def run_whole(self, index=0):
        self.run(index)
        self.wait_run(index)

    def active(self):
        return self.page.evaluate(
            "() => [...document.querySelectorAll('.jp-Notebook .jp-Cell')]"
            ".findIndex(cell => cell.classList.contains('jp-mod-active'))"
        )

    def has_focus(self, index):
        return self.page.evaluate(
            "index => document.querySelectorAll('.jp-Notebook .jp-Cell')[index].contains(document.activeElement)",
            index,
        )

    def wait_cells(self, count):
        self.page.wait_for_function(
            "count => document.querySelectorAll('.jp-Notebook .jp-Cell').length === count",
            arg=count,
        )

    def screenshot(self, name, of=None):
        SCREENSHOTS.mkdir(exist_ok=True)
        (of or self.page).screenshot(path=SCREENSHOTS / f"{name}-{self.front_end}.png")

    def close(self):
        self.context.close()


@pytest.fixture(params=list(FRONT_ENDS))
def notebook(request, server, chromium):
    """Open a notebook with the given cells: `page = notebook(source, ...)`."""
    opened = []

    def open_with(*sources, front_end=request.param):
        name = f"{request.node.name.replace('[', '-').strip(']')}.ipynb"
        server.write(name, *sources)
        opened.append(Page(server, chromium, front_end, name))
        return opened[-1]

    yield open_with
    for page in opened:
        page.close()
    server.shut_kernels_down()


@pytest.fixture(scope="module")
def opened(server, chromium):
    """Open a notebook in a front end: its page, and what its console has said."""
    pages = []

    def open_with(front_end, *sources, ghost="key", setup=SETUP):
        name = f"cursor-{len(pages)}.ipynb"
        server.write(name, setup.format(ghost=ghost), *sources)
        page = Page(server, chromium, front_end, name)
        page.errors = []
        page.page.on("console", lambda said: said.type == "error" and page.errors.append(said.text))
        page.page.on("pageerror", lambda error: page.errors.append(str(error)))
        pages.append(page)
        page.run_whole(0)
        return page

    yield open_with
    for page in pages:
        page.close()
    server.shut_kernels_down()
