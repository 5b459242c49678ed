"""A GGUF file in transformers' layout, converted once and kept in the cache.

transformers reads GGUF files itself, but needs the better part of a minute for a small one, each time. What it made of
the file is therefore saved, and loads in seconds. llama.cpp reads the weights itself: for it only the tokenizer and the
configuration are converted.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fim_magic import weights
from fim_magic.engines.gguf_header import cannot_read, read_gguf_header, require_gguf
from fim_magic.engines.torch.converted_folder import kept_folder, whole_or_nothing
from fim_magic.engines.torch.footprint import numbers_of
from fim_magic.engines.torch.gguf_source import GgufSource, by_itself
from fim_magic.engines.torch.quiet import quiet_transformers
from fim_magic.errors import FimError, ModelError, is_failure
from fim_magic.progress import Meter, OnNotice, OnProgress, ignore, silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import torch
    from tokenizers.pre_tokenizers import PreTokenizer

LAYOUT = "float32-2"
"""Part of the folder's name. It changes when a conversion made by an older version won't do."""

TOKENIZER_LAYOUT = "tokenizer-2"
"""As LAYOUT, of a folder that has no weights."""

_HEAD = 32 * 2**20
"""Bytes at a file's beginning with all it says about its tokenizer; the largest vocabularies take half of them."""

DIGITS_APART = frozenset({"smollm", "starcoder", "refact"})
"""Names for `tokenizer.ggml.pre` that split before and after each digit, then as GPT-2 does.

transformers leaves out the digits, so `1  2` gets other tokens than the model was trained on.
"""

DEEPSEEK_CODER = "deepseek-coder"
"""The name for DeepSeek-Coder's way to split, which transformers takes for GPT-2's."""

Convert = Callable[[Path, Path, OnProgress], None]
"""Makes a folder of a file."""


def converted(
    gguf: Path, sha256: str | None = None, on_progress: OnProgress = silent, on_notice: OnNotice = ignore
) -> Path:
    """Return a folder with `gguf` in transformers' layout, and make it first if it isn't there.

    Every tensor becomes float32, which holds what any quantised block says, exactly. It is twice the size of float16
    on the disk, but it is mapped into memory instead of read and widened: loading is several times faster, and the
    kernels of one machine share the pages.

    Args:
        gguf: The file.
        sha256: Of the file, in hex, where it is known; otherwise it is computed.
        on_progress: Called often. What it raises ends the conversion cleanly.
        on_notice: Called if the folder was there and damaged, so that it was made anew.

    Returns:
        A folder with config.json, generation_config.json, tokenizer.json, tokenizer_config.json and
        model.safetensors.

    Raises:
        ModelError: The file is damaged, or of a kind that transformers cannot convert.
        FetchError: There is no room for the converted form.
    """
    return cached_folder(
        gguf, lambda: sha256 or weights.sha256_of(gguf, on_progress), LAYOUT, _convert, on_progress, on_notice
    )


def converted_tokenizer(
    gguf: Path,
    on_progress: OnProgress = silent,
    on_notice: OnNotice = ignore,
    *,
    mark: str = "",
    convert: Convert | None = None,
) -> Path:
    """Return a folder with the tokenizer and the configuration of `gguf`, and make it first if it isn't there.

    The weights are neither converted nor read: a large file is known by its size and its beginning.

    Args:
        gguf: The file.
        on_progress: Called often. What it raises ends the conversion cleanly.
        on_notice: As of [`converted`][].
        mark: The file's [`fingerprint`][] where it is known; otherwise it is computed.
        convert: Fills a folder where there is none yet; by default [`convert_tokenizer`][], in this process.

    Returns:
        A folder with config.json, tokenizer.json and tokenizer_config.json.

    Raises:
        ModelError: The file is damaged, or of a kind that transformers cannot convert.
        FetchError: There is no room for the folder.
    """
    convert = convert or convert_tokenizer
    return cached_folder(gguf, lambda: mark or fingerprint(gguf), TOKENIZER_LAYOUT, convert, on_progress, on_notice)


