"""A whole checkpoint in transformers' layout, from the Hugging Face cache or the Hub."""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fim_magic.errors import FetchError, OptionError
from fim_magic.progress import Meter, OnNotice, OnProgress, ignore, silent
from fim_magic.regular_files import read_json
from fim_magic.weights.blobs import damaged_files
from fim_magic.weights.cache import require_room
from fim_magic.weights.hub import HUB_SECONDS, cause_of, hub_reason, within
from fim_magic.weights.shards import PICKLED, SAFETENSORS, weight_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huggingface_hub.hf_api import ModelInfo

_log = logging.getLogger(__name__)

_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "tokenizer*")
_PICKLES = (PICKLED, "pytorch_model-?????-of-?????.bin")
_CODE = ("*.py",)
_TOKENIZER = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
_NEVER = ("*/*", "*.pt", "*.pth", "consolidated*", "*.gguf")

_Patterns = dict[str, Any]  # the arguments by which the client selects files

_REVISION = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PART_OF_A_COMMIT = re.compile(r"[0-9a-f]{7,39}")


def _patterns(*, pickles: bool = False, code: bool = False) -> _Patterns:
    """Which files a checkpoint needs."""
    return {
        "allow_patterns": [*_FILES, *(_PICKLES if pickles else ()), *(_CODE if code else ())],
        "ignore_patterns": [*_NEVER, *(() if code else _CODE)],
    }


def is_commit(revision: str | None) -> bool:
    """Return whether a revision is a whole commit hash, the only kind that always means the same files."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


def snapshot(
    repo: str,
    revision: str | None = None,
    on_progress: OnProgress = silent,
    *,
    with_code: bool = False,
    on_notice: OnNotice = ignore,
) -> Path:
    """Return the folder of a checkpoint in transformers' layout, from the Hugging Face cache.

    Nothing leaves the machine if the checkpoint is in that cache already. Configuration, tokenizer and safetensors
    files are downloaded; pickles only where there are no safetensors; Python files only if asked for.

    Args:
        repo: `owner/name` on the Hub.
        revision: A branch, a tag or a commit, of which the first 7 characters are enough; None is the main branch.
        on_progress: Called often while something is downloaded.
        with_code: Bring the Python files as well. Needs a whole commit as `revision`.
        on_notice: Called if files in the cache were damaged and had to be fetched again.

    Returns:
        The folder. Its name is the commit.

    Raises:
        OptionError: `with_code` without a whole commit.
        FetchError: It isn't on this machine, and could not be brought here. The message says why.
    """
    _require_revision(repo, revision, with_code=with_code)
    local = _cached_snapshot(repo, revision, code=with_code)
    damaged = [] if local is None else damaged_files(local, on_progress)
    if local is not None and not damaged and _is_whole(local, code=with_code):
        return local
    if local is not None and damaged:
        revision = local.name  # the same version, not what is the newest by now
    with _snapshot_errors(repo, revision, "or give the path of a folder that holds the checkpoint: --model PATH"):
        info = _repository(repo, revision)
        patterns = _patterns(pickles=not _has_weights(info, SAFETENSORS), code=with_code)
        # The client does not know a part of a hash; a branch or a tag it notes down, for the next time without network.
        exact = info.sha if _is_part_of(revision, info.sha) else revision
        for path in damaged:  # only now, when the Hub has answered
            path.resolve().unlink(missing_ok=True)
            path.unlink()
        folder = _downloaded(repo, exact, patterns, _size(repo, info, patterns), on_progress)
    wrong = damaged_files(folder, on_progress)
    if wrong:
        raise FetchError(
            f"What came from the Hugging Face Hub for {repo} is not what it should be: {_named(wrong)}. Something "
            "between here and there, such as a proxy or a mirror, changes or cuts files. Try again elsewhere."
        )
    if damaged:
        on_notice(
            f"Files of {repo} in the cache were no longer what had been fetched ({_named(damaged)}). They were fetched "
            "again."
        )
    return folder


def _require_revision(repo: str, revision: str | None, *, with_code: bool) -> None:
    """Raise the errors of [`snapshot`][] about a revision that is none, or too little of one to run its code."""
    if revision is not None and not _REVISION.fullmatch(revision):
        raise FetchError(
            f"{revision!r} is no revision of {repo}: it takes a branch, a tag or a commit, as in {repo}@main."
        )
    if with_code and not is_commit(revision):
        raise OptionError(
            "--allow-code runs a checkpoint's own code, so it needs the commit that you have looked at, all 40 "
            f"characters of it: %fim use {repo}@COMMIT --allow-code. https://huggingface.co/{repo}/commits/main lists "
            "them."
        )


def snapshot_file(repo: str, name: str, on_progress: OnProgress = silent) -> Path:
    """Return one file of a repository's main branch, from the Hugging Face cache.

    Nothing leaves the machine if it is in that cache already.

    Raises:
        FetchError: It isn't on this machine, and could not be brought here. The message says why.
    """
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(repo, name)
    if isinstance(cached, str):
        return Path(cached)
    with _snapshot_errors(repo, None, "or fetch it elsewhere"):
        sizes = {file.rfilename: file.size or 0 for file in _repository(repo, None).siblings or ()}
        if name not in sizes:
            raise FetchError(f"{repo} on the Hugging Face Hub has no {name}.")
        return _downloaded(repo, None, {"allow_patterns": [name]}, sizes[name], on_progress) / name


def snapshot_tokenizer(repo: str, revision: str | None = None, on_progress: OnProgress = silent) -> Path:
    """Return a folder with a repository's tokenizer and configuration, without its weights; see [`snapshot`][].

    Raises:
        FetchError: They are not on this machine, and could not be brought here. The message says why.
    """
    _require_revision(repo, revision, with_code=False)
    local = _cached_snapshot(repo, revision, code=False)
    if local is not None and (local / "tokenizer.json").is_file() and (local / "config.json").is_file():
        return local
    with _snapshot_errors(repo, revision, "or name a folder that has its tokenizer.json and config.json"):
        info = _repository(repo, revision)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        missing = [name for name in ("config.json", "tokenizer.json") if name not in sizes]
        if missing:
            raise FetchError(f"{repo} on the Hugging Face Hub has no {missing[0]}.")
        total = sum(sizes.get(name, 0) for name in _TOKENIZER)
        return _downloaded(repo, info.sha, {"allow_patterns": list(_TOKENIZER)}, total, on_progress)


def local_snapshot(repo: str, revision: str | None, *, code: bool) -> Path | None:
    """Return the folder of a checkpoint that is on this machine already, or None.

    Args:
        repo: `owner/name` on the Hub.
        revision: As of [`snapshot`][].
        code: Whether its Python files have to be there as well.

    Raises:
        FetchError: `repo` cannot be the name of a repository, or `revision` that of a revision.
    """
    _require_revision(repo, revision, with_code=False)
    folder = _cached_snapshot(repo, revision, code=code)
    return folder if folder is not None and _is_whole(folder, code=code) else None


def _cached_snapshot(repo: str, revision: str | None, *, code: bool) -> Path | None:
    """As [`local_snapshot`][], whether it is whole or not."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    commit = _cached_commit(repo, revision) or revision
    try:
        found = snapshot_download(repo, revision=commit, local_files_only=True, **_patterns(code=code))
    except LocalEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise FetchError(
            f"{repo!r} is neither a folder on this machine nor a name on the Hugging Face Hub, "
            "which look like owner/name. `%fim models` shows the short names that are known."
        ) from error
    return Path(found)


