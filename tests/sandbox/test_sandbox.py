from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import socket
import sys
import textwrap
from pathlib import Path

import pytest

from fim_magic.sandbox import Limits, Step, protections, run, run_steps

LINUX = sys.platform.startswith("linux") and platform.machine() in {"x86_64", "aarch64"}
LANDLOCK = LINUX and ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) > 0
kernel = pytest.mark.skipif(not LINUX, reason="seccomp is Linux's")
landlock = pytest.mark.skipif(not LANDLOCK, reason="this kernel has no Landlock switched on")

# What a program needs to call the kernel past every audit hook.
LIBC = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def refused(result):
    assert result == -1, result
    # The last two from another file system.
    refusals = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EROFS, errno.EXDEV)
    assert ctypes.get_errno() in refusals, errno.errorcode[ctypes.get_errno()]
"""


def holds(program, **limits):
    outcome = run(LIBC + textwrap.dedent(program), limits=Limits(**limits))
    assert outcome.ok, outcome


def hook_only(program):
    step = Step("cell", textwrap.dedent(program), "<program>", vital=True)
    report = run_steps([step], layers=())
    assert not {layer.split()[0] for layer in report.layers} & {"landlock", "seccomp"}
    return report.outcome


@pytest.mark.parametrize(
    "program",
    [
        "print('游標', {'braces': 1}, '%s')",
        "import pathlib; assert not list(pathlib.Path('.').iterdir())",
        "open('here', 'w').write('x'); assert open('here').read() == 'x'",
        "import tempfile; tempfile.TemporaryFile().write(b'x')",
        "import asyncio; await asyncio.sleep(0)",
        "import threading; t = threading.Thread(target=print); t.start(); t.join()",
        "import dataclasses, pickle\n@dataclasses.dataclass\nclass A: x: int\nassert pickle.loads(pickle.dumps(A(1))) == A(1)",
        "import inspect\ndef f(): pass\nassert inspect.getsource(f) == 'def f(): pass\\n'",
        "assert __name__ == '__main__'",
        "import sys; assert sys.stdin.read() == ''",
    ],
)
def test_what_programs_usually_do_is_fine(program):
    outcome = run(program)
    assert (outcome.ok, outcome.why) == (True, "passed"), outcome


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("assert False", "failed"),
        ("not python", "failed"),
        ("x = '\0'", "failed"),
        ("(" * 5000, "failed"),
        ("def f(): f()\nf()", "failed"),
        ("raise SystemExit(0)", "failed"),
        ("import sys; sys.exit(0)", "failed"),
        ("raise KeyboardInterrupt", "failed"),
        ("exit()", "failed"),
        ("import os; os._exit(0)", "ended early"),
        ("import os; print('passed'); os.closerange(0, 1000)", "ended early"),
        ("class E(Exception):\n    def __str__(self): raise self\nraise E", "failed"),
        ("import ctypes; ctypes.string_at(0)", "killed"),
    ],
)
def test_who_does_not_come_to_the_end_has_not_passed(program, why):
    outcome = run(program)
    assert (outcome.ok, outcome.why) == (False, why), outcome


def test_an_endless_loop_and_a_sleeper_are_ended():
    assert run("while True: pass", limits=Limits(seconds=1)).why == "timed out"
    assert run("import time; time.sleep(600)", limits=Limits(seconds=0.5)).why == "timed out"
    assert not run(
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass", limits=Limits(seconds=1)
    ).ok


@kernel
def test_a_signal_handler_does_not_outlive_the_limit_of_processor_time():
    program = "import signal\nsignal.signal(signal.SIGXCPU, lambda *_: None)\nwhile True: pass"
    assert not run(program, limits=Limits(seconds=1)).ok


@kernel
def test_memory_is_bounded():
    assert run("x = bytearray(10 << 30)").why == "out of memory"
    assert run("x = []\nwhile True: x.append(bytearray(1 << 20))").why == "out of memory"
    holds("libc.malloc.restype = ctypes.c_void_p\nassert not libc.malloc(ctypes.c_size_t(10 << 30))")
    holds("refused(libc.memfd_create(b'm', 0))")


@kernel
def test_limits_cannot_be_raised():
    holds("""
        import resource
        limit = (ctypes.c_uint64 * 2)(1 << 40, 1 << 40)
        refused(libc.setrlimit(resource.RLIMIT_AS, limit))
        refused(libc.prlimit(0, resource.RLIMIT_AS, limit, None))
        refused(libc.prlimit(os.getppid(), resource.RLIMIT_AS, None, limit))
        assert resource.getrlimit(resource.RLIMIT_AS)[0] == 1 << 30
    """)


@kernel
def test_no_process_can_be_started():
    holds("""
        import platform
        refused(libc.fork())
        refused(libc.syscall({"x86_64": 56, "aarch64": 220}[platform.machine()], 17, 0, 0, 0, 0))  # clone, SIGCHLD
        refused(libc.syscall(435, (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17), 88))  # clone3
        refused(libc.execv(b"/bin/true", (ctypes.c_char_p * 2)(b"true", None)))
        for start in (os.fork, lambda: os.system("true"), lambda: os.posix_spawn("/bin/true", ["true"], {})):
            try:
                start()
            except PermissionError:
                continue
            assert False, start
    """)


@kernel
def test_a_fork_bomb_only_burns_its_own_time():
    program = "import ctypes\nlibc = ctypes.CDLL(None)\nwhile True:\n    libc.fork()"
    assert run(program, limits=Limits(seconds=1)).why == "timed out"


@kernel
def test_threads_are_bounded():
    program = """
