"""What a checked program did that it must not do, or that was not told."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from traitlets.config import Config

from fim_magic.candidate import Candidate, Check, Ending, Result
from fim_magic.checks import CheckSpec, tried
from fim_magic.columns import columns_of
from fim_magic.document import parse
from fim_magic.errors import OptionError
from fim_magic.history import History
from fim_magic.provenance import record
from fim_magic.reports.log import log
from fim_magic.request import Request
from fim_magic.review.caption import COLUMNS, about, line
from fim_magic.review.checks import list_html, score, verdicts
from fim_magic.sandbox import KERNEL_LAYERS, Limits, Step, run, run_steps
from fim_magic.sandbox.scratch import bytes_in, remove
from fim_magic.settings import Settings

LINUX = sys.platform.startswith("linux")
HAS_LAYERS = run_steps(()).layers
linux = pytest.mark.skipif(not LINUX, reason="the kernel's layers are Linux's")
posix = pytest.mark.skipif(os.name != "posix", reason="modes and links are POSIX's")

WITHOUT_TMPFS = tuple(layer for layer in KERNEL_LAYERS if layer != "tmpfs")


# --- 1. a scratch folder, however it was left ----------------------------------------------------------------------


@pytest.fixture
def fast_path(tmp_path):
    """A folder in memory, where there is one: some disks take milliseconds for each folder."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder, "scratch")
        path.mkdir()
        yield path
        remove(path)


def deep(folder, levels):
    inner = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=inner)
        below = os.open("d", os.O_RDONLY, dir_fd=inner)
        os.close(inner)
        inner = below
    os.close(os.open("file", os.O_CREAT, dir_fd=inner))
    os.close(inner)


def modes(folder):
    for mode in (0o000, 0o100, 0o200, 0o300, 0o400, 0o500):
        inner = folder / f"{mode:o}" / "inner"
        inner.mkdir(parents=True)
        (inner / "file").touch()
        inner.chmod(mode)
        inner.parent.chmod(mode)
    folder.chmod(0)


def names(folder):
    for name in (b"\xff\xfe", "游標\n".encode(), b"-rf", b"%s{0}"):
        os.mkdir(os.fsencode(folder) + b"/" + name)
        os.close(os.open(os.fsencode(folder) + b"/" + name + b"/x" + name, os.O_CREAT))


def links(folder):
    (folder / "loop").symlink_to(folder)
    (folder / "self").symlink_to("self")
    (folder / "outside").symlink_to(folder.parent / "mine")
    (folder / "a").mkdir()
    (folder / "a" / "up").symlink_to("..")
    os.mkfifo(folder / "pipe")


def many(folder):
    for number in range(500):
        (folder / str(number)).touch()


@posix
@pytest.mark.parametrize(
    "leave",
    [lambda folder: deep(folder, 1500), modes, names, links, many],
    ids=["1500 deep", "modes", "names", "links", "many"],
)
def test_a_folder_is_removed_however_it_was_left(fast_path, leave):
    tmp_path = fast_path
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "text").write_text("mine")
    folder = tmp_path / "scratch"
    folder.mkdir()
    leave(folder)
    assert remove(folder)
    assert not folder.exists()
    assert (tmp_path / "mine" / "text").read_text() == "mine"


@posix
def test_removal_ends_in_time_and_says_what_stays(tmp_path, caplog):
    folder = tmp_path / "scratch"
    folder.mkdir()
    many(folder)
    with caplog.at_level(logging.WARNING, "fim_magic"):
        assert not remove(folder, seconds=0.0)
        assert not remove(tmp_path / "never there")
    assert [str(folder) in text for text in caplog.messages] == [True, False]
    assert remove(folder)


