"""A whole checkpoint in transformers' layout, from the Hugging Face cache or the Hub."""

from __future__ import annotations

import fnmatch
import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fim_magic.errors import FetchError
from fim_magic.progress import Meter, OnProgress, silent
from fim_magic.weights.cache import require_room
from fim_magic.weights.hub import HUB_SECONDS, hub_reason, within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huggingface_hub.hf_api import ModelInfo

SNAPSHOT_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "tokenizer*")
"""What a checkpoint needs. Pickles and Python files run code when they are loaded: never those."""
SNAPSHOT_NEVER = ("*/*", "*.py", "*.bin", "*.pt", "*.pth", "consolidated*", "*.gguf")


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
        return within(
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
    reason = hub_reason(cause if isinstance(cause, Exception) else error)
    if reason is None and isinstance(error, OSError):
        reason = f"writing failed ({error.strerror or type(error).__name__})"
    if reason is None:
        return None
    return (
        f"{repo} is not on this machine and could not be fetched: {reason}. Try again when the "
        "Hub can be reached, or give the path of a folder that holds the checkpoint: --model PATH."
    )