import threading, time
threading.stack_size(64 << 10)
while True:
    threading.Thread(target=time.sleep, args=(600,)).start()
    time.sleep(0.001)
"""
    assert run(program, limits=Limits(threads=16)).why == "too many threads"


@landlock
def test_the_users_files_cannot_be_read(tmp_path, monkeypatch):
    secret = tmp_path / "secret"
    secret.write_text("mine")
    secret.chmod(0o644)
    with contextlib.suppress(OSError):  # not every file system has such attributes
        os.setxattr(secret, "user.from", b"mine")
    monkeypatch.chdir(tmp_path)
    places = [str(secret), "/etc/passwd", "/etc/shadow", "/proc/1/environ", f"/proc/{os.getpid()}/environ"]
    places += ["/proc/self/mem", str(Path(__file__))]
    holds(f"""
        for place in {places!r}:
            found = libc.open(place.encode(), 0)
            if not (found == -1 and place.startswith("/proc/") and ctypes.get_errno() == errno.ENOENT):  # it may be hidden
                refused(found)
            try:
                open(place)
            except OSError:
                continue
            assert False, place
        for folder in ({str(tmp_path)!r}, {str(Path.home())!r}, "/", "/etc", "/proc", "/tmp"):
            refused(libc.open(folder.encode(), os.O_DIRECTORY))
        text, path = ctypes.create_string_buffer(99), {str(secret)!r}.encode()
        for size in (libc.getxattr(path, b"user.from", text, 99), libc.listxattr(path, text, 99)):
            assert size == -1, text.value
        os.symlink({str(secret)!r}, "link")
        refused(libc.open(b"link", 0))
        os.chdir({str(tmp_path)!r})
        refused(libc.open(b"secret", 0))
    """)


@landlock
def test_nothing_is_written_outside_the_scratch_folder(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    mine.chmod(0o666)
    tmp_path.chmod(0o777)
    before = mine.stat()
    holds(f"""
        path = {str(mine)!r}.encode()
        refused(libc.open(path, os.O_WRONLY))
        refused(libc.open(path + b"2", os.O_WRONLY | os.O_CREAT, 0o600))
        refused(libc.truncate(path, ctypes.c_long(0)))
        refused(libc.unlink(path))
        refused(libc.mkdir(path + b"3", 0o700))
        refused(libc.rename(path, path + b"4"))
        refused(libc.chmod(path, 0))
        refused(libc.chown(path, 1, 1))
        refused(libc.utimes(path, None))
        refused(libc.setxattr(path, b"user.x", b"x", ctypes.c_size_t(1), 0))
        open("own", "w").close()
        assert libc.link(path, b"own2") == -1
        refused(libc.rename(b"own", path))
        refused(libc.mknod(b"disk", 0o60600, ctypes.c_ulong(0x0800)))
        refused(libc.open(b"/dev/shm/x", os.O_WRONLY | os.O_CREAT, 0o600))
    """)
    assert mine.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert (mine.stat().st_mode, mine.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


def test_the_disk_is_not_filled():
    assert not run("open('big', 'wb').write(bytes(4 << 20))", limits=Limits(file_size=1 << 20)).ok
    many = "n = 0\nwhile True:\n    n += 1\n    open(str(n), 'wb').write(bytes(1 << 20))"
    assert run(many, limits=Limits(disk=8 << 20)).why == "wrote too much"
    tiny = "import os\nn = 0\nwhile True:\n    n += 1\n    os.mkdir(str(n))"
    assert run(tiny, limits=Limits(disk=1 << 20)).why == "wrote too much"


@kernel
def test_deleted_files_count_while_they_are_open():
    program = """