def fingerprint(gguf: Path, head: int = _HEAD) -> str:
    """Return what tells a file from others: the hash of its size and of its first `head` bytes.

    Raises:
        ModelError: It is no GGUF file, or cannot be read.
    """
    digest = hashlib.sha256(str(require_gguf(gguf)).encode())
    try:
        with gguf.open("rb") as file:
            digest.update(file.read(head))
    except OSError as error:
        raise ModelError(cannot_read(gguf, error)) from error
    return digest.hexdigest()


def cached_folder(
    gguf: Path,
    sha256: Callable[[], str],
    layout: str,
    convert: Convert,
    on_progress: OnProgress,
    on_notice: OnNotice,
) -> Path:
    """Return a file's folder in the cache; if there is none that is whole, let `convert` fill a new one."""
    require_gguf(gguf)
    try:
        mark = sha256()
    except OSError as error:
        raise ModelError(cannot_read(gguf, error)) from error
    return kept_folder(gguf.stem, gguf.name, f"{mark[:12]}-{layout}", partial(convert, gguf), on_progress, on_notice)


def _convert(gguf: Path, folder: Path, on_progress: OnProgress) -> None:
    with whole_or_nothing(folder) as unfinished, by_itself(gguf, folder) as source, quiet_transformers():
        header = read_header(source, on_progress)
        weights.require_room(folder.parent, _converted_size(source, header))
        save_tokenizer(source, header, unfinished, on_progress)
        _save_model(source, header, unfinished, on_progress)
        weights.write_manifest(unfinished, on_progress)


def convert_tokenizer(gguf: Path, folder: Path, on_progress: OnProgress) -> None:
    """Make `folder`, with the tokenizer and the configuration of a GGUF file; errors as of `converted_tokenizer`."""
    with whole_or_nothing(folder) as unfinished, by_itself(gguf, folder) as source, quiet_transformers():
        header = read_header(source, on_progress)
        save_tokenizer(source, header, unfinished, on_progress)
        header.config.save_pretrained(str(unfinished))
        weights.write_manifest(unfinished)


def read_header(gguf: GgufSource, on_progress: OnProgress) -> ConvertedHeader:
    meter = Meter(on_progress, f"Reading {gguf.name}", 1, unit="steps")
    stated = read_gguf_header(gguf.path)
    from transformers import AutoConfig
    from transformers.integrations.gguf import read_gguf_metadata

    with readable(gguf):
        metadata, tensors = read_gguf_metadata(str(gguf.path))
        config = AutoConfig.from_pretrained(**gguf.arguments)
    meter.report(1)
    return ConvertedHeader(config, str(metadata.get("tokenizer.ggml.pre", "")), len(tensors), stated.elements)


@contextmanager
def readable(gguf: GgufSource) -> Iterator[None]:
    """Turn what a damaged or unknown file makes the libraries raise into one paragraph."""
    try:
        yield
    except ImportError as error:
        raise ModelError(
            f"{gguf.name} could not be converted, because a library is missing: {error}. "
            "`pip install fim-magic` brings all that is needed."
        ) from error
    except FimError:
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        raise _unreadable(gguf, error) from error


def _unreadable(gguf: GgufSource, error: BaseException) -> ModelError:
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    first_line = first_line.replace(str(gguf.alone), str(gguf.path))
    return ModelError(
        f"{gguf.path} could not be converted: {first_line}. Either the file is damaged or cut short (compare its "
        "size and sha256 with its page, and fetch it again), or it holds a kind of model that transformers cannot "
        "read from GGUF; then use the model's safetensors checkpoint instead."
    )


@dataclass(frozen=True)
class ConvertedHeader:
    """What a GGUF file says about itself.

    Attributes:
        config: As transformers has it.
        pre_tokenizer: The name of the way in which its tokenizer splits text.
        tensors: How many it holds.
        elements: How many numbers are in them.
    """

    config: Any
    pre_tokenizer: str
    tensors: int
    elements: int


def _converted_size(gguf: GgufSource, header: ConvertedHeader) -> int:
    """About how many bytes the converted form takes.

    Raises:
        ModelError: It is of a kind that completes no text, or describes a much larger model than it holds.
    """
    from fim_magic.engines.torch.configuration import model_without_numbers

    with readable(gguf):
        return 4 * numbers_of(model_without_numbers(header.config), held=header.elements, where="its header")


