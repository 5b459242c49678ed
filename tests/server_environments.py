"""The virtual environments of the servers that tests start: each made once, and kept.

`python tests/server_environments.py` makes those that are missing, so that no test has to wait for it, and prints where
they are. llama-server needs none: the tests' own has xllamacpp. What each holds stands in `tests/servers/*.txt`; where that or this Python changes, a new one is made beside the old.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock

ROOT = Path(
    os.environ.get("FIM_MAGIC_SERVER_ENVIRONMENTS") or platformdirs.user_cache_path("fim-magic-tests") / "servers"
)
"""The folder of all environments. Read once: tests run without the FIM_MAGIC_ variables from outside."""

_REQUIREMENTS = Path(__file__).parent / "servers"
_MADE = "fim-magic-made"


@dataclass(frozen=True)
class Environment:
    """What is installed for one server.

    Attributes:
        name: Of its list in `tests/servers/`.
        unwanted: Packages that come along and keep the server from starting.
    """

    name: str
    unwanted: Sequence[str] = ()

    @property
    def requirements(self) -> Path:
        return _REQUIREMENTS / f"{self.name}.txt"


# Built for another torch than the one beside them, these three end vLLM's start with "operator torchvision::nms does
# not exist"; it needs them for pictures and sounds alone.
VLLM = Environment("vllm", unwanted=("torchvision", "torchaudio", "torchcodec"))
TRANSFORMERS = Environment("transformers")


def python_of(environment: Environment) -> Path:
    """Return the interpreter of an environment, which is made first if it isn't there.

    Raises:
        subprocess.CalledProcessError: pip could not install it; what it said is on standard error.
        RuntimeError: This machine's pip would bring a torch for GPUs, several GB that no test uses.
    """
    folder = ROOT / f"{environment.name}-{_fingerprint(environment)}"
    python = folder / "bin" / "python"
    if not (folder / _MADE).exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):  # two workers of pytest-xdist may ask at once
            if not (folder / _MADE).exists():
                _make(environment, folder, python)
    return python


def _fingerprint(environment: Environment) -> str:
    text = f"{sys.version_info[:2]}\n{environment.requirements.read_text('utf-8')}\n{sorted(environment.unwanted)}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _make(environment: Environment, folder: Path, python: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted run has left
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    _require_cpu_build(pip, environment)
    subprocess.run([*pip, "install", "-r", environment.requirements], check=True)
    if environment.unwanted:
        subprocess.run([*pip, "uninstall", "--yes", *environment.unwanted], check=True)
    (folder / _MADE).touch()


def _require_cpu_build(pip: Sequence[str | Path], environment: Environment) -> None:
    """Ask pip which torch it would install, which reads that one's metadata only."""
    (torch,) = (line for line in environment.requirements.read_text("utf-8").splitlines() if line.startswith("torch=="))
    asked = [*pip, "install", "--dry-run", "--no-deps", "--report", "-", torch]
    report = json.loads(subprocess.run(asked, check=True, stdout=subprocess.PIPE).stdout)
    for package in report["install"]:
        needs = package["metadata"].get("requires_dist", [])
        if any(need.startswith(("nvidia-", "cuda-")) for need in needs):
            raise RuntimeError(
                f"pip would install a {torch} for GPUs, from {package['download_info']['url']}. Give pip a place that "
                "has the build for processors, by PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS, and a PIP_CONSTRAINT on it."
            )


if __name__ == "__main__":
    for each in (VLLM, TRANSFORMERS):
        began = time.monotonic()
        print(f"{python_of(each)}: {time.monotonic() - began:.0f} s", flush=True)