def _named(files: list[Path]) -> str:
    return ", ".join(path.name for path in files)


def _cached_commit(repo: str, revision: str | None) -> str | None:
    """The commit in the cache that begins with `revision`, if there is just one."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    if revision is None or not _PART_OF_A_COMMIT.fullmatch(revision):
        return None
    snapshots = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model") / "snapshots"
    found = [folder.name for folder in snapshots.glob(f"{revision}*") if is_commit(folder.name)]
    return found[0] if len(found) == 1 else None


def _is_part_of(revision: str | None, commit: str | None) -> bool:
    return bool(revision and commit and _PART_OF_A_COMMIT.fullmatch(revision) and commit.startswith(revision))


def _is_whole(folder: Path, *, code: bool) -> bool:
    """Tell whether a checkpoint has all its weights, and the code that is asked for; older clients return halves."""
    config = _json(folder / "config.json")
    if config is None or (code and not all((folder / name).is_file() for name in _code_files(config))):
        return False
    try:
        files = weight_files(folder)
    except (OSError, ValueError):
        _log.info("The index in %r cannot be read: the checkpoint counts as not here.", folder, exc_info=True)
        return False
    return bool(files) and all(file.is_file() for file in files)


def _code_files(config: dict[str, Any]) -> set[str]:
    """The Python files in which a configuration says that its classes are."""
    classes = config.get("auto_map")
    named = classes.values() if isinstance(classes, dict) else ()
    return {f"{name.split('.')[0]}.py" for name in named if isinstance(name, str) and "--" not in name}


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _repository(repo: str, revision: str | None) -> ModelInfo:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionNotFoundError

    def info_of(exact: str | None) -> ModelInfo:
        return HfApi().model_info(repo, revision=exact, timeout=HUB_SECONDS, files_metadata=True)

    def find_commit() -> str | None:
        commits = (commit.commit_id for commit in HfApi().list_repo_commits(repo))
        return next((commit for commit in commits if _is_part_of(revision, commit)), None)

    try:
        return within(HUB_SECONDS, lambda: info_of(revision))
    except RevisionNotFoundError:  # the Hub knows commits by their whole hash only
        commit = within(HUB_SECONDS, find_commit) if _PART_OF_A_COMMIT.fullmatch(revision or "") else None
        if commit is None:
            raise
        return within(HUB_SECONDS, lambda: info_of(commit))


def _has_weights(info: ModelInfo, weights: str) -> bool:
    return any(file.rfilename in (weights, f"{weights}.index.json") for file in info.siblings or ())


def _size(repo: str, info: ModelInfo, patterns: _Patterns) -> int:
    """Bytes of the files that fit the patterns, which must make up a checkpoint."""
    from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]

    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    wanted = list(filter_repo_objects(sizes, **patterns))
    if "config.json" not in wanted or not (_has_weights(info, SAFETENSORS) or _has_weights(info, PICKLED)):
        adapter = "adapter_config.json" in wanted
        raise FetchError(
            f"{repo} has no checkpoint that fim-magic can load: it needs a config.json and weights in safetensors "
            "files, or at least in pytorch_model.bin. "
            + ("It holds an adapter (LoRA), which can be loaded from a folder of yours. " if adapter else "")
            + "Look for a copy in transformers' layout on the Hub; a .gguf file can be named by its path."
        )
    return sum(sizes[name] for name in wanted)


def _downloaded(repo: str, revision: str | None, patterns: _Patterns, total: int, on_progress: OnProgress) -> Path:
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
    found = snapshot_download(repo, revision=revision, tqdm_class=_bars_for(meter), **patterns)
    meter.report(total)
    return Path(found)


def _bars_for(meter: Meter) -> Any:
    """Return a class that takes the place of the client's bars and reports to `meter` instead."""
    from tqdm.std import tqdm

    done_by_bar: dict[int, float] = {}

    class Reporting(tqdm):  # type: ignore[misc] # tqdm has no types
        monitor_interval = 0  # without: a thread that stays in the user's process

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
                meter.report(int(max(done_by_bar.values())))

        def display(self, *_: Any, **__: Any) -> None:
            pass

        def close(self) -> None:
            pass

    return Reporting


