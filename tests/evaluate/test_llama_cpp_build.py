"""A llama-server of the user's own: what it is, how it is asked, and how it ends."""

from __future__ import annotations

import sys
from dataclasses import replace

import psutil
import pytest
from gguf_files import write_gguf

from fim_magic import cli
from fim_magic.errors import ModelError, OptionError
from fim_magic.evaluate.speed import bench, fresh, llama_cpp_build, machine, subject
from fim_magic.evaluate.speed.arms import LLAMA_CPP, LlamaCppArm
from fim_magic.evaluate.speed.llama_cpp_build import LlamaCppBuild
from fim_magic.evaluate.speed.measure import Record
from fim_magic.evaluate.speed.report import SpeedReport
from fim_magic.evaluate.speed.workloads import Workload

INFILL = Workload("infill", "infill 1", tuple(range(20)), 6)

_PROGRAM = r"""#!{python}
import http.server, json, os, sys

words = sys.argv[1:]
if "--version" in words:
    print("version: 1.2.3 (build 7, commit abc)")
    sys.exit()
print("system_info: n_threads = 2 / 2 | CPU : SSE3 = 1 | AVX2 = 1 | AVX512 = 0 | LLAMAFILE = 1 | ", flush=True)
option = dict(zip(words[::2], words[1::2]))
if "verbosity" in words or not os.path.exists(option["--model"]):
    print("no such model \x1b[31m")
    sys.exit(3)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body["n_predict"] == 13:
            os.abort()
        if self.headers["Authorization"] != "Bearer " + os.environ["LLAMA_API_KEY"] or "LLAMA_ARG_CTX_SIZE" in os.environ:
            self.send_response(401)
            self.end_headers()
            self.wfile.write(b"no")
            return
        self.send_response(200)
        self.end_headers()
        events = [dict(content="x", stop=False)] * body["n_predict"]
        last = dict(content="", stop=True, asked=body, timings=dict(prompt_ms=0.25, predicted_ms=0.5))
        for event in [*events, last]:
            self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")

    def log_message(self, *_):
        pass


assert option["--host"] == "127.0.0.1" and option["--n-gpu-layers"] == "0"
http.server.HTTPServer(("127.0.0.1", int(option["--port"])), Handler).serve_forever()
"""


@pytest.fixture
def built(tmp_path):
    """A folder as llama.cpp's cmake leaves it, with a program that takes and answers what llama-server does."""
    program = tmp_path / "build" / "bin" / "llama-server"
    program.parent.mkdir(parents=True)
    (program.parent / "libllama.so").touch()
    program.write_text(_PROGRAM.replace("{python}", sys.executable), "utf-8")
    program.chmod(0o700)
    return program


@pytest.mark.parametrize("place", ["", "build", "build/bin", "build/bin/llama-server", "build/bin/libllama.so"])
def test_a_build_is_found_and_says_what_it_is(built, tmp_path, place):
    found = llama_cpp_build.build_at(tmp_path / place)
    assert found == LlamaCppBuild(
        "llama-server 1.2.3 (build 7, commit abc)", ("SSE3", "AVX2", "LLAMAFILE"), built.resolve()
    )
    assert found.lacking(["avx2", "avx512f", "fma"]) == ["AVX512"]
    assert "compiled with SSE3 AVX2 LLAMAFILE; without AVX512, which the processor has" in found.describe(["avx512f"])
    assert "which the processor has" not in found.describe(["avx2"])


def test_of_a_build_that_does_not_tell_nothing_is_lacking():
    found = LlamaCppBuild("llama-server 1", ())
    assert found.lacking(["avx512f"]) == []
    assert found.describe(["avx512f"]) == "llama-server 1, which does not tell what it was compiled with"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "There is no file or folder"),
        (lambda path: path.mkdir(), "There is no llama-server"),
        (lambda path: (path.mkdir(), (path / "libllama.so.0").touch()), "A library alone is not loaded"),
        (lambda path: path.write_text("no program"), "cannot be run"),
        (lambda path: (path.write_text("#!/bin/sh\necho hello\n"), path.chmod(0o700)), "does not tell its version"),
    ],
    ids=["missing", "empty folder", "library alone", "no program", "another program"],
)
def test_what_is_no_build_is_refused_with_what_to_type(tmp_path, make, said):
    make(tmp_path / "build")
    with pytest.raises(OptionError, match=said) as refused:
        llama_cpp_build.build_at(tmp_path / "build")
    assert "cmake" in str(refused.value)
    assert "fim-magic bench --llama-cpp build" in str(refused.value)


