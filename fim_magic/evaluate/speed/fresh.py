"""What a model costs a process that has nothing else: seconds to load, and memory. And what `%load_ext` costs.

Each is measured in a process of its own: within one process, the second to load would find memory and files as the
first has left them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import AutoTokenizer

from fim_magic.child_environment import SAFE_PATH
from fim_magic.errors import ModelError
from fim_magic.evaluate.speed.arms import GENERATE, LLAMA_CPP, OURS, Arm, EngineArm, GenerateArm
from fim_magic.evaluate.speed.llama_program import LlamaProgram
from fim_magic.evaluate.speed.measure import Fresh, OnStep, Record, rotated
from fim_magic.evaluate.speed.subject import Subject, device_for, load_engine, load_gguf, load_plain
from fim_magic.evaluate.speed.workloads import Workload

_SHORT = 16  # tokens: after so short a prompt, the first token shows that the weights are really there

_BARE = """from IPython.core.magic import Magics, line_magic, magics_class


@magics_class
class Bare(Magics):
    @line_magic
    def bare(self, line):
        return line


def load_ipython_extension(shell):
    shell.register_magics(Bare)
"""

_LOAD_EXT = """
import sys, time
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
began = time.perf_counter()
shell.run_line_magic("load_ext", sys.argv[1])
print("seconds", time.perf_counter() - began)
"""


def measure_fresh(
    subject: Subject,
    arms: Sequence[str],
    workload: Workload,
    *,
    rounds: int,
    record: Record,
    on_step: OnStep,
    program: Path | None = None,
) -> None:
    """Start a process for each arm and round that loads the model, answers, and says what that took.

    Memory is at its peak somewhere in the answer to `workload`. `program` is a llama-server, for the arm of llama.cpp.
    """
    for number in range(rounds):
        for index, arm in enumerate(rotated(arms, number)):
            on_step(f"a fresh process: {arm}", number * len(arms) + index, rounds * len(arms))
            job = {
                "subject": asdict(subject),
                "arm": arm,
                "prompt": workload.prompt,
                "new_tokens": workload.new_tokens,
                "threads": torch.get_num_threads(),
                "program": None if program is None else str(program),
            }
            printed = _run([sys.executable, "-m", __name__], json.dumps(job), {})
            record.fresh.append(Fresh(arm, number, **json.loads(printed.splitlines()[-1])))


def measure_load_ext(rounds: int, record: Record, on_step: OnStep) -> None:
    """Measure `%load_ext fim_magic` beside the smallest extension there can be, each in its own process.

    Importing IPython counts for neither.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "bare.py").write_text(_BARE, "utf-8")
        # No configuration of the user's: it may load a model at once.
        environment = {
            "IPYTHONDIR": folder,
            "PYTHONPATH": os.pathsep.join((folder, *filter(None, sys.path))),
            # An installed package has its bytecode. It is written here, also where the user has none written.
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(Path(folder) / "bytecode"),
        }
        extensions = ["fim_magic", "bare"]
        # One round more: the first reads the files from the disk, and writes bytecode.
        for number in range(rounds + 1):
            for index, name in enumerate(rotated(extensions, number)):
                on_step(f"%load_ext {name}", number * 2 + index, (rounds + 1) * 2)
                printed = _run([sys.executable, "-c", _LOAD_EXT, name], "", environment)
                if number:
                    seconds = next(line for line in reversed(printed.splitlines()) if line.startswith("seconds "))
                    record.load_ext.setdefault(name, []).append(float(seconds.split()[1]))


def _run(command: list[str], given: str, changes: dict[str, str]) -> str:
    """Run a process that finds the modules that this one finds, and return what it printed."""
    # The user's settings stay out: with a default model of theirs, %load_ext begins to load it.
    kept = {n: value for n, value in os.environ.items() if not n.startswith("FIM_MAGIC_") or n == "FIM_MAGIC_CACHE"}
    environment = {**kept, **SAFE_PATH, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **changes}
    done = subprocess.run(command, input=given, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ModelError(
            f"A process of the bench ended with status {done.returncode} ({last}). Leave that measure out: fim-magic "
            "bench --only infill,edit,candidates,lengths"
        )
    return done.stdout


# --- in the process ------------------------------------------------------------------------------


def answer_job(job: dict[str, Any]) -> dict[str, Any]:
    """Load, answer, and say what that took: the fields of `Fresh`, arm and round excepted."""
    subject = Subject(**job["subject"])
    torch.set_num_threads(job["threads"])
    if job["arm"] == LLAMA_CPP:
        return _program_job(job, subject)
    device = device_for(subject)
    before = _in_use(device)
    began = time.perf_counter()
    arm = _arm(job["arm"], subject, device)
    loaded = time.perf_counter() - began
    short, long = (Workload("fresh", "", tuple(job["prompt"]), tokens) for tokens in (1, job["new_tokens"]))
    arm.ask(short.prompt[:_SHORT], short)
    answered = time.perf_counter() - began
    arm.ask(long.prompt, long)
    found: dict[str, Any] = {"load": loaded, "answered": answered, "peak": max(0, _peak(device) - before)}
    return found | ({"load": None, "answered": None} if subject.is_random and not subject.quantize else {})


def _program_job(job: dict[str, Any], subject: Subject) -> dict[str, Any]:
    """As `answer_job`, of a llama-server: from its start until it says that it is ready, and its own memory."""
    prompt, new_tokens = job["prompt"], job["new_tokens"]
    began = time.perf_counter()
    program = LlamaProgram(job["program"], subject.gguf, len(prompt) + 2 * new_tokens, job["threads"])
    try:
        loaded = time.perf_counter() - began
        program.answer(prompt[:_SHORT], 1)
        answered = time.perf_counter() - began
        program.answer(prompt, new_tokens)
        return {"load": loaded, "answered": answered, "peak": _peak_of(program.process.pid)}
    finally:
        program.close()


def _arm(name: str, subject: Subject, device: torch.device) -> Arm:
    if name == GENERATE:
        if not subject.is_random:
            # A tutorial has to have it too, and ours comes with the engine. Some checkpoints' only ours can read.
            with suppress(OSError, ValueError):
                AutoTokenizer.from_pretrained(subject.folder, local_files_only=True)
        return GenerateArm(load_plain(subject, device))
    engine = load_engine(subject, device) if name == OURS else load_gguf(subject)
    if engine is None:
        raise ModelError(f"{name} cannot run here.")
    return EngineArm(name, engine, device if name == OURS else torch.device("cpu"))


def _in_use(device: torch.device) -> int:
    return 0 if device.type == "cuda" else int(psutil.Process().memory_info().rss)


def _peak(device: torch.device) -> int:
    """The most memory that this process has had at one time: on the GPU, or else its resident set."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return _peak_of(os.getpid())


def _peak_of(process: int) -> int:
    if sys.platform == "linux":
        # Not getrusage: its maximum is inherited from the process that started this one, which may be far larger.
        status = Path(f"/proc/{process}/status").read_text("ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    if sys.platform == "win32":
        return int(psutil.Process(process).memory_info().peak_wset)
    if process != os.getpid():  # macOS tells the peak of this process alone
        return int(psutil.Process(process).memory_info().rss)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


if __name__ == "__main__":
    print(json.dumps(answer_job(json.load(sys.stdin))))
