"""A GGUF file's model in llama.cpp, and the KV cache that sequences of tokens share."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fim_magic.engines.arithmetic import Logits
from fim_magic.engines.cores import usable_cores
from fim_magic.engines.llama_cpp import library as llama_cpp
from fim_magic.engines.memory import free_ram, gigabytes
from fim_magic.engines.out_of_memory import FOR_A_REQUEST, OutOfMemoryError
from fim_magic.errors import ModelError
from fim_magic.progress import Meter, OnProgress, silent

CHUNK = 256
"""Tokens that are read at once: large enough for matrix products, small enough to stop soon."""

SEQUENCES = 2 * 64 + 1  # a request with all its candidates, one that a traceback still holds, and the kept prompt
FIRST_CELLS = 2048
"""Of a KV cache, which grows when they are full."""

_SCALE = 100


class LlamaModel:
    """A GGUF file, mapped into memory by llama.cpp. It is given back when nothing refers to it any more."""

    def __init__(self, path: Path, on_progress: OnProgress = silent) -> None:
        """Load a file.

        Args:
            path: The file.
            on_progress: Called often. What it raises ends the loading cleanly.

        Raises:
            ModelError: The file cannot be read, or llama.cpp does not know its architecture, or is not installed.
        """
        self.library = library = llama_cpp.library()
        meter = Meter(on_progress, f"Loading {path.name}", _SCALE, unit="%")
        raised: list[BaseException] = []

        def advance(fraction: float, _: int | None) -> bool:
            try:
                meter.report(int(fraction * _SCALE))
            except BaseException as error:  # it cannot pass through C, and is raised again below
                raised.append(error)
            return not raised

        params = library.llama_model_default_params()
        params.n_gpu_layers = 0
        params.load_mode = llama_cpp.MAP_FILE
        params.progress_callback = llama_cpp.ProgressCallback(advance)
        llama_cpp.first_error()
        self.handle = library.llama_model_load_from_file(bytes(path), params)
        if raised:
            raise raised[0]
        if not self.handle:
            raise ModelError(_cannot_load(path))
        weakref.finalize(self, library.llama_model_free, self.handle).atexit = False
        if not library.llama_model_has_decoder(self.handle) or library.llama_model_has_encoder(self.handle):
            raise ModelError(f"{path.name} is no model that continues a text. %fim models lists models that do.")
        self._vocabulary = library.llama_model_get_vocab(self.handle)

    @property
    def rows(self) -> int:
        return int(self.library.llama_vocab_n_tokens(self._vocabulary))

    @property
    def trained_context(self) -> int:
        """How many tokens it was trained to see at once, by its file."""
        return int(self.library.llama_model_n_ctx_train(self.handle))

    @property
    def size(self) -> int:
        return int(self.library.llama_model_size(self.handle))

    @property
    def description(self) -> str:
        """Its quantisation, such as "Q4_K - Medium"."""
        text = ctypes.create_string_buffer(128)
        self.library.llama_model_desc(self.handle, text, len(text))
        kind = text.value.decode(errors="replace").split(" ", 2)[-1]  # behind "qwen2 1B"
        return kind.removeprefix("(guessed) ")

    @property
    def cell_bytes(self) -> int:
        """The bytes that one token's keys and values take in the KV cache, in float16."""
        layers, width, heads, kv_heads = (
            int(getattr(self.library, f"llama_model_{name}")(self.handle))
            for name in ("n_layer", "n_embd", "n_head", "n_head_kv")
        )
        architecture = self._metadata("general.architecture")
        lengths = (self._metadata(f"{architecture}.attention.{part}_length") for part in ("key", "value"))
        return 2 * layers * kv_heads * sum(int(length) if length else width // heads for length in lengths)

    def tokenize(self, text: str) -> list[int]:
        """Return llama.cpp's own ids of `text`, for comparison with ours: no BOS, and sentinels stay text."""
        written = text.encode()
        ids = (ctypes.c_int32 * (len(written) + 1))()
        count = self.library.llama_tokenize(self._vocabulary, written, len(written), ids, len(ids), False, False)
        return ids[:count]

    def _metadata(self, key: str) -> str:
        text = ctypes.create_string_buffer(64)
        self.library.llama_model_meta_val_str(self.handle, key.encode(), text, len(text))
        return text.value.decode()


@dataclass(frozen=True)
class BatchToken:
    """A token in a batch.

    Attributes:
        id: Of the vocabulary.
        position: Where it stands in its sequence, from 0.
        sequence: Which sequence it continues.
    """

    id: int
    position: int
    sequence: int


class Cells:
    """The KV cache: cells that each hold one token's keys and values, for one or several sequences.

    Sequences that begin alike share the cells of what they have in common, so a prompt is stored once for all
    candidates. It begins small and doubles when it is full.
    """

    def __init__(
        self, model: LlamaModel, most: int, *, cells: int = FIRST_CELLS, free: Callable[[], int] = free_ram
    ) -> None:
        """Make an empty cache.

        Args:
            model: Whose keys and values they are.
            most: How many cells it may ever have.
            cells: How many it has at first.
            free: Says how many bytes this process may still take.

        Raises:
            ModelError: There is no memory for it.
        """
        self._model = model
        self._library = model.library
        self._most = most
        self._free_bytes = free
        self._open(min(cells, most))

    def decode(self, batch: Sequence[BatchToken], wanted: int) -> Logits:
        """Compute keys and values of a batch, at most `CHUNK` tokens.

        Args:
            batch: The tokens, each the next one of its sequence.
            wanted: For how many of the last of them the logits are returned.

        Returns:
            (wanted, vocabulary), float32: what may follow each of those tokens.

        Raises:
            ModelError: There is no room for them, or llama.cpp cannot compute them.
        """
        arrays, c_batch = _c_batch(batch, wanted)
        llama_cpp.first_error()
        code = self._library.llama_decode(self._context, c_batch)
        while code == llama_cpp.NO_ROOM:
            self._grow()
            code = self._library.llama_decode(self._context, c_batch)
        del arrays  # until here, C reads them
        if code:
            raise ModelError(f"llama.cpp could not compute this ({llama_cpp.first_error() or code}). {FOR_A_REQUEST}.")
        rows = range(len(batch) - wanted, len(batch))
        shape = (self._model.rows,)
        found = [np.ctypeslib.as_array(self._library.llama_get_logits_ith(self._context, row), shape) for row in rows]
        return np.stack(found) if found else np.empty((0, *shape), np.float32)

    def reserve(self, cells: int) -> None:
        """Make room for as many cells at once, rather than by doubling; as far as may be."""
        if self._cells < min(cells, self._most):
            self._reopen(min(cells, self._most))

    def copy(self, source: int, target: int, length: int) -> None:
        """Let sequence `target`, which is empty, begin with the first `length` tokens of `source`."""
        self._library.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def length(self, sequence: int) -> int:
        """Return how many tokens a sequence has."""
        return int(self._library.llama_memory_seq_pos_max(self._memory, sequence)) + 1

    def cut(self, sequence: int, length: int) -> bool:
        """Forget what a sequence has behind its first `length` tokens.

        Returns:
            Whether it could be: a recurrent model's state cannot go back, and such a sequence is then empty.
        """
        if self._library.llama_memory_seq_rm(self._memory, sequence, length, -1):
            return True
        self._library.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        return False

    def _open(self, cells: int) -> None:
        needed = cells * self._model.cell_bytes
        if needed > self._free_bytes():
            raise _no_memory(cells, needed, self._free_bytes())
        params = self._library.llama_context_default_params()
        params.n_ctx = cells
        params.n_batch = params.n_ubatch = CHUNK
        params.n_seq_max = params.n_outputs_max = SEQUENCES
        params.n_threads = params.n_threads_batch = usable_cores()
        params.kv_unified = True  # one pool of cells for all sequences
        params.op_offload = params.offload_kqv = False
        llama_cpp.first_error()
        context = self._library.llama_init_from_model(self._model.handle, params)
        if not context:
            raise _no_memory(cells, needed, self._free_bytes(), llama_cpp.first_error())
        self._context = context
        self._memory = self._library.llama_get_memory(context)
        self._cells = int(self._library.llama_n_ctx(context))
        # The weights outlive what computes with them.
        self._close = weakref.finalize(self, _free, self._library, context, self._model)
        self._close.atexit = False  # another thread may still compute; the system takes it all back

    def _grow(self) -> None:
        if self._cells >= self._most:
            raise ModelError(
                f"The model's KV cache is full: it can have {self._most} tokens here, of the prompt and of all "
                "candidates together. Ask for fewer candidates (-n 1), a shorter answer (--max-new-tokens 64) or less "
                "context."
            )
        self._reopen(min(2 * self._cells, self._most))

    def _reopen(self, cells: int) -> None:
        """Move everything into a new cache."""
        size = self._library.llama_state_get_size(self._context)
        state = ctypes.create_string_buffer(size)
        self._library.llama_state_get_data(self._context, state, size)
        close = self._close
        self._open(cells)
        close()
        if not self._library.llama_state_set_data(self._context, state, size):
            raise ModelError(
                f"llama.cpp could not move its KV cache ({llama_cpp.first_error()}). Try the request again."
            )


def _free(library: ctypes.CDLL, context: int, _model: LlamaModel) -> None:
    library.llama_free(context)


def _c_batch(batch: Sequence[BatchToken], wanted: int) -> tuple[list[Any], llama_cpp.Batch]:
    """Return the batch as C has it, and the arrays that it points into: they must be kept as long as it is used."""
    count = len(batch)
    integers = ctypes.c_int32 * count
    tokens = integers(*(token.id for token in batch))
    positions = integers(*(token.position for token in batch))
    sequences = [ctypes.c_int32(token.sequence) for token in batch]
    ones = integers(*([1] * count))
    lists = (ctypes.POINTER(ctypes.c_int32) * count)(*map(ctypes.pointer, sequences))
    outputs = (ctypes.c_int8 * count)(*(index >= count - wanted for index in range(count)))
    arrays = [tokens, positions, sequences, ones, lists, outputs]
    return arrays, llama_cpp.Batch(count, tokens, None, positions, ones, lists, outputs)


def _cannot_load(path: Path) -> str:
    return (
        f"{path.name} could not be loaded: {llama_cpp.first_error() or 'llama.cpp does not say why'}. Either the file "
        "is damaged or cut short (compare its size and sha256 with its page, and fetch it again), or llama.cpp does "
        "not know this kind of model. %fim models lists the models that are known to work."
    )


def _no_memory(cells: int, needed: int, free: int, reason: str = "") -> OutOfMemoryError:
    because = f" ({reason})" if reason else ""
    shortage = (
        f"There is not enough memory for a KV cache of {cells} tokens: it takes {gigabytes(needed)}, and "
        f"{gigabytes(free)} are free{because}."
    )
    return OutOfMemoryError(shortage, FOR_A_REQUEST)
