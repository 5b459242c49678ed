"""llama.cpp's C interface, as the wheels of `xllamacpp` bring it along.

xllamacpp's own interface is llama.cpp's web server: it always opens a port, and a stream of it leaves out the tokens
that end inside a character, so that the ids of an answer in Chinese cannot be had from it. But its library exports
llama.h, and that is all an engine needs. The structures below are those of llama.h at one release; with another they
would read the wrong memory, so no other is loaded.

Declared after `include/llama.h` of llama.cpp b11549, which xllamacpp 2026.10.11549 is built from.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import sys
from ctypes import POINTER, Structure, c_bool, c_char_p, c_float, c_int8, c_int32, c_size_t, c_uint32, c_void_p
from importlib import metadata
from pathlib import Path
from typing import ClassVar

from fim_magic.errors import ModelError

_log = logging.getLogger(__name__)

RELEASE = "2026.10.11549"
"""The release of xllamacpp whose structures these are; pyproject.toml asks for it."""

INSTALL = "%pip install fim-magic[gguf]"

MAP_FILE = 1  # llama_load_mode: the weights stay in the file, and are read as they are needed
NO_ROOM = 1  # llama_decode: the KV cache has no room for the batch
_ERROR = 4  # ggml_log_level

LogCallback = ctypes.CFUNCTYPE(None, ctypes.c_int, c_char_p, c_void_p)
ProgressCallback = ctypes.CFUNCTYPE(c_bool, c_float, c_void_p)


class ModelParams(Structure):
    """`llama_model_params`."""

    _fields_: ClassVar = [
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", ctypes.c_int),
        ("load_mode", ctypes.c_int),
        ("lazy_mode", ctypes.c_int),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", ProgressCallback),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        ("vocab_only", c_bool),
        ("check_tensors", c_bool),
        ("use_extra_bufts", c_bool),
        ("no_host", c_bool),
        ("no_alloc", c_bool),
        ("load_mtp", c_bool),
    ]


class ContextParams(Structure):
    """`llama_context_params`."""

    _fields_: ClassVar = [
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32),
        ("n_rs_seq", c_uint32),
        ("n_outputs_max", c_uint32),
        ("n_outputs_max_per_seq", c_uint32),
        ("n_threads", c_int32),
        ("n_threads_batch", c_int32),
        ("ctx_type", ctypes.c_int),
        ("rope_scaling_type", ctypes.c_int),
        ("pooling_type", ctypes.c_int),
        ("attention_type", ctypes.c_int),
        ("flash_attn_type", ctypes.c_int),
        ("rope_freq_base", c_float),
        ("rope_freq_scale", c_float),
        ("yarn_ext_factor", c_float),
        ("yarn_attn_factor", c_float),
        ("yarn_beta_fast", c_float),
        ("yarn_beta_slow", c_float),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p),
        ("type_k", ctypes.c_int),
        ("type_v", ctypes.c_int),
        ("moe_cache_size", c_size_t),
        ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p),
        ("embeddings", c_bool),
        ("offload_kqv", c_bool),
        ("no_perf", c_bool),
        ("op_offload", c_bool),
        ("swa_full", c_bool),
        ("kv_unified", c_bool),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
    ]


class Batch(Structure):
    """`llama_batch`: tokens, where each stands, which sequences it belongs to, and whether its logits are wanted."""

    _fields_: ClassVar = [
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    ]


_FUNCTIONS = {  # name: (result, arguments)
    "llama_log_set": (None, [LogCallback, c_void_p]),
    "llama_backend_init": (None, []),
    "llama_print_system_info": (c_char_p, []),
    "llama_model_default_params": (ModelParams, []),
    "llama_model_load_from_file": (c_void_p, [c_char_p, ModelParams]),
    "llama_model_free": (None, [c_void_p]),
    "llama_model_n_ctx_train": (c_int32, [c_void_p]),
    "llama_model_n_embd": (c_int32, [c_void_p]),
    "llama_model_n_layer": (c_int32, [c_void_p]),
    "llama_model_n_head": (c_int32, [c_void_p]),
    "llama_model_n_head_kv": (c_int32, [c_void_p]),
    "llama_model_size": (ctypes.c_uint64, [c_void_p]),
    "llama_model_desc": (c_int32, [c_void_p, c_char_p, c_size_t]),
    "llama_model_meta_val_str": (c_int32, [c_void_p, c_char_p, c_char_p, c_size_t]),
    "llama_model_has_decoder": (c_bool, [c_void_p]),
    "llama_model_has_encoder": (c_bool, [c_void_p]),
    "llama_model_get_vocab": (c_void_p, [c_void_p]),
    "llama_vocab_n_tokens": (c_int32, [c_void_p]),
    "llama_tokenize": (c_int32, [c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool]),
    "llama_context_default_params": (ContextParams, []),
    "llama_init_from_model": (c_void_p, [c_void_p, ContextParams]),
    "llama_free": (None, [c_void_p]),
    "llama_n_ctx": (c_uint32, [c_void_p]),
    "llama_get_memory": (c_void_p, [c_void_p]),
    "llama_memory_seq_pos_max": (c_int32, [c_void_p, c_int32]),
    "llama_memory_seq_rm": (c_bool, [c_void_p, c_int32, c_int32, c_int32]),
    "llama_memory_seq_cp": (None, [c_void_p, c_int32, c_int32, c_int32, c_int32]),
    "llama_state_get_size": (c_size_t, [c_void_p]),
    "llama_state_get_data": (c_size_t, [c_void_p, c_char_p, c_size_t]),
    "llama_state_set_data": (c_size_t, [c_void_p, c_char_p, c_size_t]),
    "llama_decode": (c_int32, [c_void_p, Batch]),
    "llama_get_logits_ith": (POINTER(c_float), [c_void_p, c_int32]),
}

_errors: list[str] = []


def _hear(level: int, text: bytes, _: int | None) -> None:
    """Keep the first error, which the later ones follow from, and show nothing: it would fill the user's notebook."""
    if level == _ERROR and not _errors:
        _errors.append(text.decode(errors="replace").strip())