import os, time
kept = []
for n in range(8):
    kept.append(open("x", "wb", buffering=0))
    os.remove("x")
    kept[-1].write(bytes(1 << 20))
time.sleep(600)
"""
    assert run(program, limits=Limits(disk=4 << 20)).why == "wrote too much"


def test_what_it_prints_fills_no_memory():
    outcome = run("while True: print('x' * 10000)", limits=Limits(output=1 << 20))
    assert outcome.why == "printed too much"
    assert len(outcome.output) <= 4096
    assert run("import os\nos.write(2, b'x' * (1 << 20))\nprint('end')").output.endswith("end\n")


@kernel
def test_there_is_no_network():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        holds(f"""
            import socket
            for family in (1, 2, 10, 16):  # unix, IPv4, IPv6, netlink
                for kind in (1, 2, 3):
                    refused(libc.socket(family, kind, 0))
            refused(libc.socketpair(1, 2, 0, (ctypes.c_int * 2)()))  # datagrams go to any address
            refused(libc.socketpair(30, 1, 0, (ctypes.c_int * 2)()))  # another family
            ours, theirs = socket.socketpair()
            for request in (0x8901, 0x8912, 0x8927, 0x89FF):  # a signal's owner, addresses, the network card's number
                refused(libc.ioctl(ours.fileno(), request, bytes(64)))
            refused(libc.setsockopt(ours.fileno(), 1, 7, bytes(4), 4))  # SO_SNDBUF: memory that no limit counts
            ours.sendall(b"x")
            assert libc.ioctl(theirs.fileno(), 0x541B, ctypes.byref(ctypes.c_int())) == 0  # how much waits
            for connect in (
                lambda: socket.create_connection(("127.0.0.1", {port})),
                lambda: socket.getaddrinfo("localhost", 80),
                lambda: socket.socket(socket.AF_UNIX),
            ):
                try:
                    connect()
                except PermissionError:
                    continue
                assert False, connect
        """)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


@kernel
def test_others_get_no_signal():
    holds("""
        parent = os.getppid()
        for pid in (parent, 0, -1, 1, -parent):
            refused(libc.kill(pid, 9))
        refused(libc.syscall({"x86_64": 234, "aarch64": 131}[os.uname().machine], parent, parent, 9))  # tgkill
        refused(libc.syscall({"x86_64": 200, "aarch64": 130}[os.uname().machine], parent, 9))  # tkill
        refused(libc.syscall(434, parent, 0))  # pidfd_open
        refused(libc.ptrace(16, parent, None, None))
        reader, writer = os.pipe()
        refused(libc.fcntl(reader, 8, parent))  # F_SETOWN
        refused(libc.syscall({"x86_64": 310, "aarch64": 270}[os.uname().machine], parent, None, 0, None, 0, 0))
        refused(libc.setpriority(0, parent, 19))
        refused(libc.setsid())
        refused(libc.fcntl(os.open(os.__file__, os.O_RDONLY), 1024, 0))  # F_SETLEASE holds up who opens the file
        refused(libc.fcntl(os.open("/usr", os.O_RDONLY), 1026, 1))  # F_NOTIFY tells what others do in a folder
        refused(libc.fcntl(writer, 1031, 1 << 20))  # F_SETPIPE_SZ: all of a user's processes share what pipes may hold
        assert libc.kill(os.getpid(), 0) == 0
    """)


@kernel
def test_it_cannot_leave_those_who_watch_it():
    holds("""
        import resource
        for option in (1, 4, 35, 36, 0x59616D61):  # PR_SET_PDEATHSIG, _DUMPABLE, _MM, _CHILD_SUBREAPER, _PTRACER
            refused(libc.prctl(option, 0, 0, 0, 0))
        assert libc.prctl(3, 0, 0, 0, 0) == 1  # PR_GET_DUMPABLE
        assert libc.prctl(15, b"a name", 0, 0, 0) == 0  # PR_SET_NAME
        refused(libc.syscall(436, 1000, 2000, 2))  # close_range: a table of files of its own
        assert libc.syscall(436, 1000, 2000, 0) == 0
        thread = 0x10000 | 0x800 | 0x100  # CLONE_THREAD, CLONE_SIGHAND and CLONE_VM without CLONE_FILES
        refused(libc.syscall({"x86_64": 56, "aarch64": 220}[os.uname().machine], thread, 0, 0, 0, 0))
        for call in (444, 445, 446):  # Landlock's rules keep files that are deleted
            refused(libc.syscall(call, None, 0, 0, 0))
        context = ctypes.byref(ctypes.c_ulong())
        refused(libc.syscall({"x86_64": 206, "aarch64": 0}[os.uname().machine], 1, context))  # io_setup
        refused(libc.syscall({"x86_64": 222, "aarch64": 107}[os.uname().machine], 1, None, context))  # timer_create
        assert resource.getrlimit(resource.RLIMIT_CORE)[0] <= 1
    """)


@kernel
def test_what_changes_the_machine_is_refused():
    holds("""
        refused(libc.mount(b"none", b".", b"tmpfs", 0, None))
        refused(libc.unshare(0x10000000))
        refused(libc.sethostname(b"x", 1))
        refused(libc.syscall(425, 1, None))  # io_uring_setup
        refused(libc.syscall({"x86_64": 162, "aarch64": 81}[os.uname().machine]))  # sync
        os.sync()  # says nothing of it
        refused(libc.syscall(500))  # one that does not exist yet
    """)


def test_nothing_is_inherited(monkeypatch, tmp_path):
    monkeypatch.setenv("SECRET_TOKEN", "mine")
    with (tmp_path / "open").open("w") as stream:
        os.set_inheritable(stream.fileno(), True)
        outcome = run(f"""