@contextmanager
def _snapshot_errors(repo: str, revision: str | None, instead: str) -> Iterator[None]:
    """Turn what the Hub's client raises into a paragraph. `instead` is what can be done when the Hub is not there."""
    try:
        yield
    except FetchError:
        raise
    except Exception as error:
        message = _snapshot_error(error, repo, revision, instead)
        if message is None:
            raise
        raise FetchError(message) from cause_of(error)


def _snapshot_error(error: Exception, repo: str, revision: str | None, instead: str) -> str | None:
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # In this order: a gated repository is, to the client, one that is not found.
    if isinstance(error, GatedRepoError):
        return (
            f"{repo} is gated: its owner wants you to accept a licence first. 1. Open https://huggingface.co/{repo} in "
            "a browser, log in and accept it. 2. Type `hf auth login` in a terminal, with a token that may read gated "
            "repositories. Then try again."
        )
    if isinstance(error, RevisionNotFoundError):
        return (
            f"{repo} is on the Hugging Face Hub, but has no revision {revision!r}. Its page, "
            f"https://huggingface.co/{repo}, lists its branches and tags."
        )
    answer = error.response if isinstance(error, HfHubHTTPError) else None
    unauthorised = answer is not None and answer.status_code == 401
    if answer is not None and unauthorised and "Invalid credentials" in answer.headers.get("X-Error-Message", ""):
        return (
            f"{repo} could not be fetched, because the Hugging Face Hub does not take the token of this machine. Type "
            "`hf auth login` in a terminal for a new one; if HF_TOKEN is set, it is that one."
        )
    if unauthorised or isinstance(error, RepositoryNotFoundError):  # it does not tell strangers which
        return (
            f"There is no model {repo} on the Hugging Face Hub, or you may not see it. Check the name; if the model is "
            "private or gated, type `hf auth login` in a terminal first."
        )
    cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else None
    reason = hub_reason(cause if isinstance(cause, Exception) else error)
    if reason is None and isinstance(error, OSError):
        reason = f"writing failed ({error.strerror or type(error).__name__})"
    if reason is None:
        return None
    return (
        f"{repo} is not on this machine and could not be fetched: {reason}. Try again when the Hub can be reached, "
        f"{instead}."
    )
