"""The vendors' own vocabularies, so that golden prompts can be told in their real ids.

They come from two packages on PyPI, pinned by checksum and fetched once into the cache; none of it is in the project.
llama.cpp keeps the tokenizers of several models, each with texts and the ids that the vendor's tokenizer gives for
them. mistral-common is Mistral's own implementation, with its SentencePiece model.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from fim_magic.engines.torch.conversions import codegen25
from fim_magic.weights import cache_dir

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

LLAMA_CPP = ("llama-cpp-python==0.3.36", "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e")
# The last release that needs nothing but pydantic, jsonschema and sentencepiece; its FIM is that of later ones.
MISTRAL = ("mistral-common==1.3.0", "f6a6bbeedd9e51b4909dd2eece8f6acc24ef6deb8ff7d43690986f77170624f0")

_CODESTRAL = "mistral_common/data/mistral_instruct_tokenizer_240323.model.v3"

# Of llama.cpp's. "starcoder" is StarCoder2's (<file_sep> is 6); "refact" is StarCoder's, which Refact took over
# (<filename> is 5), and IBM for Granite Code (arXiv 2405.04324, section 3); "mpt" is GPT-NeoX's.
LLAMA_CPP_NAMES = ("deepseek-coder", "gpt-2", "llama-spm", "mpt", "qwen2", "refact", "starcoder")

# Pieces like any other, to which ordinary merges lead: `▁<` `PRE` and `>`. The sentinels' ids are in transformers' tests
# of this tokenizer; the other pieces are from microsoft/aici, its "llama16". Their scores are not known, only their order.
CODE_LLAMA = (
    *("▁<SU", "▁<SUF", "▁<PRE", "▁<M", "▁<MID", "▁<E", "▁<EOT"),
    *("▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"),
    *("▁" + "<EOT>" * times for times in range(2, 7)),
)
CODE_LLAMA_CONTROLS = CODE_LLAMA[7:11]

# QwenLM/Qwen2.5-Coder, README.md; the others are those of the default model's own file.
QWEN_CODER = (
    *("<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
    *("<tool_call>", "</tool_call>"),
    *("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
)

_NORMAL, _UNKNOWN, _CONTROL, _USER, _BYTE = 1, 2, 3, 4, 6  # SentencePiece's numbers, and gguf.TokenType's


@dataclass(frozen=True)
class Vector:
    """A text, and the ids that the vendor's tokenizer gives for it."""

    text: str
    ids: list[int]


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer's tables, and the way it splits text.

    Attributes:
        tokens: All, by id.
        kinds: Of each token, by SentencePiece's numbers.
        splits: The pre-tokenizer, by llama.cpp's name.
        merges: Of byte-level tokenizers.
        scores: Of SentencePiece's.
        controls: Tokens that tokenizer.json marks as special beside those that are controls by kind.
    """

    tokens: list[str]
    kinds: list[int]
    splits: str
    merges: list[tuple[str, str]] | None = None
    scores: list[float] | None = None
    controls: tuple[str, ...] = ()

    def tokenizer(self, *, metaspace: bool = False) -> Tokenizer:
        """Build the tokenizer as the vendor's tokenizer.json has it.

        Args:
            metaspace: SentencePiece's space before a text comes from a pre-tokenizer, as in Mistral's files, and not
                from a normalizer, as in Llama's.
        """
        backend = self._byte_level() if self.scores is None else self._sentencepiece(metaspace=metaspace)
        for at, (token, kind) in enumerate(zip(self.tokens, self.kinds, strict=True)):
            special = kind in (_CONTROL, _UNKNOWN) or token in self.controls
            if special or kind == _USER:
                # Qwen and DeepSeek do not mark theirs, and a normalizer must not keep them from being found.
                backend.add_tokens([AddedToken(token, normalized=False, special=special)])
                assert backend.token_to_id(token) == at
        return backend

    def processor(self) -> SentencePieceProcessor:
        """Build the SentencePiece model that these tables were read from, for SentencePiece's own library."""
        from sentencepiece import SentencePieceProcessor

        assert self.scores is not None
        pieces = (
            _field(1, _field(1, token.encode()) + _field(2, score) + _field(3, kind))
            for token, score, kind in zip(self.tokens, self.scores, self.kinds, strict=True)
        )
        # sentencepiece_model.proto: model_type is BPE, byte_fallback, and the ids of <unk>, <s>, </s> and no padding.
        trainer = _field(3, 2) + _field(35, 1) + _field(40, 0) + _field(41, 1) + _field(42, 2) + _field(43, 2**64 - 1)
        # name, add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces
        normalizer = _field(1, b"identity") + _field(3, 1) + _field(4, 0) + _field(5, 1)
        return SentencePieceProcessor(model_proto=b"".join(pieces) + _field(2, trainer) + _field(3, normalizer))

    def extended(self, tokens: Sequence[str], kind: int, *, controls: Sequence[str] = ()) -> Vocabulary:
        """Return the vocabulary with more tokens behind its own; pieces are merged after all the others."""
        scores = self.scores and [
            *self.scores,
            *(min(self.scores[_BYTE_PIECES:]) - n for n in range(1, len(tokens) + 1)),
        ]
        return dataclasses.replace(
            self,
            tokens=[*self.tokens, *tokens],
            kinds=[*self.kinds, *[kind] * len(tokens)],
            scores=scores,
            controls=(*self.controls, *controls),
        )

    def _byte_level(self) -> Tokenizer:
        vocabulary = {token: at for at, token in enumerate(self.tokens)}
        backend = Tokenizer(models.BPE(vocab=vocabulary, merges=self.merges))
        backend.pre_tokenizer = _SPLITS[self.splits]()
        backend.decoder = decoders.ByteLevel()
        if self.splits in ("qwen2", "mpt"):
            backend.normalizer = normalizers.NFC()
        return backend

    def _sentencepiece(self, *, metaspace: bool) -> Tokenizer:
        vocabulary = {token: at for at, token in enumerate(self.tokens)}
        backend = Tokenizer(
            models.BPE(
                vocab=vocabulary,
                merges=list(self._merges(vocabulary)),
                unk_token=self.tokens[0],
                fuse_unk=True,
                byte_fallback=True,
            )
        )
        if metaspace:
            backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        else:
            backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        backend.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        return backend

    def _merges(self, vocabulary: dict[str, int]) -> Iterator[tuple[str, str]]:
        """The pairs that make up each piece, best piece first: SentencePiece joins the neighbours with the best score."""
        assert self.scores is not None
        pieces = [at for at, kind in enumerate(self.kinds) if kind == _NORMAL and len(self.tokens[at]) > 1]
        for at in sorted(pieces, key=self.scores.__getitem__, reverse=True):
            piece = self.tokens[at]
            halves = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
            known = [pair for pair in halves if pair[0] in vocabulary and pair[1] in vocabulary]
            yield from sorted(known, key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))