@linux
def test_a_folder_that_cannot_be_looked_into_counts_as_full(tmp_path):
    (tmp_path / "hidden").mkdir(mode=0o300)
    # root looks into every folder, so that it gives up its powers first
    program = f"""
import ctypes, pathlib, struct
from fim_magic.sandbox.scratch import bytes_in
ctypes.CDLL(None).capset(struct.pack("Ii", 0x20080522, 0), bytes(24))
print(bytes_in(pathlib.Path({str(tmp_path)!r}), 0, 1 << 30) > 1 << 30)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout == "True\n"


DEEP = "import os\nfor n in range(1500):\n    os.mkdir('d')\n    os.chdir('d')\n"


def test_a_deep_candidate_is_judged_like_any_other():
    (check,) = tried(f"{DEEP}\ndef f(): return 1", CheckSpec(("f() == 1",)))
    assert check.passed, check


@posix
def test_a_deep_folder_is_measured(fast_path):
    deep(fast_path, 1500)
    assert 1500 * 16384 <= bytes_in(fast_path, 0, 1 << 30) < 1 << 30
    assert bytes_in(fast_path, 0, 1 << 20) > 1 << 20


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EAGAIN, "busy")])
def test_a_sandbox_that_does_not_start_is_no_error_of_the_request(error, monkeypatch):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr("tempfile.mkdtemp", refuse)  # no machine can be brought to this
    (check,) = tried("x = 1", CheckSpec(("x == 1",)))
    assert (check.passed, check.detail) == (None, f"the sandbox did not start: {error.strerror}")


# --- 2. what can be written ----------------------------------------------------------------------------------------

HIDES = {
    "mode 0300": "os.mkdir('d', 0o300)\nfor n in range(160): open(f'd/{n}', 'wb').write(block)",
    "umask": "os.umask(0o477)\nos.mkdir('d')\nfor n in range(160): open(f'd/{n}', 'wb').write(block)",
    # By the C library: Python's own sendmsg is refused by the audit hook as well.
    "socketpair": """
import ctypes, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
ours, theirs = socket.socketpair()
for n in range(100):  # no more than the descriptors that it may have
    with open('x', 'wb') as stream:
        stream.write(block)
        stream.flush()
        os.remove('x')
        text = ctypes.create_string_buffer(b'x')
        vector = ctypes.create_string_buffer(struct.pack('PN', ctypes.addressof(text), 1))
        rights = ctypes.create_string_buffer(struct.pack('Niii4x', 20, socket.SOL_SOCKET, socket.SCM_RIGHTS, stream.fileno()))
        header = struct.pack('PI4xPNPNi4x', 0, 0, ctypes.addressof(vector), 1, ctypes.addressof(rights), 24, 0)
        if libc.sendmsg(ours.fileno(), header, 0) != 1:
            raise OSError(ctypes.get_errno(), 'sendmsg')
""",
    # By the C library: Python's own mmap keeps the descriptor.
    "mapped": """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
for n in range(160):
    with open('x', 'w+b') as stream:
        stream.write(block)
        stream.flush()
        os.remove('x')
        libc.mmap(None, 4096, 1, 1, stream.fileno(), 0)
""",
    "below a long path": "for n in range(40):\n    os.mkdir('d' * 200)\n    os.chdir('d' * 200)\n"
    "for n in range(160): open(str(n), 'wb').write(block)",
    "allocated": "for n in range(160):\n    fd = os.open(str(n), os.O_CREAT | os.O_RDWR)\n"
    "    os.posix_fallocate(fd, 0, 1 << 20)\n    os.close(fd)",
    "folders": "n = 0\nwhile True:\n    os.mkdir(str(n))\n    n += 1",
    "links": "open('x', 'w').close()\nn = 0\nwhile True:\n    os.link('x', str(n))\n    n += 1",
}


@linux
@pytest.mark.parametrize("layers", [KERNEL_LAYERS, WITHOUT_TMPFS], ids=["all layers", "no tmpfs"])
@pytest.mark.parametrize("hides", HIDES)
def test_what_is_hidden_counts_nevertheless(hides, layers):
    program = f"import os, time\nblock = bytes(1 << 18)\n{HIDES[hides]}\ntime.sleep(600)"
    limits = Limits(seconds=5, disk=2 << 20, output=1 << 20)
    outcome = run_steps([Step("cell", program, "<program>", vital=True)], limits=limits, layers=layers).outcome
    assert not outcome.ok
    assert outcome.why == ("failed" if hides == "socketpair" else "wrote too much"), outcome


@linux
@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no folder in memory to write to")
def test_memory_that_is_a_file_counts_where_nothing_counts_writing(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/dev/shm")  # as /tmp is on some systems
    program = """
import ctypes, os, time
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
size = 1 << 20
for n in range(20):
    fd = os.open("x", os.O_CREAT | os.O_RDWR)
    os.ftruncate(fd, size)
    place = libc.mmap(None, size, 3, 1, fd, 0)
    ctypes.memset(place, 1, size)
    libc.munmap(place + 4096, size - 4096)
    os.close(fd)
    os.remove("x")
time.sleep(600)
"""
    limits = Limits(seconds=5, disk=8 << 20, file_size=1 << 20)
    report = run_steps([Step("cell", program, "<program>", vital=True)], limits=limits, layers=WITHOUT_TMPFS)
    assert report.outcome.why == "wrote too much"


@pytest.mark.skipif("tmpfs" not in HAS_LAYERS, reason="this machine gives no file system of its own")
def test_no_more_is_written_than_there_is_room_for():
    program = """
