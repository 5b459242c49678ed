"""What is to be served: a checkpoint, and what its files say of the memory that it takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fim_magic import weights
from fim_magic.engines.gguf_header import GgufHeader, read_gguf_header
from fim_magic.engines.torch.footprint import cache_bytes, context_of, weights_in
from fim_magic.errors import ModelError, OptionError
from fim_magic.loading.fetch import config_of
from fim_magic.weights.snapshot import local_snapshot

if TYPE_CHECKING:
    from fim_magic.loading.resolve import Source
    from fim_magic.loading.spec import ModelSpec
    from fim_magic.progress import OnProgress

_BYTES = 2  # of one number in the KV cache, and of a weight where nothing else is known
_TOKENS = 1024  # whose KV cache is reckoned, for the mean: layers with a window hold less of a long text
_BILLION = 10**9


@dataclass(frozen=True)
class ServedCheckpoint:
    """A checkpoint that is to be served. Numbers are 0 where nothing here says them.

    Attributes:
        name: What requests call it.
        path: A .gguf file or a folder; None for a repository, which the server brings by itself.
        repo: A repository on the Hub, or "".
        revision: Of the repository, or None.
        allow_code: Whether the code that it brings along may run.
        context: The most tokens that it reads.
        weight_bytes: Of its weights, in memory.
        token_bytes: What one token takes in the KV cache.
        heads: Of attention.
    """

    name: str
    path: Path | None = None
    repo: str = ""
    revision: str | None = None
    allow_code: bool = False
    context: int = 0
    weight_bytes: int = 0
    token_bytes: int = 0
    heads: int = 0

    @property
    def is_gguf(self) -> bool:
        return self.path is not None and self.path.suffix == ".gguf"

    @property
    def location(self) -> str:
        """What a server is given to find it."""
        return self.repo or str(self.path)


def checkpoint_for(source: Source, spec: ModelSpec, on_progress: OnProgress | None = None) -> ServedCheckpoint:
    """Look at a checkpoint, without loading it.

    Args:
        source: Which one.
        spec: What the user has asked for.
        on_progress: Where it is given, a .gguf file of the catalogue that is not here is fetched.

    Raises:
        ModelError: It is not here, cannot be served, or cannot be read.
        OptionError: Its code is allowed without saying at which commit.
        FetchError: It could not be fetched.
    """
    if source.address is not None:
        raise ModelError(f"{source.name} runs on a server already. Use it: %fim use {source.name}")
    if source.adapter is not None:
        raise ModelError(
            f"{source.name} is an adapter. Merge it into its model first, with peft's merge_and_unload() and "
            "save_pretrained(), and serve that folder."
        )
    _require_commit(source, spec)
    if source.gguf is not None:
        return _of_gguf(_catalogued(source, on_progress), source.name)
    path = source.path.absolute()  # the command may be run, and its server asked for the path, from elsewhere
    if source.is_gguf:
        return _of_gguf(path, path.stem)
    if source.repo:
        return _of_repository(source, spec)
    return _measured(ServedCheckpoint(path.resolve().name, path), path)


def _require_commit(source: Source, spec: ModelSpec) -> None:
    if not spec.allow_code:
        return
    if not source.repo or not weights.is_commit(source.revision):
        raise OptionError(
            "--allow-code runs the code of a repository on the Hub at the commit that you have read. Name all of it: "
            "fim-magic serve OWNER/NAME@COMMIT --allow-code"
        )


def _catalogued(source: Source, on_progress: OnProgress | None) -> Path:
    assert source.gguf is not None  # only such a source gets here
    if on_progress is not None:
        return weights.fetch(source.gguf, on_progress)
    path = weights.cached(source.gguf)
    if path is None:
        raise ModelError(f"{source.name} is not on this machine yet. Bring it first: fim-magic fetch {source.name}")
    return path


def _of_repository(source: Source, spec: ModelSpec) -> ServedCheckpoint:
    """What is known of a repository: by its files, if they are here, else by the catalogue."""
    entry = source.entry
    if entry is not None and entry.remote_code and not spec.allow_code:
        raise ModelError(
            f"{source.name} runs only with code that its repository brings along. Read that code, and allow it at the "
            f"commit that you have read: fim-magic serve {source.repo}@COMMIT --allow-code"
        )
    found = ServedCheckpoint(source.repo, repo=source.repo, revision=source.revision, allow_code=spec.allow_code)
    folder = local_snapshot(source.repo, source.revision, code=False)
    if folder is not None:
        return _measured(found, folder)
    if entry is not None:
        return replace(found, context=entry.context or 0, weight_bytes=int(entry.parameters * _BILLION * _BYTES))
    return found


def _measured(found: ServedCheckpoint, folder: Path) -> ServedCheckpoint:
    """Return a checkpoint with what the files in its folder say."""
    config = config_of(folder, found.name)
    heads = config.get("num_attention_heads")
    return replace(
        found,
        context=context_of(config) or 0,
        weight_bytes=weights_in(folder, config).bytes_at(_BYTES),
        token_bytes=cache_bytes(config, _TOKENS, _BYTES) // _TOKENS,
        heads=heads if isinstance(heads, int) else 0,
    )


def _of_gguf(path: Path, name: str) -> ServedCheckpoint:
    header = read_gguf_header(path)
    return ServedCheckpoint(
        name,
        path,
        context=_number(header, "context_length"),
        weight_bytes=path.stat().st_size * header.parts,
        token_bytes=_token_bytes(header),
        heads=_number(header, "attention.head_count"),
    )


def _token_bytes(header: GgufHeader) -> int:
    """What one token takes in llama.cpp's KV cache, in float16."""
    heads = _number(header, "attention.head_count")
    kv_heads = _number(header, "attention.head_count_kv") or heads
    width = _number(header, "embedding_length") // heads if heads else 0
    keys = _number(header, "attention.key_length") or width
    values = _number(header, "attention.value_length") or width
    return _number(header, "block_count") * kv_heads * (keys + values) * _BYTES


def _number(header: GgufHeader, name: str) -> int:
    value = header.values.get(f"{header.architecture}.{name}")
    return value if isinstance(value, int) and value > 0 else 0