import os
assert "SECRET_TOKEN" not in os.environ
assert os.environ.get("HOME") != {os.environ.get("HOME")!r}
try:
    os.write({stream.fileno()}, b"forged")
except OSError:
    pass
""")
    assert outcome.ok, outcome
    assert not (tmp_path / "open").read_text()


@kernel
def test_files_can_be_copied_with_their_modes_where_no_others_can_be_changed():
    program = """
import getpass, os, shutil
assert getpass.getuser()
os.makedirs("a/b")
open("a/b/text", "w").close()
os.chmod("a/b/text", 0o640)
os.utime("a/b/text", (1, 1))
shutil.copytree("a", "c")
status = os.stat("c/b/text")
assert (status.st_mode & 0o777, status.st_mtime) == (0o640, 1), status
# Nor may it by what was opened before: by standard input, /dev/null, and by the interpreter.
for change in (
    lambda: os.chmod("/dev/null", 0o666),
    lambda: os.fchmod(0, 0o666),
    lambda: os.utime(os.__file__),
    lambda: os.utime("/proc/self/exe"),
    lambda: os.utime("/proc/thread-self/exe"),
    lambda: os.utime(f"/proc/{os.getpid()}/exe"),
):
    try:
        change()
    except OSError:
        continue
    assert False, change
