"""The proof that a server reads our prompts as we mean them: by its own ids of texts, or by how many tokens it counts.

Ids of another vocabulary would be read as noise, and answered with something that looks like code. Where a server can
be asked how it encodes texts, that is asked (`vocabulary`). Where it cannot, it gets a prompt, and says with its answer
how many tokens it has read.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from fim_magic.document import Document
from fim_magic.engines import ANY, GREEDY
from fim_magic.engines.server.completions import CompletionsDialect
from fim_magic.engines.server.connection import ServerConnection
from fim_magic.engines.server.dialect import Asked, Dialect, ServedModel
from fim_magic.engines.server.generation import generation_of, tokens_of
from fim_magic.engines.server.text_answers import MisreadError
from fim_magic.engines.server.text_prompts import TextPrompts, UnsayableError
from fim_magic.engines.server.vocabulary import TEXTS, another_vocabulary, encoded, require_same_vocabulary
from fim_magic.errors import FimError, ModelError, ServerError
from fim_magic.formats import Family, completion_prompt, fim_prompt
from fim_magic.tokenization import TextTokenizer

_log = logging.getLogger(__name__)
_ROOM = 1024
_SAID = 4  # tokens of the answers that are compared

_BY_IDS = "its own ids of some texts and of each sentinel"
_BY_MEANING = "what our ids stand for there; it cuts texts into other tokens"
_BY_COUNT = "how many tokens it counts in a prompt"


@dataclass(frozen=True)
class Proven:
    """How a server is asked from now on.

    Attributes:
        dialect: The way that was proved.
        prompts: What turns prompts into texts, where it takes no ids.
        notices: What could not be proved, for the user.
        by: What has proved it, in a few words; "" where nothing has.
    """

    dialect: Dialect
    prompts: TextPrompts | None = None
    notices: tuple[str, ...] = ()
    by: str = ""


@dataclass(frozen=True)
class _ReadPrompt:
    """What a server has made of a prompt: as how many tokens it has read it, if it says so, and how it goes on."""

    ids: tuple[int, ...]
    count: int | None
    answer: str


@dataclass(frozen=True)
class Prover:
    """Proves how a server may be asked.

    Attributes:
        connection: To the server.
        served: What it says of its model.
        tokenizer: Our own.
        family: Of the model.
        folder: Where the tokenizer's file is.
        source: Where that comes from, for messages.
    """

    connection: ServerConnection
    served: ServedModel
    tokenizer: TextTokenizer
    family: Family
    folder: Path
    source: str

    def prove(self, dialect: Dialect) -> Proven:
        """Return the best way of a kind of server that is proved.

        Raises:
            ModelError: Its vocabulary is another one, or none of our prompts can be said as a text.
            ServerError: It could not be asked.
        """
        *better, last = dialect.variants
        for variant in better:
            try:
                return self._by_ids(variant)
            except FimError as error:
                _log.info("A server does not take prompts as %s has them: %s", type(variant).__name__, error)
        if last.capabilities.takes_ids:
            return self._by_ids(last)
        try:
            return self._by_text(last)
        except ServerError as error:
            if error.status in (400, 404, 405):
                raise self._only_chats(error) from error
            raise

    def _by_ids(self, dialect: Dialect) -> Proven:
        notices = self._same_vocabulary(dialect)
        if notices is not None:
            return Proven(dialect, notices=notices, by=_BY_MEANING if notices else _BY_IDS)
        text, _ = self._read_as_text(CompletionsDialect(), [*self._prompts(), self._plain()])[0]
        read = self._ask(dialect, text.ids, "")
        if text.count is None or read != text:
            raise another_vocabulary(self.connection, self.served.name, self.source)
        return Proven(dialect, by=_BY_COUNT)

    def _by_text(self, dialect: Dialect) -> Proven:
        """Prove what it makes of a text: by its own ids, or by their number."""
        if self._same_vocabulary(dialect) is not None:
            plain = self.tokenizer.encode(TEXTS[0])
            adds_bos = self._encoded(dialect, TEXTS[0]) != plain
            prompts = self._texts(adds_bos)
            for ids in self._prompts():
                text = prompts.text_of(ids)
                if self._encoded(dialect, text) != ids:
                    raise another_vocabulary(self.connection, self.served.name, self.source, takes_ids=False)
            return Proven(dialect, prompts, by=_BY_IDS)
        found = self._read_as_text(dialect, self._prompts())
        if all(read.count is not None for read, _ in found):
            return Proven(dialect, found[0][1], by=_BY_COUNT)
        notice = (
            f"{self.connection.address.host} does not say how it reads a prompt, so it is not proved that the "
            f"tokenizer of {self.source} is that of {self.served.name}."
        )
        return Proven(dialect, found[0][1], (notice,))

    def _only_chats(self, error: ServerError) -> ModelError:
        from fim_magic import catalog

        nearest = catalog.nearest_infilling(self.served.name)
        return ModelError(
            f"{self.connection.address.host} takes no completions for {self.served.name}. A model that can only be "
            "chatted with fills no holes: its answers are talk about the code. The nearest that infills is loaded by: "
            f"%fim use {nearest.name} ({error})"
        )

    def _encoded(self, dialect: Dialect, text: str) -> list[int] | None:
        return encoded(self.connection, dialect, self.served.name, text)

    def _same_vocabulary(self, dialect: Dialect) -> tuple[str, ...] | None:
        return require_same_vocabulary(
            self.connection, dialect, self.served.name, self.tokenizer, self.family, source=self.source
        )

    def _read_as_text(
        self, dialect: Dialect, candidates: Sequence[Sequence[int]]
    ) -> list[tuple[_ReadPrompt, TextPrompts]]:
        """Send those prompts that can be said as a text, and return how each was read.

        Raises:
            ModelError: None can be said so, or one is read as another number of tokens.
        """
        found, refused = [], None
        for ids in candidates:
            try:
                found.append(self._reading(dialect, ids))
            except UnsayableError as error:
                refused = refused or error
        if refused is not None and not found:
            raise refused
        return found

    def _reading(self, dialect: Dialect, ids: Sequence[int]) -> tuple[_ReadPrompt, TextPrompts]:
        """Send a prompt as a text, and try what the server itself puts before it, where that is not known."""
        known = self.served.adds_bos
        ways: tuple[bool | None, ...] = (None, False) if known is None and self.tokenizer.leading_ids else (known,)
        refused: ModelError | None = None
        for adds_bos in ways:
            prompts = self._texts(adds_bos)
            try:
                text = prompts.text_of(ids)
            except UnsayableError as error:
                refused = refused or error
                continue
            read = self._ask(dialect, ids, text)
            if read.count in (None, len(ids)):
                return read, prompts
            refused = another_vocabulary(self.connection, self.served.name, self.source, takes_ids=False)
        assert refused is not None  # there is a way
        raise refused

    def _ask(self, dialect: Dialect, ids: Sequence[int], text: str) -> _ReadPrompt:
        asked = Asked(
            self.served.name,
            list(ids),
            GREEDY,
            frozenset(),
            _SAID,
            text=text,
            alternatives=0,
            context_length=self.served.context_length,
        )
        # The count comes behind the last token.
        generation = generation_of(self.connection, dialect, asked, [ANY], self.tokenizer, limit=_ROOM)
        try:
            with closing(generation):
                said = [token.id for token in tokens_of(generation, self.connection)]
        except MisreadError as error:
            return _ReadPrompt(tuple(ids), error.count, "")
        return _ReadPrompt(tuple(ids), generation.read, self.tokenizer.decode(said, unspaced=True))

    def _texts(self, adds_bos: bool | None) -> TextPrompts:
        return TextPrompts.from_folder(
            self.folder, self.tokenizer, self.family, adds_bos=adds_bos, server=self.served.software
        )

    def _plain(self) -> list[int]:
        """A prompt that every tokenizer can say as a text."""
        return [*self.tokenizer.leading_ids, *self.tokenizer.encode(TEXTS[0])]

    def _prompts(self) -> list[list[int]]:
        """One of our prompts for each order, with code and with several scripts; left to right for the others."""
        document = Document(prefix=TEXTS[0] + TEXTS[1], suffix=TEXTS[2])
        found = [
            list(fim_prompt(self.family, self.tokenizer, document, order=order, room=_ROOM, healing=False).ids)
            for order, template in (("psm", self.family.psm), ("spm", self.family.spm))
            if template is not None
        ]
        if found:
            return found
        return [list(completion_prompt(self.family, self.tokenizer, document, room=_ROOM, healing=False).ids)]