def test_the_installed_build_says_what_it_is():
    found = llama_cpp_build.installed_build()
    assert found.program is None
    assert found.version.startswith("xllamacpp 20")
    assert found.compiled_with


def is_running(process: int) -> bool:
    return psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE


def test_a_llama_server_is_asked_over_http_and_ends_with_the_arm(built, tmp_path, monkeypatch):
    monkeypatch.setenv("LLAMA_ARG_CTX_SIZE", "7")  # of the user's, for other programs
    write_gguf(tmp_path / "model.gguf", exact=True)
    arm = LlamaCppArm(tmp_path / "model.gguf", context=100, threads=1, program=built)
    (server,) = psutil.Process(arm._process.pid).children()
    for count in (1, 2):
        answer = arm.ask(INFILL.prompt, INFILL)
        assert answer.ids == []
        assert len(answer.times) == INFILL.new_tokens
        assert answer.times == sorted(answer.times)
        assert 0 < answer.times[0] <= answer.times[-1] <= answer.seconds
        assert len(arm.beside) == count
        assert arm.beside[-1] == pytest.approx(answer.seconds - 0.00075)
    assert bench._beside([arm])[0].startswith("llama.cpp is asked over HTTP here.")
    process = arm._process
    del arm
    assert process.wait(timeout=60) != 0
    psutil.wait_procs([server], timeout=60)
    assert not is_running(server.pid)


def test_a_llama_server_ends_where_nobody_asks_any_more(built, tmp_path):
    write_gguf(tmp_path / "model.gguf", exact=True)
    arm = LlamaCppArm(tmp_path / "model.gguf", context=100, threads=1, program=built)
    (server,) = psutil.Process(arm._process.pid).children()
    arm._process.stdin.close()  # as where the bench was killed
    assert arm._process.wait(timeout=60) == 0
    assert not is_running(server.pid)


def test_a_llama_server_that_cannot_load_is_one_paragraph(built, tmp_path):
    with pytest.raises(
        ModelError, match=r"ended with status 3; it said last: no such model \[31m\. Name another build"
    ):
        LlamaCppArm(tmp_path / "model.gguf", context=100, threads=1, program=built)


def test_a_llama_server_that_breaks_down_says_what_to_build(built, tmp_path):
    write_gguf(tmp_path / "model.gguf", exact=True)
    arm = LlamaCppArm(tmp_path / "model.gguf", context=100, threads=1, program=built)
    with pytest.raises(ModelError, match=r"ended with signal 6; .*-mno-amx-tile"):
        arm.ask(INFILL.prompt, replace(INFILL, new_tokens=13))


def test_a_llama_server_is_measured_in_a_process_that_loads_it(built, tmp_path):
    write_gguf(tmp_path / "model.gguf", exact=True)
    record = Record()
    fresh.measure_fresh(
        subject.Subject("tiny", gguf=str(tmp_path / "model.gguf")),
        [LLAMA_CPP],
        Workload("fresh", "", (1, 2, 3), 4),
        rounds=1,
        record=record,
        on_step=lambda *_: None,
        program=built,
    )
    (found,) = record.fresh
    assert 0 < found.load < found.answered
    assert found.peak > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--random-weights", "1M"], "random weights are none"),
        (["--model", "vllm://127.0.0.1:1"], "--llama-cpp is for models that are loaded here"),
    ],
)
def test_a_build_is_for_a_gguf_file(words, said, capsys):
    assert cli.main(["bench", "--llama-cpp", "build", *words]) == 1
    assert said in capsys.readouterr().err


def test_a_build_for_a_model_that_is_no_gguf_file_is_refused(tmp_path):
    no_gguf = subject.Subject("owner/name", str(tmp_path))
    with pytest.raises(OptionError, match=r"owner/name is no \.gguf file.* --model qwen"):
        bench._note_build(bench.SpeedOptions(llama_cpp=tmp_path), no_gguf, SpeedReport({}))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("flags\t\t: fpu fma avx2 avx512f amx_int8 sse4_2", ["fma", "avx2", "avx512f", "amx_int8"]),
        ("Features\t: fp asimd asimddp i8mm", ["asimd", "asimddp", "i8mm"]),
        ("model name\t: none", []),
    ],
)
def test_a_processor_says_which_instructions_it_has(tmp_path, line, found):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\n", "utf-8")
    assert machine.instructions(tmp_path / "cpuinfo") == found
    assert machine.instructions(tmp_path / "nothing") == []