import os
written = 0
for n in range(1000):
    try:
        with open(str(n), "wb", buffering=0) as stream:
            written += stream.write(bytes(1 << 20))
    except OSError:
        break
assert (4 << 20) - (1 << 16) <= written <= 4 << 20, written
"""
    assert run(program, limits=Limits(disk=4 << 20)).ok


# --- 3. what is not confined is said to be so ----------------------------------------------------------------------

MEAN = "def mean(xs):\n    return sum(xs) / len(xs)\n"
PASSES = CheckSpec(("mean([1, 3]) == 2",))
MISSING = {
    "no landlock": ("capabilities", "seccomp"),
    "no seccomp": ("capabilities", "landlock"),
    "neither": (),
    "only tmpfs": ("tmpfs",),
}


@pytest.mark.parametrize("layers", MISSING.values(), ids=MISSING)
def test_a_check_that_was_not_confined_says_so(layers):
    (check,) = tried(MEAN, PASSES, layers=layers)
    assert (check.passed, check.confined) == (True, False)
    assert score([check]) == "1 of 1 passed, not confined"
    assert [*verdicts([check])] == ["passed: mean([1, 3]) == 2 (not confined)"]
    assert "not confined" in list_html([check])
    assert "not confined" in about(Candidate("x", Ending.STOP_TOKEN, checks=(check,)))


@pytest.mark.parametrize("layers", MISSING.values(), ids=MISSING)
def test_nothing_runs_unconfined_where_that_is_refused(layers, tmp_path):
    tmp_path.chmod(0o777)
    cell = f"{MEAN}\nprint('ran')\n"
    (check,) = tried(cell, replace(PASSES, confined_only=True), layers=layers)
    assert (check.passed, check.detail) == (None, "not run, as this system cannot confine it")
    report = run_steps([Step("cell", "print('ran')", "<a>")], layers=layers, confined_only=True)
    assert (report.results, report.outcome.output) == ((), "")


@pytest.mark.skipif(not {"seccomp"} <= set(HAS_LAYERS), reason="nothing confines programs here")
def test_where_all_holds_nothing_is_said():
    if not any(layer.startswith("landlock") for layer in HAS_LAYERS):
        pytest.skip("this kernel has no Landlock switched on")
    (check,) = tried(MEAN, replace(PASSES, confined_only=True))
    assert (check.passed, check.confined, score([check])) == (True, True, "1 of 1 passed")


def test_the_setting_refuses(monkeypatch):
    def confined_only(settings):
        return settings.request("<cursor>", check="x")[1].check_spec.confined_only

    assert not confined_only(Settings())
    assert confined_only(Settings(unconfined_checks="refuse"))
    assert confined_only(Settings(config=Config({"Settings": {"unconfined_checks": "refuse"}})))
    monkeypatch.setenv("FIM_MAGIC_UNCONFINED_CHECKS", "refuse")
    assert confined_only(Settings())
    monkeypatch.setenv("FIM_MAGIC_UNCONFINED_CHECKS", "never")  # a slip must not become "run"
    with pytest.raises(OptionError, match="FIM_MAGIC_UNCONFINED_CHECKS"):
        confined_only(Settings())


@pytest.mark.parametrize("model", ["tiny", "a/model/with/a/very/long/name-" * 3])
@pytest.mark.parametrize(
    "checks",
    [
        [Check("mean([1]) == 1", True)],
        [Check("mean([1]) == 1", False, "mean([1]) == 1 gave False" * 9)],
        [Check("doctests", None, "an earlier cell does not run here: " + "x" * 90), Check("parses", False, "x" * 90)],
    ],
    ids=["passed", "failed", "not known"],
)
def test_it_is_said_in_every_line(checks, model):
    candidate = Candidate("x", Ending.LENGTH, checks=tuple(replace(check, confined=False) for check in checks))
    result = Result(
        parse("a = <cursor>\n"), (candidate,) * 12, model, "0123456789abcdef", "fim", "psm", 9, 5, 5, None, 0.1, 123.4
    )
    said = line(result)
    assert "checks not confined" in said
    assert columns_of(said) <= COLUMNS
    assert "checks not confined" in line(result, whole=True)
    recorded = record(result)
    assert [check["confined"] for check in recorded["candidates"][0]["checks"]] == [False] * len(checks)
    history = History()
    history.add(Request(result.document), "tiny", {}, result, recorded)
    assert "not confined" in log(history.entries, columns=200)
