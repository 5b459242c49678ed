"""A checkpoint's folder as a model and a tokenizer in this process.

Weights are read as numbers, never as programs. The tokenizer is what tokenizer.json says, not what a class of
transformers makes of it. Code that a checkpoint brings along runs only if the user has allowed it; checkpoints that
would need theirs are converted where that is possible (`fim_magic.engines.torch.conversions`).
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, GPTBigCodeForCausalLM, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from fim_magic.engines.out_of_memory import FOR_LOADING, freeing_memory
from fim_magic.engines.torch import adapters
from fim_magic.engines.torch.configuration import (
    model_without_numbers,
    read_configuration,
    read_configuration_with_code,
    read_generation_config,
)
from fim_magic.engines.torch.conversions import added_tokens, byte_level, codegen2, codegen25, santacoder
from fim_magic.engines.torch.footprint import WeightsSize, numbers_of, weights_in
from fim_magic.engines.torch.placement import Placement, plan
from fim_magic.engines.torch.quiet import quiet_transformers
from fim_magic.errors import FimError, ModelError, is_failure
from fim_magic.progress import OnNotice, OnProgress, ignore, silent
from fim_magic.regular_files import UnfitFileError, irregular_files, read_json
from fim_magic.tokenization import TextTokenizer, declared_bos, read_tokenizer
from fim_magic.weights.shards import weight_files

_OPENED = (".json", ".safetensors", ".bin", ".txt", ".model", ".jinja", ".py")
"""How the names end that transformers looks for in a checkpoint's folder."""

_IN_A_FILE = re.compile(r"[^\W\d]\w*\.[^\W\d]\w*")
"""How a configuration names a class of its own: the file beside it, without .py, and the class."""

_LIKE_A_SENTINEL = re.compile(r"[<\[].*[>\]]", re.DOTALL)


def load_checkpoint(
    folder: Path,
    name: str,
    placement: Placement | None = None,
    *,
    allow_code: bool = False,
    adapter: Path | None = None,
    on_progress: OnProgress = silent,
    on_notice: OnNotice = ignore,
) -> tuple[Any, TextTokenizer]:
    """Load the checkpoint in `folder`.

    Args:
        folder: In transformers layout: config.json, a tokenizer, and weights in safetensors or in pytorch_model.bin.
        name: What the user called it, for errors.
        placement: Where, and in what precision; None is the GPUs that there are, or the CPU.
        allow_code: Whether the user has allowed the Python files in this folder. They run only if nothing else will do.
        adapter: The folder of a LoRA adapter that is merged into its weights.
        on_progress: Called while something is fetched: GPT-2's vocabulary, for CodeGen2.5.
        on_notice: Called with what the user should know of this checkpoint.

    Returns:
        The model and its tokenizer.

    Raises:
        ModelError: It cannot be loaded.
        FetchError: What has to be fetched could not be.
    """
    with in_words(name):
        require_regular_files(folder)
        adapters.require_none_beside(folder)
        config = json_object(folder / "config.json")
        runs_code = needs_code(config)
        if runs_code:
            _require_leave(folder, config, name, allowed=allow_code)
        backend = read_backend(folder, config, on_progress)
        files = require_weight_files(folder)
        _require_stored_whole(files)
        placement = placement or plan(weights_in(folder, config), config, name=name)
        with freeing_memory(f"loading {name}", advice=FOR_LOADING):
            model = _load_model(folder, config, files, placement, runs_code=runs_code)
            if adapter is not None:
                model = adapters.merge(model, adapter)
        codegen2.mend(model, config)
        rows = int(model.get_input_embeddings().weight.shape[0])
        tokenizer = TextTokenizer(backend, rows, declared_bos(folder / "tokenizer_config.json"))
        forget_false_ends(model, tokenizer)
    if runs_code:
        on_notice(f"{name} runs code of its own, which you have allowed for this revision.")
    if _are_pickles(files):
        on_notice(
            f"The weights of {name} are pickle files, an old format that can carry programs. They were read as numbers "
            "only, so no program ran; a copy in safetensors would be safer."
        )
    return model, tokenizer


def require_weight_files(folder: Path) -> list[Path]:
    """Return the files with the weights.

    Raises:
        ValueError: There are none.
    """
    files = weight_files(folder)
    if not files:
        raise ValueError(f"there are no weights in {folder}, neither model.safetensors nor pytorch_model.bin")
    return files


def require_regular_files(folder: Path) -> None:
    """Refuse a folder in which something takes the place of a file: transformers would open it, and wait for ever."""
    for fault in irregular_files(folder, _OPENED):
        raise UnfitFileError(f"{fault}: take it out of {folder}")