_hearing = LogCallback(_hear)  # C calls it as long as the process lives


def first_error() -> str:
    """Return the first error that llama.cpp has told its log since this was asked; "" if there was none."""
    return _errors.pop() if _errors else ""


def available() -> bool:
    """Whether llama.cpp is installed and can be loaded here. It is loaded to find out, which takes milliseconds."""
    try:
        library()
    except ModelError:
        _log.debug("llama.cpp cannot be used.", exc_info=True)
        return False
    return True


@functools.cache
def library() -> ctypes.CDLL:
    """Load llama.cpp.

    Python code may run on other threads during each of its calls.

    Raises:
        ModelError: It is not installed, not in the release that is known here, or cannot be loaded.
    """
    path = _path()
    try:
        loaded = ctypes.CDLL(str(path))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise ModelError(
            f"llama.cpp is installed and cannot be loaded: {error}. On Linux it needs the system's libgomp "
            f"(`apt install libgomp1`). `{INSTALL}` installs it anew; --engine torch does without it."
        ) from error
    loaded.llama_log_set(_hearing, None)
    loaded.llama_backend_init()
    return loaded


def _path() -> Path:
    """Find the library without importing the binding."""
    if sys.platform == "win32":
        raise ModelError("llama.cpp's wheels for Windows do not let it be used from here. Use --engine torch instead.")
    try:
        found = metadata.distribution("xllamacpp")
    except metadata.PackageNotFoundError:
        raise ModelError(
            f"Running a .gguf file this way needs llama.cpp, which is not installed. Type `{INSTALL}` and try again, "
            "or use --engine torch."
        ) from None
    if found.version != RELEASE:
        raise ModelError(
            f"xllamacpp {found.version} is installed, and this version of fim-magic knows only {RELEASE}. Type "
            f"`{INSTALL}`, restart the kernel, and try again; or use --engine torch."
        )
    files = [file for file in found.files or () if file.match("xllamacpp/xllamacpp*.so")]
    if not files:
        raise ModelError(f"xllamacpp is installed without its library. Type `{INSTALL} --force-reinstall`.")
    return Path(str(found.locate_file(files[0])))