_BYTE_PIECES = 259  # <unk>, <s>, </s> and the bytes have no scores that mean anything


# --- families ------------------------------------------------------------------------------------


def file(name: str) -> Path:
    """Return the GGUF file of one of llama.cpp's vocabularies. It has no weights."""
    return _llama_cpp() / f"ggml-vocab-{name}.gguf"


@functools.cache
def vocabulary(name: str) -> Vocabulary:
    """Return one of llama.cpp's vocabularies, without the rows that no token has."""
    found = _read_gguf(file(name).read_bytes())
    tokens, kinds = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"]
    while tokens[-1] == f"[PAD{len(tokens) - 1}]":
        tokens, kinds = tokens[:-1], kinds[:-1]
    merges = found.get("tokenizer.ggml.merges")
    return Vocabulary(
        tokens,
        kinds,
        found["tokenizer.ggml.pre"],
        merges and [tuple(merge.split(" ")) for merge in merges],
        found.get("tokenizer.ggml.scores"),
    )


def vectors(name: str) -> list[Vector]:
    """Return the texts that come with one of llama.cpp's vocabularies, and their ids."""
    path = file(name)
    *texts, last = path.with_suffix(".gguf.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    lines = path.with_suffix(".gguf.out").read_text("utf-8").splitlines()
    assert not last
    return [Vector(text, list(map(int, line.split()))) for text, line in zip(texts, lines, strict=True)]


def code_llama() -> Vocabulary:
    """Return the vocabulary of Code Llama 7B and 13B: Llama 2's and sixteen pieces."""
    return vocabulary("llama-spm").extended(CODE_LLAMA, _NORMAL, controls=CODE_LLAMA_CONTROLS)


def qwen_coder() -> Vocabulary:
    """Return Qwen2.5-Coder's and Qwen3-Coder's vocabulary: Qwen2's and nineteen tokens, none of them marked."""
    return vocabulary("qwen2").extended(QWEN_CODER, _USER)


@functools.cache
def codestral() -> Vocabulary:
    """Return Codestral's vocabulary."""
    model = codestral_processor()
    ids = range(model.vocab_size())
    kinds = [
        _CONTROL if model.is_control(i) else _BYTE if model.is_byte(i) else _UNKNOWN if model.is_unknown(i) else _NORMAL
        for i in ids
    ]
    scores = [model.get_score(i) for i in ids]
    return Vocabulary([model.id_to_piece(i) for i in ids], kinds, "sentencepiece", scores=scores)


@functools.cache
def codestral_processor() -> SentencePieceProcessor:
    """Return the vendor's SentencePiece model."""
    from sentencepiece import SentencePieceProcessor

    return SentencePieceProcessor(model_file=str(_mistral() / _CODESTRAL))


def codegen25_tokenizer() -> Tokenizer:
    """Return CodeGen2.5's tokenizer, as fim-magic makes it from GPT-2's vocabulary."""
    table = vocabulary("gpt-2")
    assert table.merges is not None
    return codegen25.tokenizer({token: at for at, token in enumerate(table.tokens)}, table.merges)


def mistral_fim(documents: Sequence[tuple[str, str]]) -> list[list[int]]:
    """Return the ids of infilling prompts as Mistral's own code makes them.

    It runs in a process of its own, because transformers loads tokenizers in another way where it finds that package.

    Args:
        documents: Prefixes and suffixes.
    """
    environment = {**os.environ, "PYTHONPATH": str(_mistral())}
    done = subprocess.run(
        [sys.executable, "-c", _ENCODE_FIM],
        input=json.dumps(documents),
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


_ENCODE_FIM = """
import json, sys
from mistral_common.tokens.instruct.request import FIMRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

vendors = MistralTokenizer.v3()
requests = [FIMRequest(prompt=prefix, suffix=suffix) for prefix, suffix in json.load(sys.stdin)]
print(json.dumps([vendors.encode_fim(request).tokens for request in requests]))
"""


# --- pre-tokenizers ------------------------------------------------------------------------------


def _gpt2() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


def _starcoder() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


def _deepseek() -> pre_tokenizers.PreTokenizer:
    patterns = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+")
    return pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _qwen() -> pre_tokenizers.PreTokenizer:
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+"
    )
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


_SPLITS = {
    "gpt-2": _gpt2,
    "mpt": _gpt2,
    "starcoder": _starcoder,
    "refact": _starcoder,
    "deepseek-coder": _deepseek,
    "qwen2": _qwen,
}


# --- files ---------------------------------------------------------------------------------------

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


def _read_gguf(content: bytes) -> dict[str, Any]:
    """The metadata of a GGUF file. The gguf package needs eight seconds for Qwen's vocabulary."""
    stream = io.BytesIO(content)

    def numbers(form: str, count: int) -> tuple[Any, ...]:
        layout = f"<{count}{form}"
        return struct.unpack(layout, stream.read(struct.calcsize(layout)))

    def number(form: str) -> Any:
        return numbers(form, 1)[0]

    def string() -> str:
        return stream.read(number("Q")).decode()

    def value(kind: int) -> Any:
        if kind == _STRING:
            return string()
        if kind != _ARRAY:
            return number(_NUMBERS[kind])
        of, count = number("I"), number("Q")
        return list(numbers(_NUMBERS[of], count)) if of in _NUMBERS else [value(of) for _ in range(count)]

    assert stream.read(4) == b"GGUF"
    _version, _tensors, count = number("I"), number("Q"), number("Q")
    return {string(): value(number("I")) for _ in range(count)}


def _field(number: int, value: float | bytes) -> bytes:
    """One field of a protocol buffer: a whole number, a 32-bit float, or bytes."""
    if isinstance(value, bytes):
        return _varint(number << 3 | 2) + _varint(len(value)) + value
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    return _varint(number << 3) + _varint(int(value))


def _varint(value: int) -> bytes:
    low = bytes([value & 0x7F | (0x80 if value > 0x7F else 0)])
    return low + _varint(value >> 7) if value > 0x7F else low


@functools.cache
def _llama_cpp() -> Path:
    wanted = tuple(f"ggml-vocab-{name}.gguf{end}" for name in LLAMA_CPP_NAMES for end in ("", ".inp", ".out"))

    def unpack(archive: Path, folder: Path) -> None:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = Path(member.name).name
                if name in wanted:
                    content = tar.extractfile(member)
                    assert content is not None
                    (folder / name).write_bytes(content.read())

    # Of this package, only the source archive holds them.
    return _fetched(*LLAMA_CPP, ["--no-binary", "llama-cpp-python"], unpack, wanted)


@functools.cache
def _mistral() -> Path:
    def unpack(archive: Path, folder: Path) -> None:
        with zipfile.ZipFile(archive) as wheel:
            for name in wheel.namelist():
                if name.endswith((".py", ".model.v3")):
                    wheel.extract(name, folder)

    return _fetched(*MISTRAL, [], unpack, [_CODESTRAL])


def _fetched(
    requirement: str,
    sha256: str,
    options: Sequence[str],
    unpack: Callable[[Path, Path], None],
    wanted: Sequence[str],
) -> Path:
    """Return the folder with `wanted`, which `unpack` takes from a package whose checksum pip has compared."""
    folder = cache_dir() / "test-vocabularies" / requirement.replace("==", "-")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / "lock"):
        if all((folder / name).is_file() for name in wanted):
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            here = Path(temporary)
            (here / "unpacked").mkdir()
            (here / "requirement.txt").write_text(f"{requirement} --hash=sha256:{sha256}\n", "utf-8")
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
            command += ["--no-deps", "--require-hashes", *options, "-r", "requirement.txt", "-d", "fetched"]
            done = subprocess.run(
                command, cwd=here, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            (archive,) = (here / "fetched").iterdir()
            unpack(archive, here / "unpacked")
            (here / "unpacked").rename(folder)
    assert all((folder / name).is_file() for name in wanted)
    return folder