# --- the tokenizer -------------------------------------------------------------------------------


def save_tokenizer(gguf: GgufSource, header: ConvertedHeader, folder: Path, on_progress: OnProgress) -> None:
    from tokenizers import normalizers
    from transformers import PreTrainedTokenizerFast

    meter = Meter(on_progress, f"Converting the tokenizer of {gguf.name}", 1, unit="steps")
    with readable(gguf):
        # Not AutoTokenizer: to choose a class, it would read the whole configuration again.
        tokenizer = PreTrainedTokenizerFast.from_pretrained(**gguf.arguments)
    pre_tokenizer = _pre_tokenizer(header.pre_tokenizer)
    if pre_tokenizer is not None:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizer
    if header.pre_tokenizer == "qwen2":
        tokenizer.backend_tokenizer.normalizer = normalizers.NFC()  # as Qwen's own file has it; transformers drops it
    with weights.writing(folder):
        tokenizer.save_pretrained(str(folder))
    meter.report(1)


def _pre_tokenizer(name: str) -> PreTokenizer | None:
    """The splitting that `tokenizer.ggml.pre` names, where transformers gets it wrong; None where it is right."""
    from tokenizers import Regex, pre_tokenizers

    if name in DIGITS_APART:
        return pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    if name == DEEPSEEK_CODER:  # deepseek-ai/deepseek-coder-6.7b-base, tokenizer.json
        patterns = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+")
        return pre_tokenizers.Sequence(
            [
                *(pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns),
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    return None


# --- the weights ---------------------------------------------------------------------------------


def _save_model(gguf: GgufSource, header: ConvertedHeader, folder: Path, on_progress: OnProgress) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, GgufConfig

    meter = Meter(on_progress, f"Converting {gguf.name}", header.tensors, unit="tensors")
    with readable(gguf), _counted(meter):
        model, loading = AutoModelForCausalLM.from_pretrained(
            **gguf.arguments,
            config=header.config,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            output_loading_info=True,
        )
        absent = sorted(loading["missing_keys"])
        if absent:  # transformers goes on with random numbers in their place
            raise ValueError(f"{len(absent)} weights are absent, such as {absent[0]}")
    tensors = _each_once(model)
    path = folder / "model.safetensors"
    with weights.writing(path):
        save_file(tensors, path, metadata={"format": "pt"})
    # transformers counts a model from a GGUF file as quantised, and refuses to save it as it is.
    with suppress(AttributeError):
        del model.config.quantization_config
    model.config.save_pretrained(str(folder))
    model.generation_config.save_pretrained(str(folder))
    # safetensors lets only the owner read; a cache may be shared, as the other files are.
    path.chmod((folder / "config.json").stat().st_mode)
    meter.report(header.tensors)


def _each_once(model: Any) -> dict[str, torch.Tensor]:
    """Return the model's tensors. Tied weights are one tensor under two names; loading ties them again."""
    tensors: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict().items():
        if tensor.numel() and tensor.data_ptr() in seen:
            continue
        seen.add(tensor.data_ptr())
        tensors[name] = tensor.contiguous()
    return tensors


# --- progress ------------------------------------------------------------------------------------


_replacing = threading.Lock()


@contextmanager
def _counted(meter: Meter) -> Iterator[None]:
    """Report each tensor that transformers dequantises.

    Its GGUF reader draws a bar by tqdm that no argument and no setting turns off, in a notebook as a widget. So ours
    takes the bar's place there, for this thread alone and one at a time.
    """
    from transformers import modeling_gguf_pytorch_utils as reader

    if not hasattr(reader, "tqdm"):  # a version without that bar: nothing to replace, and nothing to count by
        yield
        return
    thread = threading.get_ident()
    with _replacing:
        theirs = reader.tqdm

        def counted(tensors: Iterable[Any], **options: Any) -> Iterable[Any]:
            return _reported(tensors, meter) if threading.get_ident() == thread else theirs(tensors, **options)

        reader.tqdm = counted
        try:
            yield
        finally:
            reader.tqdm = theirs


def _reported(tensors: Iterable[Any], meter: Meter) -> Iterator[Any]:
    for done, tensor in enumerate(tensors):
        meter.report(done)
        yield tensor
