"""Text <-> token ids, with the user's text kept apart from the model's sentinels.

Every tokenizer matches its added tokens inside text, so a notebook about `<|fim_middle|>` would break its own prompt.
Here text is encoded without them, sentinels are looked up by name, and prompts are assembled from ids.
"""

from __future__ import annotations

import bisect
import codecs
import itertools
import math
import re
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Encoding, Tokenizer

from fim_magic.errors import ModelError, is_failure
from fim_magic.foreign_json import TooDeepError, parsed
from fim_magic.regular_files import LARGEST_VOCABULARY, read_bytes, read_optional_object
from fim_magic.tokenizer_growth import require_bounded

_GUARD = "☺"
"""A character that no token joins with another. Behind it, text is encoded as in the middle of a text.

SentencePiece puts a space before a text. Meta and Mistral leave it out with this same character
(facebookresearch/codellama, `encode_infilling`).
"""

_LONGEST_TOKEN = 1000  # bytes
_LONGEST_SPELLED = 32  # bytes of a token that is looked for in a text
_IDS = 2**31  # more than there are ids

_CUTS_PREFIX = re.compile(rb'continuing_subword_prefix"\s*:(?!\s*(?:null\b|""))')
"""A prefix that is more than nothing, in a tokenizer.json."""
_ESCAPED_LETTER = re.compile(rb"\\u00(?:5[fF]|[67])")
"""A letter of that key, written as an escape."""


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer.json; what it says of the length of texts is left out.

    Raises:
        Exception: It cannot be read. The library also panics (`errors.is_failure`).
    """
    content = read_bytes(path, LARGEST_VOCABULARY)
    _require_whole_characters(content)
    backend = Tokenizer.from_buffer(content)
    backend.no_truncation()
    backend.no_padding()  # to as many tokens as it likes
    require_bounded(backend)
    return backend


def _require_whole_characters(content: bytes) -> None:
    """Refuse merges that are shorter than what is cut off them: the library would cut inside a character, and end.

    It takes the prefix of a word's later pieces off the second piece of each merge, without a look at what it cuts.
    Nearly all files have none, and need not be read twice for it: the largest take half a second.
    """
    if not _CUTS_PREFIX.search(content) and not _ESCAPED_LETTER.search(content):
        return
    try:
        model = parsed(content)["model"]
        prefix = model.get("continuing_subword_prefix")
        merges = model["merges"] if prefix else ()
    except TooDeepError as error:  # the library goes twice as deep
        raise ValueError(f"it {error}") from None
    except (LookupError, TypeError, AttributeError):
        return  # no model of merges, or nothing that the library reads either
    for merge in merges:
        second = (merge.split(" ") if isinstance(merge, str) else merge)[-1]
        if not str(second).startswith(str(prefix)):
            raise ValueError(f"its merges do not go with its continuing_subword_prefix, {str(prefix)[:40]!r}")


class TextTokenizer:
    """A checkpoint's tokenizer, as its own `tokenizer.json` describes it.

    The file is read as it is. transformers' tokenizer classes rebuild parts of it, and for some families (StarCoder2's
    digits, DeepSeek's spaces) they rebuild it wrongly.
    """

    def __init__(self, backend: Tokenizer, vocabulary_rows: int | None = None, bos: str | None = None) -> None:
        """Take over `backend`, which is changed in place and must not be used elsewhere.

        Args:
            backend: The tokenizer.
            vocabulary_rows: How many rows the model's embedding has; an id beyond them is not usable.
            bos: What it puts before every text, where the tokenizer itself does not say.
        """
        self._backend = backend
        self._rows = backend.get_vocab_size() if vocabulary_rows is None else vocabulary_rows
        self._known_rows = math.inf if vocabulary_rows is None else vocabulary_rows
        self.leading_ids = _leading_ids(backend, bos)
        """What this tokenizer puts before every text: its BOS id, or nothing."""
        backend.no_truncation()
        backend.no_padding()
        self._sentinels = _take_sentinels_out_of_text(backend)
        self._guard = _guard_ids(backend)
        self._added = backend.get_added_tokens_decoder()
        self._to_bytes = _from_byte_level if _is_byte_level(backend) else _from_sentencepiece

    @classmethod
    def from_folder(cls, folder: Path, vocabulary_rows: int | None = None) -> TextTokenizer:
        """Read the tokenizer of the checkpoint in `folder`.

        Raises:
            ModelError: There is no readable `tokenizer.json`.
        """
        try:
            backend = read_tokenizer(folder / "tokenizer.json")
        except BaseException as error:  # tokenizers raises bare Exception, and panics
            if not is_failure(error):
                raise
            raise ModelError(
                f"The tokenizer of this checkpoint could not be read ({error}). A checkpoint needs a tokenizer.json "
                "beside its weights; save one with `AutoTokenizer.from_pretrained(…).save_pretrained(folder)`."
            ) from error
        return cls(backend, vocabulary_rows, declared_bos(folder / "tokenizer_config.json"))

    def encode(self, text: str, *, unspaced: bool = False, apart: AbstractSet[int] = frozenset()) -> list[int]:
        """Return the ids of `text`. Sentinels that are spelled out in it stay text.

        Args:
            text: Any text.
            unspaced: Leave out the space that a SentencePiece tokenizer puts before every text; others put none.
            apart: Ids of sentinels that the tokenizer's file has as pieces like any other.

        Raises:
            ModelError: The model has no such ids: it is not the one that this tokenizer was made for.
        """
        if not self._guard or not text:
            return self._plain(text, apart)
        return self._plain(_GUARD + ("" if unspaced else " ") + text, apart)[len(self._guard) :]

    def decode(self, ids: list[int], *, unspaced: bool = False) -> str:
        """Return the text of `ids`, sentinels included; the inverse of `encode` with the same `unspaced`."""
        text = b"".join(map(self._shown, ids)).decode(errors="replace")
        return text.removeprefix(" ") if self._guard and not unspaced else text

    def written(self, ids: Sequence[int]) -> str:
        """Return tokens as the vocabulary's file writes them, with its own signs for spaces and bytes, one by one."""
        return "".join(self._backend.id_to_token(token) or "" for token in ids)

    def sentinel(self, token: str) -> int | None:
        """Return the id of a sentinel, or None if the model has no such token.

        A token that the tokenizer has but the embedding does not counts as absent: transformers adds sentinels to
        checkpoints that were trained without them.
        """
        found = self._backend.token_to_id(token)
        return found if found is not None and found < self._rows else None

    @property
    def sentinels(self) -> frozenset[int]:
        """The ids that its file has as added tokens, and that are not text like runs of spaces."""
        return self._sentinels

    def spelled(self, text: str) -> list[int]:
        """Return ids whose text is exactly `text`, as what follows another text.

        Those of `encode`, unless the tokenizer changes the text on its way, as those do that compose characters.
        """
        ids = self.encode(text, unspaced=True)
        if self.decode(ids, unspaced=True) == text:
            return ids
        spelled: list[int] = []
        left = text.encode(errors="replace")
        while left:
            lengths = range(min(len(left), _LONGEST_SPELLED), 0, -1)
            length = next((length for length in lengths if left[:length] in self._by_bytes), 0)
            if not length:
                return ids
            spelled.append(self._by_bytes[left[:length]][0])
            left = left[length:]
        return spelled

    def knows(self, token_id: object) -> bool:
        """Whether something is the id of a token that it has."""
        if not isinstance(token_id, int) or isinstance(token_id, bool) or not 0 <= token_id < _IDS:
            return False
        return self._backend.id_to_token(token_id) is not None

    def token_bytes(self, token_id: int) -> bytes:
        """Return the UTF-8 that a token stands for, which may be a part of a character; nothing for a sentinel."""
        added = self._added.get(token_id)
        if added is not None:
            return b"" if added.special else added.content.encode()
        return self._to_bytes(self._backend.id_to_token(token_id) or "")

    def unfinished(self, token_id: int, following: str = "") -> str:
        """Return the text of a token if longer tokens begin with it and `following`, else "".

        A text that ends with such a token may have been cut inside a token (token healing).
        """
        token = self.token_bytes(token_id)
        beginning = self._beginning_with(token + following.encode()) if token else []
        try:
            return token.decode() if beginning and beginning[-1][0] != token else ""
        except UnicodeDecodeError:  # a part of a character
            return ""

    def openings(self, wanted: bytes) -> list[int]:
        """Return the ids that an answer may begin with if it is to begin with `wanted`.

        Those whose bytes begin with `wanted`, and those that `wanted` itself begins with, if others can follow them
        that bring the rest. None, where the vocabulary has no tokens that spell `wanted`.
        """
        ends = self._ends_of_first(wanted)
        shorter = (self._by_bytes[wanted[:end]] for end in ends if end < len(wanted))
        longer = (token for _, token in self._beginning_with(wanted))
        return [*longer, *itertools.chain.from_iterable(shorter)]

    def can_open(self, wanted: bytes) -> bool:
        """Whether there are `openings` for what an answer is to begin with, without a list of half a vocabulary."""
        return bool(self._beginning_with(wanted) or any(end < len(wanted) for end in self._ends_of_first(wanted)))

    def _ends_of_first(self, wanted: bytes) -> list[int]:
        """Where in `wanted` its first token may end, so that further tokens can bring the rest of it."""
        ends: list[int] = []
        spelled = {len(wanted)}  # from where the rest can be brought
        for start in reversed(range(len(wanted))):
            ends = [
                end
                for end in range(start + 1, len(wanted) + 1)
                if end in spelled and wanted[start:end] in self._by_bytes
            ]
            if ends or self._beginning_with(wanted[start:]):
                spelled.add(start)
        return ends

    def stream(self) -> TextStream:
        """Begin to decode ids that continue another text."""
        return TextStream(self._shown)

    def _plain(self, text: str, apart: AbstractSet[int]) -> list[int]:
        encoding = _encoded(self._backend, text)
        beyond = max(encoding.ids, default=0)
        if beyond >= self._known_rows:
            raise ModelError(
                f"The tokenizer of this checkpoint makes token {beyond} of this text, and its model knows "
                f"{self._known_rows:.0f}: they are not of one model. Take the tokenizer.json that belongs to these "
                "weights, or another model; %fim models lists those that are known to work."
            )
        sentinels = self._sentinels | apart
        if sentinels.isdisjoint(encoding.ids):
            return list(encoding.ids)
        # Code Llama's sentinels are pieces like any other, to which the merges of " <PRE>" lead: encode halves of them.
        pairs = zip(encoding.ids, encoding.offsets, strict=True)
        spans = [span for token, span in pairs if token in sentinels]
        if any(end - start < 2 for start, end in spans):
            raise ModelError(
                "The tokenizer of this checkpoint makes a control token of a plain character, so that a text cannot be "
                "kept apart from it: its tokenizer.json is damaged. Take the one that belongs to these weights, or "
                "another model; %fim models lists those that are known to work."
            )
        cuts = [(start + end + 1) // 2 for start, end in spans]
        first, *others = [text[start:end] for start, end in itertools.pairwise([0, *cuts, len(text)])]
        ids = self._plain(first, apart)
        for other in others:
            ids += self.encode(other, unspaced=True, apart=apart)
        return ids

    def _shown(self, token_id: int) -> bytes:
        added = self._added.get(token_id)
        return self.token_bytes(token_id) if added is None else added.content.encode()

    def _beginning_with(self, wanted: bytes) -> list[tuple[bytes, int]]:
        """The tokens that begin with `wanted`, shorter ones of the same beginning first."""
        first = bisect.bisect_left(self._sorted, (wanted, -1))
        return self._sorted[first : bisect.bisect_left(self._sorted, (wanted + b"\xff" * _LONGEST_TOKEN, -1))]

    @cached_property
    def _sorted(self) -> list[tuple[bytes, int]]:
        """Every token that stands for text, by its bytes."""
        count = min(self._rows, self._backend.get_vocab_size())
        found = ((self.token_bytes(token), token) for token in range(count))
        return sorted(item for item in found if item[0])

    @cached_property
    def _by_bytes(self) -> dict[bytes, list[int]]:
        found: dict[bytes, list[int]] = {}
        for text, token in self._sorted:
            found.setdefault(text, []).append(token)
        return found


class TextStream:
    """Decodes ids one at a time. A character whose bytes are split over tokens comes when it is whole.

    By the bytes of the tokens, and not by the library's `DecodeStream`: that one raises an error where bytes that make
    no character follow others, which a model may well generate.
    """

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self.text = ""

    def push(self, token_id: int) -> str:
        """Add a token and return all the text so far."""
        self.text += self._decoder.decode(self._token_bytes(token_id))
        return self.text


def _encoded(backend: Tokenizer, text: str) -> Encoding:
    """Encode a text, without what the tokenizer puts before every text.

    Raises:
        ModelError: The tokenizer fails on this text: a pattern of its file that backtracks without end is a panic.
    """
    try:
        return backend.encode(text, add_special_tokens=False)
    except TypeError:
        raise  # no Unicode: that is the text's fault
    except BaseException as error:
        if not is_failure(error):
            raise
        raise ModelError(
            f"The tokenizer of this model fails on the text ({str(error).partition(chr(10))[0]}). Its tokenizer.json "
            "is damaged, or has a pattern that some texts are too much for. Try with less text (--context none), or "
            "take another model: %fim models lists those that are known to work."
        ) from error


def _leading_ids(backend: Tokenizer, bos: str | None) -> list[int]:
    plain = list(_encoded(backend, "a").ids)
    full = list(backend.encode("a", add_special_tokens=True).ids)
    extra = len(full) - len(plain)
    if extra > 0 and full[extra:] == plain:
        return full[:extra]
    declared = backend.token_to_id(bos) if bos else None
    return [] if declared is None else [declared]


def declared_bos(path: Path) -> str | None:
    """Return the BOS token that a tokenizer_config.json asks for. transformers 5 does not put it in tokenizer.json."""
    config = read_optional_object(path)
    if not config.get("add_bos_token"):
        return None
    bos: Any = config.get("bos_token")
    if isinstance(bos, dict):
        bos = bos.get("content")
    return bos if isinstance(bos, str) else None


def declared_ends(tokenizer: TextTokenizer, declared: int | list[int] | None) -> list[str]:
    """Return the tokens that a checkpoint's configuration says end a text: its `eos_token_id`, in words."""
    ids = declared if isinstance(declared, list) else [] if declared is None else [declared]
    return [tokenizer.decode([token]) for token in ids]


def _guard_ids(backend: Tokenizer) -> list[int]:
    """The ids of the guard, for tokenizers to which it matters where in a text a word stands; else none."""
    guard = list(_encoded(backend, _GUARD).ids)
    behind = list(_encoded(backend, _GUARD + "a").ids)
    alone = list(_encoded(backend, "a").ids)
    return guard if behind[: len(guard)] == guard and behind[len(guard) :] != alone else []


def _take_sentinels_out_of_text(backend: Tokenizer) -> frozenset[int]:
    """Make `encode` read added tokens in text as text, and return the ids of those that are sentinels.

    The library does that for tokens that are marked special; Qwen and DeepSeek do not mark their FIM tokens. Runs of
    white space (CodeGen) and single letters (DeepSeek) are added tokens too, but vocabulary, not sentinels.
    """
    added = backend.get_added_tokens_decoder()
    sentinels = {number: token for number, token in added.items() if len(token.content) > 1 and token.content.strip()}
    backend.add_special_tokens(
        [AddedToken(token.content, normalized=token.normalized, special=True) for token in sentinels.values()]
    )
    backend.encode_special_tokens = True
    return frozenset(sentinels)


def _is_byte_level(backend: Tokenizer) -> bool:
    decoder = backend.decoder
    return decoder is not None and b"ByteLevel" in bytes(decoder.__getstate__())


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's writing of bytes as characters: printable ones stand for themselves, others for code points from 256."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(code): byte for code, byte in enumerate(others, 256)}


_BYTES = _byte_alphabet()
_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


def _from_byte_level(token: str) -> bytes:
    return bytes(_BYTES[character] for character in token) if all(c in _BYTES for c in token) else b""


def _from_sentencepiece(token: str) -> bytes:
    byte = _BYTE_PIECE.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace("▁", " ").encode()