# --- the model -----------------------------------------------------------------------------------


def _load_model(
    folder: Path, config: Mapping[str, Any], files: list[Path], placement: Placement, *, runs_code: bool
) -> Any:
    options = {
        **placement.arguments,
        "ignore_mismatched_sizes": True,  # they are told below, in words
        "output_loading_info": True,
    }
    with quiet_transformers():
        if santacoder.is_santacoder(config):
            weights = santacoder.converted(_read(files))
            model, loading = GPTBigCodeForCausalLM.from_pretrained(
                None, config=santacoder.as_gpt_bigcode(config), state_dict=weights, **options
            )
        else:
            known = read_configuration_with_code(folder) if runs_code else read_configuration(config)
            if not runs_code:
                _require_shape_of_files(known, weights_in(folder, config))
            model, loading = AutoModelForCausalLM.from_pretrained(
                folder,
                config=known,
                generation_config=read_generation_config(folder, known),
                use_safetensors=not _are_pickles(files),
                weights_only=True,
                local_files_only=True,
                trust_remote_code=runs_code,
                **options,
            )
    if loading["missing_keys"]:  # transformers would go on with random numbers in their place
        absent = sorted(loading["missing_keys"])
        raise ValueError(f"{len(absent)} weights are absent, such as {absent[0]}")
    if loading["mismatched_keys"]:
        weight, stored, expected = min(loading["mismatched_keys"])
        raise ValueError(f"{weight} is {tuple(stored)} in its files, and {tuple(expected)} by its config.json")
    model.eval()
    return model


def _require_shape_of_files(config: PretrainedConfig, stored: WeightsSize) -> None:
    """Refuse a configuration of a much larger model than the files hold.

    transformers makes room for all of it, and fills what it does not find with random numbers: by a wrong number in a
    config.json, all of the memory.
    """
    held = stored.elements + 2 * stored.packed  # of a byte, two numbers at most
    numbers_of(model_without_numbers(config), held=held, where="its config.json")


def _are_pickles(files: list[Path]) -> bool:
    return any(path.suffix == ".bin" for path in files)


def _read(files: list[Path]) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = {}
    for path in files:
        pickled = path.suffix == ".bin"
        weights |= torch.load(path, map_location="cpu", weights_only=True) if pickled else load_file(path)
    for name, tensor in weights.items():
        # A pickle may repeat a few numbers as often as it likes; what is made of them takes room for each.
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"{name} is {tuple(tensor.shape)}, which is more than the file holds")
    return weights


def _require_stored_whole(files: list[Path]) -> None:
    """Refuse a pickle whose parts are larger than it is: torch would unpack them, whatever they come to."""
    for path in files:
        if path.suffix == ".bin" and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
                    raise ValueError(f"{path.name} unpacks to more than it is; weights are not packed")


def forget_false_ends(model: Any, tokenizer: TextTokenizer) -> None:
    """Forget ends of text that the configuration declares and that are ordinary text.

    The id may be a left-over of another vocabulary: CodeGen2 declares 2, which is `#` in its own.
    """
    for config in (model.config, getattr(model, "generation_config", None)):
        declared = getattr(config, "eos_token_id", None)
        if config is None or declared is None:
            continue
        ids = declared if isinstance(declared, list) else [declared]
        ends = [token_id for token_id in ids if _may_end(tokenizer, token_id)]
        if ends != ids:
            config.eos_token_id = ends or None


def _may_end(tokenizer: TextTokenizer, token_id: int) -> bool:
    text = tokenizer.decode([token_id])
    return bool(text) and (_LIKE_A_SENTINEL.fullmatch(text.strip()) is not None or not tokenizer.token_bytes(token_id))


# --- code of the checkpoint ----------------------------------------------------------------------


def needs_code(config: Mapping[str, Any]) -> bool:
    """Whether only the checkpoint's own code knows its architecture.

    CodeGen2 and DeepSeek-Coder-V2 bring code for what transformers has meanwhile; that is not run.
    """
    if not config.get("auto_map") or santacoder.is_santacoder(config):
        return False
    native = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.get("model_type"))
    architectures = config.get("architectures") or [native]
    return native is None or native.casefold() not in [str(name).casefold() for name in architectures]


