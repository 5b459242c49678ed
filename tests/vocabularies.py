"""The vendors' own vocabularies, so that golden prompts can be told in their real ids.

They come from two packages on PyPI, and are fetched once: llama.cpp keeps the tokenizers of several models, each with
texts and the ids that the vendor's tokenizer gives for them; mistral-common is Mistral's own implementation.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from fim_magic.weights import cache_dir

LLAMA_CPP = "llama-cpp-python==0.3.36"
LLAMA_CPP_SHA256 = {
    "deepseek-coder": "91cb1379f2e33af1c4866b194622b7a0e12e8f0c9dba7ba2f10d55978730bec1",
    "starcoder": "fedb892b4e1bd3c1f2fcdae356440b14fb458f4264d586e5c987ed93df4e174d",  # StarCoder2's: <file_sep> is 6
    "refact": "ac3ceda902fed91ccf74312b305d9b86c37e4f8e35fa9cc6ef3ce34fca7d4678",  # StarCoder's, which Refact took over: <filename> is 5
    "llama-spm": "16c3724582d59aa8bf84711894e833f916ee46a31d80e21312759c48bf8d0e69",
    "gpt-2": "cedc56ca6e2e89f63e781696d1fd76b4b1d49e6720dee86463e915f6e90016ac",
    "qwen2": "44c2f46b715f585c6ab513970e8a006bfa5badd6108560054921cf598d154d8c",
}
MISTRAL = ("mistral-common==1.13.1", "sentencepiece==0.2.3")

# facebookresearch/codellama, by the ids in transformers' tests of its tokenizer; of the others only the number is known.
CODE_LLAMA = {32007: "▁<PRE>", 32008: "▁<SUF>", 32009: "▁<MID>", 32010: "▁<EOT>"}
# QwenLM/Qwen2.5-Coder, README.md
QWEN_CODER = {
    151659: "<|fim_prefix|>",
    151660: "<|fim_middle|>",
    151661: "<|fim_suffix|>",
    151662: "<|fim_pad|>",
    151663: "<|repo_name|>",
    151664: "<|file_sep|>",
}

_NORMAL, _CONTROL, _USER, _BYTE = 1, 3, 4, 6  # gguf.TokenType


@dataclass(frozen=True)
class Vector:
    """A text, and the ids that the vendor's tokenizer gives for it."""

    text: str
    ids: list[int]


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer's tables, and the way it splits text."""

    tokens: list[str]
    kinds: list[int]
    splits: str
    merges: list[tuple[str, str]] | None = None  # of byte-level tokenizers
    scores: list[float] | None = None  # of SentencePiece's

    def tokenizer(self, named: dict[int, str] | None = None) -> Tokenizer:
        """Build the tokenizer as the vendor's tokenizer.json has it.

        Args:
            named: Tokens that this table has no names for, or lacks.
        """
        tokens = list(self.tokens)
        for at, token in (named or {}).items():
            tokens += [f"<unnamed {n}>" for n in range(len(tokens), at + 1)]
            tokens[at] = token
        backend = self._byte_level(tokens) if self.scores is None else self._sentencepiece(tokens)
        added = [at for at, kind in enumerate(self.kinds) if kind in (_CONTROL, _USER) and not _is_filler(tokens[at])]
        for at in sorted({*added, *range(len(self.tokens), len(tokens)), *(named or {})}):
            special = at >= len(self.kinds) or self.kinds[at] == _CONTROL
            backend.add_tokens([AddedToken(tokens[at], normalized=False, special=special)])
            assert backend.token_to_id(tokens[at]) == at
        return backend

    def _byte_level(self, tokens: list[str]) -> Tokenizer:
        backend = Tokenizer(models.BPE(vocab={token: at for at, token in enumerate(tokens)}, merges=self.merges))
        backend.pre_tokenizer = _SPLITS[self.splits]()
        backend.decoder = decoders.ByteLevel()
        if self.splits == "qwen2":
            backend.normalizer = normalizers.NFC()
        return backend

    def _sentencepiece(self, tokens: list[str]) -> Tokenizer:
        """As Llama's file has it: a BPE whose merges follow from the scores, and a space before every text."""
        vocab = {token: at for at, token in enumerate(tokens)}
        pieces = [(t, at) for at, t in enumerate(self.tokens) if self.kinds[at] in (_NORMAL, _USER) and len(t) > 1]
        merges = []
        for piece, _ in sorted(pieces, key=lambda item: -self.scores[item[1]]):
            halves = [(piece[:n], piece[n:]) for n in range(1, len(piece))]
            whole = [pair for pair in halves if pair[0] in vocab and pair[1] in vocab]
            merges += sorted(whole, key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
        backend = Tokenizer(
            models.BPE(vocab=vocab, merges=merges, unk_token=tokens[0], fuse_unk=True, byte_fallback=True)
        )
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        backend.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        return backend


def file(name: str) -> Path:
    """Return the GGUF file of one of llama.cpp's vocabularies. It has no weights."""
    return _llama_cpp() / f"ggml-vocab-{name}.gguf"


def vocabulary(name: str) -> Vocabulary:
    """Return one of llama.cpp's vocabularies."""
    reader = GGUFReader(file(name))
    tables = {key: reader.get_field(f"tokenizer.ggml.{key}") for key in ("tokens", "token_type", "merges", "scores")}
    found = {key: None if field is None else field.contents() for key, field in tables.items()}
    merges = found["merges"]
    return Vocabulary(
        found["tokens"],
        found["token_type"],
        reader.get_field("tokenizer.ggml.pre").contents(),
        None if merges is None else [tuple(merge.split(" ")) for merge in merges],
        found["scores"],
    )


def vectors(name: str) -> list[Vector]:
    """Return the texts that come with one of llama.cpp's vocabularies, and their ids."""
    path = file(name)
    texts = path.with_suffix(".gguf.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    lines = path.with_suffix(".gguf.out").read_text("utf-8").splitlines()
    return [Vector(text, list(map(int, line.split()))) for text, line in zip(texts, lines, strict=False)]


def codestral() -> Vocabulary:
    """Return Codestral's vocabulary, from the vendor's SentencePiece model."""
    table = json.loads(_mistral(_DUMP, ""))
    return Vocabulary(table["tokens"], table["kinds"], "sentencepiece", scores=table["scores"])


def mistral_fim(prefix: str, suffix: str) -> list[int]:
    """Return the ids of an infilling prompt as Mistral's own code makes them."""
    return json.loads(_mistral(_ENCODE_FIM, json.dumps([prefix, suffix])))


_MODEL = """
import json, sys
from pathlib import Path
import mistral_common
model = Path(mistral_common.__file__).parent / "data" / "mistral_instruct_tokenizer_240323.model.v3"
"""
_DUMP = f"""{_MODEL}
import sentencepiece
model = sentencepiece.SentencePieceProcessor(model_file=str(model))
ids = range(model.vocab_size())
kinds = [{_CONTROL} if model.is_control(i) else {_BYTE} if model.is_byte(i) else 2 if model.is_unknown(i) else 1 for i in ids]
print(json.dumps({{"tokens": [model.id_to_piece(i) for i in ids], "scores": [model.get_score(i) for i in ids],
"kinds": kinds}}))
"""
_ENCODE_FIM = f"""{_MODEL}
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.protocol.fim.request import FIMRequest
prefix, suffix = json.load(sys.stdin)
print(json.dumps(MistralTokenizer.from_file(str(model)).encode_fim(FIMRequest(prompt=prefix, suffix=suffix)).tokens))
"""


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


_SPLITS = {"gpt-2": _gpt2, "starcoder": _starcoder, "refact": _starcoder, "deepseek-coder": _deepseek, "qwen2": _qwen}


def _is_filler(token: str) -> bool:
    """Whether llama.cpp put it there because the model has more rows than its tokenizer has tokens."""
    return token.startswith("[PAD")


@functools.cache
def _llama_cpp() -> Path:
    folder = cache_dir() / "test-vocabularies" / LLAMA_CPP
    with _lock(folder):
        if not folder.is_dir():
            unfinished = folder.with_name("unfinished")
            unfinished.mkdir(exist_ok=True)
            # Of this package, only the source archive holds them.
            _pip("download", "--no-deps", "--no-binary", LLAMA_CPP.partition("=")[0], "-d", str(unfinished), LLAMA_CPP)
            (archive,) = unfinished.glob("*.tar.gz")
            _extract(archive, unfinished)
            archive.unlink()
            unfinished.rename(folder)
    return folder


def _extract(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        for member in tar:
            name = Path(member.name).name
            kind = name.removeprefix("ggml-vocab-").partition(".gguf")[0]
            if name.startswith("ggml-vocab-") and kind in LLAMA_CPP_SHA256:
                content = tar.extractfile(member).read()
                if name.endswith(".gguf"):
                    assert hashlib.sha256(content).hexdigest() == LLAMA_CPP_SHA256[kind], name
                (folder / name).write_bytes(content)


def _mistral(program: str, stdin: str) -> str:
    """Run `program` where Mistral's package can be imported: in a process of its own, since it pins other packages."""
    folder = cache_dir() / "test-vocabularies" / MISTRAL[0]
    with _lock(folder):
        if not folder.is_dir():
            unfinished = folder.with_name("unfinished")
            _pip("install", "--target", str(unfinished), "--upgrade", *MISTRAL)
            unfinished.rename(folder)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", program], input=stdin, env=environment, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _lock(folder: Path) -> FileLock:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.parent / "lock")


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check", "--no-input"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