"""
    report = run_steps([Step("cell", program, "<program>", vital=True)])
    if "tmpfs" in report.layers:
        assert report.outcome.ok, report
    else:
        assert "PermissionError" in report.outcome.output


@pytest.mark.parametrize("module", ["numpy", "matplotlib.pyplot", "torch"])
def test_packages_can_be_imported(module):
    uses = {
        "numpy": "assert m.linalg.inv(m.eye(3)).sum() == 3",
        "matplotlib.pyplot": "m.plot([1, 2]); m.savefig('a.png')",
        "torch": "assert (m.ones(64, 64) @ m.ones(64, 64)).sum() == 64 ** 3",
    }
    outcome = run(f"import {module} as m\n{uses[module]}", limits=Limits(seconds=60, memory=8 << 30))
    assert outcome.ok, outcome


@pytest.mark.parametrize(
    "program",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import subprocess, sys; subprocess.run([sys.executable, '-c', ''])",
        "import os; os.system('true')",
        "import os; os.kill(os.getppid(), 0)",
        "open('/etc/passwd')",
        "import os; os.listdir('/')",
        "import os; os.open('../../x', os.O_CREAT | os.O_WRONLY)",
        "import os; os.mkdir('../../x')",
        "import os; open('x', 'w').close(); os.rename('x', '../../x')",
    ],
)
def test_the_audit_hook_alone_refuses_what_python_does(program):
    outcome = hook_only(program)
    assert not outcome.ok
    assert "PermissionError: not in the sandbox" in outcome.output


def test_the_audit_hook_alone_lets_programs_work():
    program = (
        "import decimal, tempfile\nopen('x', 'w').write('y')\nassert open('x').read() == 'y'\ntempfile.TemporaryFile()"
    )
    assert hook_only(program).ok


@kernel
def test_grandchildren_are_ended_without_seccomp_too(tmp_path):
    program = """
import ctypes, time
pid = ctypes.CDLL(None).fork()
if pid == 0:
    time.sleep(600)
print(pid)
"""
    outcome = hook_only(program)
    assert outcome.ok, outcome
    pid = int(outcome.output)
    # It is dead: gone, or a zombie where nobody collects orphans.
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        state = "X"
    assert state in "XZ"


@pytest.mark.parametrize(
    "program",
    [
        "import builtins\nfor n in ('exec', 'eval', 'bool', 'isinstance', 'type'): setattr(builtins, n, lambda *a, **k: 1)",
        "import os\nos.write = os.read = lambda *a: 1 << 20",
        "import json, sys\nsys.modules.clear()",
        "__builtins__ = {}",
        "import sys\nsys.stdout = sys.stderr = None",
        "import os, time\nos.environ.clear()\ntime.time = None",
    ],
)
def test_breaking_python_makes_nothing_pass(program):
    steps = [Step("cell", program, "<a>"), Step("expression", "1 == 2", "<b>"), Step("cell", "assert 0", "<c>")]
    report = run_steps(steps)
    assert not report.outcome.ok
    assert not any(step.ok for step in report.results[1:])


def test_a_token_is_nowhere_in_the_frames_or_objects_of_a_program():
    program = """
import gc, re, sys
frame, seen = sys._getframe(), []
while frame:
    seen += [repr(frame.f_locals), repr(frame.f_globals)]
    frame = frame.f_back
seen += [str(thing) for thing in gc.get_objects() if type(thing) in (dict, list, tuple)]
own = {t for s in seen for t in re.findall(r"\\b[0-9a-f]{32}\\b", s)}
print(own)
assert not own
"""
    outcome = run(program)
    assert outcome.ok, outcome


def test_a_forged_line_without_the_token_is_none():
    program = "import os\nfor fd in range(64):\n    try: os.write(fd, b'0' * 32 + b'+\\n')\n    except OSError: pass\nassert 0"
    assert not run(program).ok


def test_steps_share_a_namespace_and_a_vital_one_ends_the_run():
    steps = [
        Step("cell", "x = 2", "<a>", vital=True),
        Step("expression", "x == 3", "<b>"),
        Step("examples", "", "<c>", ("x + 1\n", "x = 5\n", "1 / 0\n")),
        Step("expression", "x == 2", "<d>"),
        Step("cell", "assert x == 3", "<e>", vital=True),
        Step("cell", "pass", "<f>"),
    ]
    done = run_steps(steps).results
    assert [step.ok for step in done] == [True, False, True, True, False]
    assert done[1].texts == ("gave False",)
    assert done[2].texts == ("=3\n", "=", "!ZeroDivisionError: division by zero")
    assert done[4].texts == ("AssertionError: assert x == 3",)


def test_an_assertion_is_found_below_what_ends_no_line_of_python():
    report = run_steps([Step("cell", "x = 'a\fb\u2028'\r\nassert x == 3\n", "<a>")])
    assert report.results[0].texts == ("AssertionError: assert x == 3",)


def test_protections_say_what_holds():
    said = "\n".join(protections())
    assert ("Landlock" in said) is LANDLOCK
    assert ("seccomp" in said) is LINUX