def _require_leave(folder: Path, config: Mapping[str, Any], name: str, *, allowed: bool) -> None:
    classes = [str(place) for kind, place in config["auto_map"].items() if kind != "AutoTokenizer"]
    elsewhere = [place for place in classes if "--" in place]
    odd = [place for place in classes if not _IN_A_FILE.fullmatch(place.rpartition("--")[2])]
    if odd:
        raise ModelError(
            f"{name} names {odd[0]!r} as code of its own, which is no class in a file of its folder. It is not run. "
            "%fim models lists models that need no code."
        )
    if elsewhere:
        raise ModelError(
            f"{name} needs code of its own that is in another repository, {elsewhere[0].split('--')[0]}, and no "
            "revision of this one says which version of it. It is not run. %fim models lists models that need no code."
        )
    if not allowed:
        raise ModelError(
            f"{name} needs code of its own: Python files in its repository, which would run with all that you may do "
            "on this machine. If you have read them and trust them, allow this one revision: "
            f"%fim use {_pinned(folder)} --allow-code. %fim models lists models that need no code."
        )


def _pinned(folder: Path) -> str:
    """The repository and the commit that a folder of the Hugging Face cache has, or what to put in their place."""
    repository, kind = folder.parent.parent.name, folder.parent.name
    if kind != "snapshots" or not repository.startswith("models--"):
        return "OWNER/NAME@COMMIT"
    return f"{repository.removeprefix('models--').replace('--', '/', 1)}@{folder.name}"


# --- the tokenizer -------------------------------------------------------------------------------


def read_backend(folder: Path, config: Mapping[str, Any], on_progress: OnProgress) -> Tokenizer:
    """Read the tokenizer, from whatever the checkpoint has."""
    try:
        backend = _backend(folder, config, on_progress)
    except FimError:
        raise
    except BaseException as error:  # tokenizers raises bare Exception, and panics
        if not is_failure(error):
            raise
        raise ModelError(f"The tokenizer of this checkpoint could not be read ({error}). {_make(folder)}") from error
    if backend is None:
        raise ModelError(_no_tokenizer(folder, config))
    return added_tokens.add(backend, added_tokens.declared(folder))


def _backend(folder: Path, config: Mapping[str, Any], on_progress: OnProgress) -> Tokenizer | None:
    if (folder / "tokenizer.json").is_file():
        return read_tokenizer(folder / "tokenizer.json")
    if codegen25.is_codegen25(folder, config):
        return codegen25.from_folder(folder, on_progress)
    return byte_level.from_folder(folder, config)


def _no_tokenizer(folder: Path, config: Mapping[str, Any]) -> str:
    if (folder / "tokenizer.model").is_file():
        return (
            "This checkpoint has its tokenizer only as a SentencePiece model, tokenizer.model. "
            f"Type `%pip install sentencepiece protobuf` and then: {_make(folder)}"
        )
    if (folder / "vocab.json").is_file():
        return (
            "This checkpoint has its tokenizer only as a vocabulary, vocab.json, and how it cuts text before it looks "
            f"there is not known for {config.get('model_type')}. {_make(folder)}"
        )
    return f"This checkpoint has no tokenizer. {_make(folder)}"


def _make(folder: Path) -> str:
    return (
        "A checkpoint needs a tokenizer.json beside its weights. Its own tokenizer makes one, in Python: "
        f"`from transformers import AutoTokenizer; AutoTokenizer.from_pretrained({str(folder)!r})"
        f".save_pretrained({str(folder)!r})`."
    )


# --- in words ------------------------------------------------------------------------------------


@contextmanager
def in_words(name: str) -> Iterator[None]:
    """Turn whatever the libraries raise, or the checkpoint's own code, into one paragraph."""
    try:
        yield
    except FimError:
        raise
    except pickle.UnpicklingError as error:
        raise ModelError(_cannot_read(name, error)) from error
    except BaseException as error:
        if not is_failure(error):
            raise
        raise ModelError(_cannot_load(name, error)) from error


def _cannot_read(name: str, error: pickle.UnpicklingError) -> str:
    wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
    if wanted is None:
        return _cannot_load(name, ValueError("its weights, a pickle file, are damaged"))
    return (
        f"The weights of {name} are a pickle file that holds more than numbers: it would call {wanted[1]}. It was not "
        "loaded and nothing ran. Weights have no need of that, so trust neither this file nor where it came from; look "
        "for a copy in safetensors. %fim models lists the models that are known to work."
    )


def _cannot_load(name: str, error: BaseException) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"The model {name} could not be loaded: {reason.rstrip('.')}. %fim doctor shows versions and memory; "
        "%fim models lists the models that are known to work."
    )


def json_object(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path.name} is damaged ({error})") from error
    if not isinstance(found, dict):
        raise TypeError(f"{path.name} is no JSON object")
    return found
